"""What both sides of `speed.py` share: each runs in an environment of its own, one without ours."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def ids_of(asked: dict[str, Any]) -> np.ndarray:
    """Return ids of text, few of them frequent: the same for everyone who is asked."""
    rng = np.random.default_rng(0)
    count = asked["batch"] * asked["bptt"] * 40 // 1000 * 1000
    drawn: np.ndarray = (rng.pareto(1.0, count) * 50).astype(np.int64)
    return drawn % (int(asked["shape"]["vocab_size"]) - 10) + 8


def answer(tasks: dict[str, Callable[..., Any]], packages: Sequence[str]) -> None:
    """Tell the versions of `packages`, then answer each line of JSON by the task it names.

    The answer has the most memory that the process has held meanwhile, too.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # fastai prints, too
    print(json.dumps({name: version(name) for name in packages}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        _forget_peak()
        found = tasks[asked.pop("task")](asked)
        print(json.dumps({**found, "peak_mb": _peak_mb()}), file=answers, flush=True)


def _forget_peak() -> None:
    """Let the peak of the resident memory begin again from what it is now."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return round(int(kilobytes) * 1024 / 1e6, 1)
