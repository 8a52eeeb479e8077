"""Every row of the table of errors, with pretraining and without, several processes at once.

    python benchmarks/tables.py --processes 8

Stage two of every row first, then the draws, then the summaries. Each process is a call of
`trec.py`, `imdb.py` or `banking77.py`, whose finished parts stand in `runs/benchmarks`: a call that
was killed is given again and goes on from there. What they print is in `runs/benchmarks/tables`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from common import RUNS, digest, parse, parser
from experiment import SEEDS

Command = tuple[str, ...]

ROWS: tuple[Command, ...] = (
    ("imdb.py", "--labels", "500"),
    ("imdb.py", "--labels", "100"),
    ("trec.py",),
    ("trec.py", "--labels", "500"),
    ("trec.py", "--labels", "100"),
    ("banking77.py",),
)
STARTS: tuple[Command, ...] = ((), ("--from-scratch",))
STAGE_TWO: tuple[Command, ...] = tuple(
    ("--stage-two", "--directions", direction) for direction in ("forward", "backward")
)


def run_all(commands: Iterable[Command], data: Path, processes: int) -> list[Command]:
    """Run scripts of this folder, so many at once; return those that failed."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    logs = RUNS / "tables"
    logs.mkdir(parents=True, exist_ok=True)

    def succeeds(command: Command) -> bool:
        script, *options = command
        call = [sys.executable, str(Path(__file__).with_name(script)), "--data", str(data)]
        with (logs / f"{Path(script).stem}-{digest(command)}.log").open("w") as log:
            print(*command, file=log, flush=True)
            done = subprocess.run([*call, *options], env=environment, stdout=log, stderr=log)
        print("failed:" if done.returncode else "done:", *command, flush=True)
        return done.returncode == 0

    wanted = list(commands)
    with ThreadPoolExecutor(processes) as pool:
        outcomes = list(pool.map(succeeds, wanted))
    return [command for command, fine in zip(wanted, outcomes, strict=True) if not fine]


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--processes", type=int, default=2, help="how many at once")
    options.add_argument("--rows", nargs="+", help="names of scripts; without it, all")
    options.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="draws to run")
    parsed = parse(options, arguments)
    rows = [row for row in ROWS if parsed.rows is None or row[0] in parsed.rows]
    draws = [("--seeds", str(seed)) for seed in parsed.seeds]
    summary = ("--seeds", *map(str, parsed.seeds))
    for parts in (STAGE_TWO, draws, [summary]):
        commands = ((*row, *start, *part) for part, start, row in product(parts, STARTS, rows))
        failures = run_all(commands, parsed.data, parsed.processes)
        if failures:
            raise SystemExit(f"{len(failures)} failed; what they said is in {RUNS / 'tables'}")


if __name__ == "__main__":
    main()
