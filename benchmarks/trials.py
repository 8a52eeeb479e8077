"""Several trials of settings at once, on one machine: what an experiment's `--tune` says of each.

    python benchmarks/trials.py FILE --processes 8

Each line of FILE is a call of a script of this folder without `--data`, such as
`imdb.py --tune --seeds 0 --set classifier.training.epochs=4`; blank lines and those that begin with
`#` are passed over. What they measured is in `runs/benchmarks/NAME-tune.jsonl`.
"""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import parse, parser
from tables import call, threads_of_each


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("file", type=Path, help="calls, one a line")
    options.add_argument("--processes", type=int, default=2, help="how many at once")
    parsed = parse(options, arguments)
    lines = [line.strip() for line in parsed.file.read_text(encoding="utf-8").splitlines()]
    calls = [tuple(shlex.split(line)) for line in lines if line and not line.startswith("#")]
    threads = threads_of_each(parsed.processes)
    with ThreadPoolExecutor(parsed.processes) as pool:
        list(pool.map(lambda command: call(command, parsed.data, threads), calls))


if __name__ == "__main__":
    main()
