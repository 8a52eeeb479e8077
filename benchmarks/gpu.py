"""The shipped model trained further for some minutes on a GPU, both directions side by side.

    python benchmarks/gpu.py --seconds 540 [further options of `ulmfit finetune`]

A few steps tell how fast the two processes are beside each other, and so how many passes fit into
the seconds, which count from the start of this script; then both are trained for that long. They
leave `runs/gpu/forward` and `runs/gpu/backward`, for `ulmfit join`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "benchmarks" / "configs" / "wikipedia-en-small-gpu-further.json"
WORK = ROOT / "runs" / "gpu"
DIRECTIONS = ("forward", "backward")
FIRST_EPOCHS = 0.06
"""Of the first steps."""

SHARE = 0.95
"""Of the time that is left when training begins, what the plan takes."""

START_SECONDS = 20
"""From a process's start to its first step, and from its last to its end, together."""


def train(suffix: str, options: list[str]) -> None:
    """Run both directions with further options, side by side, to their end."""
    running = [started(f"{direction}{suffix}", direction, options) for direction in DIRECTIONS]
    for process in running:
        process.wait()


def started(name: str, direction: str, options: list[str]) -> subprocess.Popen[bytes]:
    """Start `ulmfit finetune` with the configuration, for one direction."""
    command = [sys.executable, "-m", "ulmfit", "finetune", "--config", str(CONFIG), "--quiet"]
    command += ["--output", str(WORK / name), "--directions", direction, "--overwrite"]
    return subprocess.Popen([*command, *options], cwd=ROOT)


def steps(name: str) -> list[dict[str, Any]]:
    """Return the step lines of a run's log."""
    lines = (WORK / f"{name}.log.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [line for line in found if line["event"] == "step"]


def epochs_a_second() -> float:
    """Return how fast the slower direction was in the second half of the first steps."""
    speeds: list[float] = []
    for direction in DIRECTIONS:
        lines = steps(f"{direction}-first")
        begin, end = lines[len(lines) // 2], lines[-1]
        share = (end["batch"] - begin["batch"]) / end["batches"]
        speeds.append(share * FIRST_EPOCHS / (end["time"] - begin["time"]))
    return min(speeds)


def main() -> None:
    began = time.monotonic()
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    arguments, options = parser.parse_known_args()
    train("-first", [*options, "--training.epochs", str(FIRST_EPOCHS)])
    spent = time.monotonic() - began
    left = (arguments.seconds - spent - START_SECONDS) * SHARE
    epochs = left * epochs_a_second()
    print(f"{spent:.0f} s; {epochs:.3f} passes in {left:.0f} s", flush=True)
    train("", [*options, "--training.epochs", f"{epochs:.4f}"])
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    for direction in DIRECTIONS:
        print(direction, json.dumps(steps(direction)[-1]), flush=True)


if __name__ == "__main__":
    main()
