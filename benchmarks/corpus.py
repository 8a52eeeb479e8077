"""Does memory grow with a corpus while its token store is built, or a batch's time with its size?

1. Peak anonymous memory of a process that builds the token store of `wikipedia-en`, whole, against
   one that builds that of a tenth of it; the tokenizer is given.
2. Time of a training batch from a store of a million tokens, and from the whole.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from common import RUNS, parse, parser, write_result

SHARE = 10
SMALL_TOKENS = 1_000_000
BATCHES = 30
LARGEST_GROWTH, LARGEST_SLOWDOWN = 0.2, 0.1
SECONDS_BETWEEN_LOOKS = 0.02

PROGRAM = """
import sys
from itertools import islice
from pathlib import Path
from ulmfit.config.data import ReadingConfig
from ulmfit.data.sources import read_many
from ulmfit.data.token_store import open_or_build
from ulmfit.stages.tokenizer import load_tokenizer
files, cache, documents = sys.argv[3:], Path(sys.argv[1]), int(sys.argv[2]) or None
texts = lambda: (d.text for d in islice(
    read_many(files, ReadingConfig(), labelled=False), documents))
store = open_or_build(texts, "benchmark", load_tokenizer("wikipedia-en-small"), cache)
print(len(store), len(store.tokens), store.text_bytes)
"""


def build(files: list[Path], cache: Path, documents: int) -> dict[str, Any]:
    """Build the store of so many documents (0: all) in a process; return its size and memory."""
    began, peak = time.monotonic(), 0
    command = [sys.executable, "-c", PROGRAM, str(cache), str(documents), *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, anonymous_memory(process.pid))
            time.sleep(SECONDS_BETWEEN_LOOKS)
        assert process.stdout is not None and process.returncode == 0
        count, tokens, text_bytes = map(int, process.stdout.read().split())
    return {
        "documents": count,
        "tokens": tokens,
        "bytes": text_bytes,
        "peak_anonymous_mb": round(peak / 1000, 1),
        "seconds": round(time.monotonic() - began, 1),
    }


def anonymous_memory(pid: int) -> int:
    """Return the anonymous memory that a process has now, in kB (Linux); 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s*(\d+) kB", status)
    return int(found[1]) if found is not None else 0


def batch_seconds(cache: Path) -> dict[str, list[float]]:
    """Return the times of training batches of the store's first tokens and of all, in turn.

    A batch is cut out of the store, read, and gradients are made: the shape `small`, 16 lanes.
    """
    import numpy as np

    from ulmfit.config.artefact import Member
    from ulmfit.config.data import LanesConfig
    from ulmfit.config.model import Dropout, preset
    from ulmfit.config.stages import RegularizationConfig
    from ulmfit.data.token_store import open_or_build
    from ulmfit.models.networks import LanguageModelNetwork
    from ulmfit.stages.language_modelling import LanguageModelTask
    from ulmfit.stages.tokenizer import load_tokenizer

    # Found in the cache by its name: no text is read.
    store = open_or_build(list, "benchmark", load_tokenizer("wikipedia-en-small"), cache)
    few = np.arange(int(np.searchsorted(store.starts, SMALL_TOKENS)))
    network = LanguageModelNetwork(preset("small", 16_000), Dropout())
    member = Member(direction="forward", prefix="forward")
    lanes, regularization = LanesConfig(variable_bptt=False), RegularizationConfig()
    tasks = {
        name: LanguageModelTask(
            network, member, lanes, regularization, 16, 0, (store, documents), None
        )
        for name, documents in (("a million tokens", few), ("all", None))
    }
    batches = {name: task.batches(0, 0) for name, task in tasks.items()}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(1 + BATCHES):
        for name, task in tasks.items():
            began = time.perf_counter()
            task.loss(next(batches[name])).loss.backward()  # type: ignore[no-untyped-call]
            if turn:  # the first also puts the documents in order
                times[name].append(time.perf_counter() - began)
    return times


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parsed = parse(parser(__doc__), arguments)
    files = sorted((parsed.data / "wikipedia-en").glob("train-*.parquet"))
    RUNS.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=RUNS) as folder:
        whole = build(files, Path(folder) / "whole", 0)
        part = build(files, Path(folder) / "part", whole["documents"] // SHARE)
        times = batch_seconds(Path(folder) / "whole")
    small, large = (median(each) for each in times.values())
    growth = whole["peak_anonymous_mb"] / part["peak_anonymous_mb"] - 1
    slowdown = large / small - 1
    result = {
        "store": {"whole": whole, "a tenth": part, "growth": round(growth, 3)},
        "batch": {
            "median_seconds": {"a million tokens": small, "all": large},
            "slowdown": round(slowdown, 3),
            "seconds": times,
        },
    }
    print(json.dumps(result, indent=2))
    write_result("corpus", result)
    if growth > LARGEST_GROWTH or slowdown > LARGEST_SLOWDOWN:
        raise SystemExit("memory or the time of a batch grows with the corpus")


if __name__ == "__main__":
    main()
