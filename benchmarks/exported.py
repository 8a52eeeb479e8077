"""What does a classifier in ONNX answer, beside the one that PyTorch computes, and how soon?

A forward classifier of 2,000 reviews, without a stage two of its own: error on test reviews and
distance of the answers, with weights and with products of 8 bits; what a text's neighbours move;
the first answer of a fresh process, and its memory. How fast it reads is told by `speed.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import RUNS, parse, parser, read_labelled, write_result
from explanations import folder_of_reviews
from workers import spread

from ulmfit.config.artefact import OnnxPrecision, Storage
from ulmfit.interop.onnx import export_onnx
from ulmfit.models.classifier import Classifier
from ulmfit.models.loading import load_classifier

REVIEWS, ALONE, ROUNDS = 5_000, 300, 5
EXPORTED: dict[str, tuple[Storage, OnnxPrecision]] = {
    "onnx": ("float32", "float32"),
    "onnx, 8-bit weights": ("int8", "float32"),
    "onnx, 8-bit products": ("int8", "int8"),
}


def answers(ways: dict[str, Classifier], texts: Sequence[str], truth: np.ndarray) -> dict[str, Any]:
    """Return the error each way, and how far its answers are from the first way's."""
    expected, found = None, {}
    for name, classifier in ways.items():
        given = classifier.predict_proba(texts)
        expected = given if expected is None else expected
        apart = np.abs(given - expected).max(1)
        alone = np.concatenate([classifier.predict_proba([text]) for text in texts[:ALONE]])
        beside_others = classifier.predict_proba(texts[:ALONE])
        found[name] = {
            "error": round(100 * float((given.argmax(1) != truth).mean()), 2),
            "decided_otherwise": int((given.argmax(1) != expected.argmax(1)).sum()),
            "largest_deviation": float(f"{apart.max():.2g}"),
            "mean_deviation": float(f"{apart.mean():.2g}"),
            "moved_by_neighbours": float(f"{np.abs(beside_others - alone).max():.2g}"),
        }
    return found


def first_answers(models: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Return the seconds of processes that answer one line of text: median, least and most."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(ROUNDS + 1):
        for name, model in models.items():
            command = [sys.executable, "-m", "ulmfit", "predict", "--model", str(model)]
            began = time.perf_counter()
            subprocess.run(command, input=b"A text.\n", capture_output=True, check=True)
            if turn > 0:  # the first is to warm up
                seconds[name].append(time.perf_counter() - began)
    return {name: spread(values) for name, values in seconds.items()}


def peak_mb(model: Path) -> float:
    """Return the most memory that a process holds which answers one line of text."""
    code = (
        "import sys; from ulmfit.cli import main\n"
        "assert main(['predict', '--model', sys.argv[1]]) == 0\n"
        "print(open('/proc/self/status').read(), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(model)]
    done = subprocess.run(command, input=b"A text.\n", capture_output=True, check=True)
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", done.stderr.decode())
    return round(int(kilobytes) * 1024 / 1e6, 1)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parse(parser(__doc__), arguments)
    folder = folder_of_reviews(options.data)
    folders = {"pytorch": folder}
    for name, (storage, precision) in EXPORTED.items():
        output = RUNS / f"exported-{storage}-{precision}"
        folders[name] = export_onnx(
            str(folder), output, storage=storage, precision=precision, overwrite=True
        )
    ways: dict[str, Classifier] = {
        name: load_classifier(str(path), device="cpu") for name, path in folders.items()
    }
    reviews, _ = read_labelled(options.data / "imdb" / "test.parquet").split(REVIEWS, seed=0)
    truth = np.array([ways["pytorch"].labels.index(label) for label in reviews.labels])
    found = {
        "answers": answers(ways, reviews.texts, truth),
        "first_answer_seconds": first_answers(folders),
        "process_mb": {name: peak_mb(path) for name, path in folders.items()},
        "folder_mb": {
            name: round(sum(file.stat().st_size for file in path.iterdir()) / 1e6, 1)
            for name, path in folders.items()
        },
    }
    print(json.dumps(found, indent=2))
    write_result("exported", {"reviews": REVIEWS, **found})


if __name__ == "__main__":
    main()
