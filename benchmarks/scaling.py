"""Do speed and memory grow in straight lines? Against batch, BPTT, vocabulary, and document length.

Each point is a process of its own, so that its peak memory is its own; once to warm up, then
`--rounds` times some training steps or one document read to the end. (For the length of a corpus
see `corpus.py`.) Writes `results/scaling.json` and draws it as `results/scaling.png`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from common import RESULTS, parser, write_result
from workers import Worker, spread

from ulmfit.config.model import preset

PROGRAM = Path(__file__).with_name("speed_ours.py")
SHAPE = preset("small", 16_000)
WARM_UP = 1_000
"""Tokens of a document that are read before one is timed."""

USUAL = {"batch": 16, "bptt": 70, "vocabulary": SHAPE.vocab_size}
SWEEPS: dict[str, tuple[int, ...]] = {
    "batch": (4, 8, 16, 32, 64, 128),
    "bptt": (18, 35, 70, 140, 280),
    "vocabulary": (4_000, 8_000, 16_000, 32_000, 64_000, 128_000),
    "document length": (100, 1_000, 10_000, 100_000, 1_000_000),
}
"""Of training steps; the last, tokens of a document that is read."""


def question(sweep: str, value: int, steps: int) -> dict[str, Any]:
    """Return what the process of one point is asked."""
    usual = USUAL if sweep == "document length" else {**USUAL, sweep: value}
    shape = {
        "vocab_size": usual["vocabulary"],
        "embedding_size": SHAPE.embedding_size,
        "hidden_size": SHAPE.hidden_size,
        "layers": SHAPE.layers,
    }
    if sweep == "document length":
        return {"task": "read", "shape": shape, "tokens": value}
    lanes = {name: usual[name] for name in ("batch", "bptt")}
    return {"task": "language model", "shape": shape, "steps": steps, **lanes}


def point(sweep: str, value: int, options: Any) -> dict[str, Any]:
    """Return speed and peak memory at one value."""
    worker = Worker(sys.executable, [str(PROGRAM)], options.threads)
    asked = question(sweep, value, options.steps)
    rounds = 1 if "tokens" in asked and value >= options.long else options.rounds
    worker.ask(asked | {"tokens": min(value, WARM_UP)} if "tokens" in asked else asked)
    answers = [worker.ask(asked) for _ in range(rounds)]
    worker.close()
    return {
        "value": value,
        "tokens_a_second": spread([each["tokens"] / each["seconds"] for each in answers]),
        "peak_mb": answers[-1]["peak_mb"],
    }


def draw(found: dict[str, list[dict[str, Any]]], output: Path) -> None:
    """Draw each sweep: speed above, memory below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(found), 6), layout="constrained")
    axes = figure.subplots(2, len(found), squeeze=False)
    for column, (sweep, points) in enumerate(found.items()):
        values = [each["value"] for each in points]
        speeds = [each["tokens_a_second"] for each in points]
        upper, lower = axes[0][column], axes[1][column]
        middle = [speed["median"] for speed in speeds]
        below = [speed["median"] - speed["least"] for speed in speeds]
        above = [speed["most"] - speed["median"] for speed in speeds]
        upper.errorbar(values, middle, yerr=[below, above], marker="o", capsize=3)
        lower.plot(values, [each["peak_mb"] for each in points], marker="o")
        for each, name in ((upper, "tokens a second"), (lower, "peak memory, MB")):
            each.set_xscale("log")
            each.set_ylim(bottom=0)
            each.set_xlabel(sweep)
            each.set_ylabel(name)
            each.grid(alpha=0.3)
    figure.savefig(output, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--sweeps", nargs="+", choices=list(SWEEPS), default=list(SWEEPS))
    options.add_argument("--rounds", type=int, default=5, help="measurements of a point")
    options.add_argument("--steps", type=int, default=2, help="training steps of a measurement")
    options.add_argument("--long", type=int, default=100_000, help="from here on, one measurement")
    options.add_argument("--most", type=int, help="leave out larger values")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--name", default="scaling", help="name of the result")
    parsed = options.parse_args(arguments)
    found: dict[str, list[dict[str, Any]]] = {}
    for sweep in parsed.sweeps:
        values = [v for v in SWEEPS[sweep] if parsed.most is None or v <= parsed.most]
        found[sweep] = []
        for value in values:
            found[sweep].append(point(sweep, value, parsed))
            print(sweep, found[sweep][-1], flush=True)
    write_result(parsed.name, {"usual": USUAL, "threads": parsed.threads, "sweeps": found})
    draw(found, RESULTS / f"{parsed.name}.png")


if __name__ == "__main__":
    main()
