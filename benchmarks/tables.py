"""Every row of the table of errors, with pretraining and without, several processes at once.

    python benchmarks/tables.py --processes 8

Of each row stage two first, which rows of the same text share, then the draws, then the
summary; of what waits, the row named first here goes first. Each process is a call of `trec.py`,
`imdb.py` or another, whose finished parts stand in `runs/benchmarks`: a call that was killed is
given again and goes on from there. What they print is in `runs/benchmarks/tables`.
"""

from __future__ import annotations

import heapq
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from threading import Condition

from common import RUNS, digest, parse, parser
from experiment import SEEDS

Command = tuple[str, ...]

ROWS: tuple[Command, ...] = (
    ("imdb.py", "--labels", "500"),
    ("trec.py", "--labels", "500"),
    ("trec.py", "--labels", "100"),
    ("banking77.py",),
    ("imdb.py", "--labels", "100"),
    ("nsmc.py",),
    ("trec.py",),
)
STARTS: tuple[Command, ...] = ((), ("--from-scratch",))
DIRECTIONS = ("forward", "backward")


class Slots:
    """So many at once; of those that wait, the one of the lowest rank goes first."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: list[int] = []
        self._changed = Condition()

    @contextmanager
    def of(self, rank: int) -> Iterator[None]:
        """Wait for a slot, hold it, and give it back."""
        with self._changed:
            heapq.heappush(self._waiting, rank)
            self._changed.wait_for(lambda: self._free and self._waiting[0] == rank)
            heapq.heappop(self._waiting)
            self._free -= 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()


def call(command: Command, data: Path, threads: int) -> bool:
    """Run a script of this folder; tell whether it succeeded."""
    logs = RUNS / "tables"
    logs.mkdir(parents=True, exist_ok=True)
    script, *options = command
    arguments = [sys.executable, str(Path(__file__).with_name(script)), "--data", str(data)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with (logs / f"{Path(script).stem}-{digest(command)}.log").open("w") as log:
        print(*command, file=log, flush=True)
        done = subprocess.run([*arguments, *options], env=environment, stdout=log, stderr=log)
    print("failed:" if done.returncode else "done:", *command, flush=True)
    return done.returncode == 0


def threads_of_each(processes: int) -> int:
    """Return how many threads each of so many processes may take."""
    return max(1, (os.cpu_count() or 1) // processes)


def run_all(rows: Sequence[Command], seeds: Sequence[str], data: Path, processes: int) -> bool:
    """Run the rows to their summaries; tell whether all succeeded."""
    slots, threads = Slots(processes), threads_of_each(processes)

    def step(rank: int, commands: Sequence[Command]) -> bool:
        def one(command: Command) -> bool:
            with slots.of(rank):
                return call(command, data, threads)

        with ThreadPoolExecutor(len(commands)) as pool:
            return all(list(pool.map(one, commands)))

    def stage_two(row: Command) -> bool:
        return step(rows.index(row), [(*row, "--stage-two", "--directions", d) for d in DIRECTIONS])

    def draws(row: Command) -> bool:
        each, summary = [(*row, "--seeds", seed) for seed in seeds], [(*row, "--seeds", *seeds)]
        return fine[_text(row)].result() and all(step(rows.index(row), c) for c in (each, summary))

    first_of_each_text = {_text(row): row for row in reversed(rows)}
    with ThreadPoolExecutor(2 * len(rows)) as pool:
        fine = {text: pool.submit(stage_two, row) for text, row in first_of_each_text.items()}
        return all(list(pool.map(draws, rows)))


def _text(row: Command) -> tuple[str, bool]:
    """Return what tells the stage two of a row from others: rows of one text share it."""
    return row[0], "--from-scratch" in row


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--processes", type=int, default=2, help="how many at once")
    options.add_argument("--rows", nargs="+", help="names of scripts; without it, all")
    options.add_argument("--seeds", nargs="+", default=[str(s) for s in SEEDS], help="draws to run")
    parsed = parse(options, arguments)
    rows = [row for row in ROWS if parsed.rows is None or row[0] in parsed.rows]
    starts = [(*row, *start) for start, row in product(STARTS, rows)]
    if not run_all(starts, parsed.seeds, parsed.data, parsed.processes):
        raise SystemExit(f"some failed; what they said is in {RUNS / 'tables'}")


if __name__ == "__main__":
    main()
