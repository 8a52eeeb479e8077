"""What `speed.py` times of classifiers in ONNX: as `speed_ours.py`, in a process of its own.

ONNX Runtime's threads wait awake, and would hold the cores that PyTorch's need.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from answering import answer
from speed_ours import Answers, classifier_of, kept, one_by_one, predict

from ulmfit.interop.onnx import export_onnx
from ulmfit.models.onnx_classifier import OnnxClassifier


def answers_of(asked: dict[str, Any]) -> Answers:
    """Return what gives probabilities: the same classifier, converted."""
    with TemporaryDirectory() as folder:
        trained, output = Path(folder) / "trained", Path(folder) / "exported"
        classifier_of({**asked, "precision": "float32"}).save_pretrained(trained)
        export_onnx(str(trained), output, precision=asked.get("precision", "float32"))
        threads = int(os.environ["OMP_NUM_THREADS"])
        classifier = OnnxClassifier.from_pretrained(output, threads=threads)
    kept[f"tokenizer of {asked['model']}"] = classifier.tokenizer
    return classifier.predict_proba


def main() -> None:
    """Answer until there is nothing more to read."""
    torch.manual_seed(0)
    tasks: dict[str, Callable[..., Any]] = {"predict": partial(predict, make=answers_of)}
    tasks["one by one"] = one_by_one
    answer(tasks, ("ulmfit", "onnxruntime"))


if __name__ == "__main__":
    main()
