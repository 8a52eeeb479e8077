"""The shipped models' pretraining on a GPU lent for minutes: tries of a settings file, then the run.

    python benchmarks/gpu.py tries RESULT.json      # short runs: rates and arithmetics, in pairs
    python benchmarks/gpu.py pretrain FOLDER --seconds 540 --speed 900000

Both directions are trained side by side, a process each. `--speed` is the tokens a second of one
of them while the other runs; it settles how many passes fit in the seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "benchmarks" / "configs" / "wikipedia-en-small-gpu.json"
WORK = ROOT / "runs" / "gpu"
TRY_STEPS = 1_000
BPTT = 68
"""Mean length of a window: one in twenty is about half of 70."""

TRIES: list[list[dict[str, Any]]] = [
    [{"precision": "bfloat16", "learning_rate": 6e-3}],
    [
        {"precision": "float32", "learning_rate": 6e-3},
        {"precision": "float16", "learning_rate": 6e-3},
    ],
    [
        {"precision": "bfloat16", "learning_rate": 3e-3},
        {"precision": "bfloat16", "learning_rate": 12e-3},
    ],
]
"""What runs side by side, one list after the other."""


def started(name: str, options: list[str]) -> subprocess.Popen[bytes]:
    """Start `ulmfit pretrain` with the configuration and further options."""
    folder = WORK / name
    command = [sys.executable, "-m", "ulmfit", "pretrain", "--config", str(CONFIG)]
    command += ["--output", str(folder), "--overwrite", "--quiet", *options]
    return subprocess.Popen(command, cwd=ROOT)


def log_of(name: str) -> list[dict[str, Any]]:
    """Return the lines of a run's log."""
    lines = (WORK / f"{name}.log.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def corpus_tokens() -> int:
    """Return the tokens of the training text: of the largest store in the cache."""
    found = (WORK / "cache").glob("*/manifest.json")
    return max(int(json.loads(path.read_text("utf-8"))["tokens"]) for path in found)


def options_of(settings: dict[str, Any], epochs: float) -> list[str]:
    """Return the command's options for a try or a run."""
    options = ["--training.precision", settings["precision"]]
    options += ["--training.optimizer.learning-rate", str(settings["learning_rate"])]
    options += ["--training.batch-size", str(settings["batch_size"])]
    return [*options, "--training.epochs", f"{epochs:.5f}"]


def finished(name: str) -> dict[str, Any]:
    """Return what a run came to; what went wrong, if it did not come to its end."""
    lines = [line for line in log_of(name) if line["event"] == "finished"]
    kept = ("bits_per_byte", "perplexity", "tokens", "seconds", "tokens_per_second", "batches")
    last = {**lines[-1].get("results", lines[-1])} if lines else {}
    return {key: last.get(key) for key in kept} | {"skipped": last.get("skipped_steps")}


def tries(arguments: Namespace) -> None:
    """Run the tries and write what they came to."""
    results = []
    epochs = TRY_STEPS * arguments.batch_size * BPTT / corpus_tokens()
    for number, together in enumerate(TRIES):
        running = {}
        for settings in together:
            settings["batch_size"] = arguments.batch_size
            name = f"try-{number}-{settings['precision']}-{settings['learning_rate']}"
            options = [*options_of(settings, epochs), "--directions", "forward"]
            running[name] = (settings, started(name, options))
        for name, (settings, process) in running.items():
            process.wait()
            result = {**settings, "side_by_side": len(together), **finished(name)}
            print(json.dumps(result), flush=True)
            results.append(result)
            Path(arguments.output).write_text(json.dumps(results, indent=1), "utf-8")


def pretrain(arguments: Namespace) -> None:
    """Train both directions for the seconds given and copy what they left to the folder."""
    began = time.monotonic()
    epochs = arguments.speed * arguments.seconds / corpus_tokens()
    settings = vars(arguments)
    running = {
        direction: started(direction, [*options_of(settings, epochs), "--directions", direction])
        for direction in ("forward", "backward")
    }
    for direction, process in running.items():
        process.wait()
        print(direction, finished(direction), round(time.monotonic() - began), "s", flush=True)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    each = commands.add_parser("tries")
    each.add_argument("output")
    each.set_defaults(run=tries)
    final = commands.add_parser("pretrain")
    final.add_argument("--seconds", type=float, required=True)
    final.add_argument("--speed", type=float, required=True)
    final.add_argument("--precision", default="bfloat16")
    final.add_argument("--learning-rate", type=float, default=6e-3)
    final.set_defaults(run=pretrain)
    for command in (each, final):
        command.add_argument("--batch-size", type=int, default=256)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
