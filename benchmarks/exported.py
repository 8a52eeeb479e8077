"""What does a classifier in ONNX answer, and how fast, beside the one that PyTorch computes?

A forward classifier of 2,000 reviews, without a stage two of its own: error on test reviews and
distance of the answers, with weights in float32 and in 8 bits; reviews a second, in turns; a text
of 200 words alone; the first answer of a fresh process, and its memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import RUNS, parse, parser, read_labelled, write_result
from explanations import folder_of_reviews

from ulmfit.config.stages import ConvertConfig
from ulmfit.interop.convert import convert
from ulmfit.models.classifier import Classifier
from ulmfit.models.onnx_classifier import OnnxClassifier
from ulmfit.models.text_classifier import TextClassifier

REVIEWS, TIMED, ROUNDS = 5_000, 300, 5
PREDICT = [sys.executable, "-m", "ulmfit", "predict", "--model"]


def answers(ways: dict[str, Classifier], texts: Sequence[str], truth: np.ndarray) -> dict[str, Any]:
    """Return the error each way, and how far its answers are from the first way's."""
    expected, found = None, {}
    for name, classifier in ways.items():
        given = classifier.predict_proba(texts)
        expected = given if expected is None else expected
        found[name] = {
            "error": round(100 * float((given.argmax(1) != truth).mean()), 2),
            "decided_otherwise": int((given.argmax(1) != expected.argmax(1)).sum()),
            "largest_deviation": float(f"{np.abs(given - expected).max():.2g}"),
        }
    return found


def in_turns(tasks: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    """Return the seconds of each task: the median, least and most of some rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(ROUNDS + 1):
        for name, task in tasks.items():
            began = time.perf_counter()
            task()
            if turn > 0:  # the first is to warm up
                seconds[name].append(time.perf_counter() - began)
    return {
        name: {"median": round(median(s), 4), "least": round(min(s), 4), "most": round(max(s), 4)}
        for name, s in seconds.items()
    }


def peak_mb(model: Path) -> float:
    """Return the most memory that a process holds which answers one line of text."""
    code = (
        "import resource, sys\n"
        "from ulmfit.cli import main\n"
        "assert main(['predict', '--model', sys.argv[1]]) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(model)]
    done = subprocess.run(command, input=b"A text.\n", capture_output=True, check=True)
    return round(int(done.stderr.split()[-1]) * 1024 / 1e6, 1)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parse(parser(__doc__), arguments)
    folder = folder_of_reviews(options.data)
    folders = {"pytorch": folder}
    for storage in ("float32", "int8"):
        folders[f"onnx, {storage}"] = convert(
            ConvertConfig(
                sources=(str(folder),), output=str(RUNS / f"exported-{storage}"), to="onnx",
                storage=storage, overwrite=True,
            )
        )  # fmt: skip
    ways: dict[str, Classifier] = {
        name: (TextClassifier if name == "pytorch" else OnnxClassifier).from_pretrained(path)
        for name, path in folders.items()
    }
    reviews, _ = read_labelled(options.data / "imdb" / "test.parquet").split(REVIEWS, seed=0)
    truth = np.array([ways["pytorch"].labels.index(label) for label in reviews.labels])
    some, one = reviews.texts[:TIMED], " ".join(" ".join(reviews.texts[:9]).split()[:200])

    def first_answer(model: Path) -> None:
        subprocess.run([*PREDICT, str(model)], input=b"A text.\n", capture_output=True, check=True)

    found = {
        "answers": answers(ways, reviews.texts, truth),
        "seconds": {
            f"{TIMED} reviews": in_turns(
                {name: lambda c=c: c.predict_proba(some) for name, c in ways.items()}  # type: ignore[misc]
            ),
            "a text of 200 words": in_turns(
                {name: lambda c=c: c.predict_proba([one]) for name, c in ways.items()}  # type: ignore[misc]
            ),
            "a fresh process, one text": in_turns(
                {name: lambda p=p: first_answer(p) for name, p in folders.items()}  # type: ignore[misc]
            ),
        },
        "process_mb": {name: peak_mb(path) for name, path in folders.items()},
        "folder_mb": {
            name: round(sum(os.path.getsize(f) for f in path.iterdir()) / 1e6, 1)
            for name, path in folders.items()
        },
    }
    print(json.dumps(found, indent=2))
    write_result("exported", {"reviews": REVIEWS, **found})


if __name__ == "__main__":
    main()
