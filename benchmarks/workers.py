"""Processes that are asked to do a thing and say how long it took: ours, and peers of their own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Worker:
    """A program that answers each line of JSON with a line of JSON."""

    def __init__(self, python: str | Path, arguments: Sequence[str], threads: int) -> None:
        """Start it with so many `threads`; its first line tells the versions of its packages."""
        self._process = subprocess.Popen(
            [str(python), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                "RAYON_NUM_THREADS": str(threads),  # of the library `tokenizers`
            },
        )
        self.versions: dict[str, str | None] = self._read()

    def ask(self, what: Any) -> Any:
        """Hand over `what` and wait for the answer."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()

    def _read(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit("a process ended early; what it said stands above")
        return json.loads(line)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, and the smallest and the largest."""
    named = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 4) for name, value in named.items()}
