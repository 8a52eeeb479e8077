"""What `speed.py` times of classifiers in ONNX: as `speed_ours.py`, in a process of its own.

ONNX Runtime's threads wait awake, and would hold the cores that PyTorch's need.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from answering import answer
from speed_ours import classifier_of

from ulmfit.interop.onnx import export_onnx
from ulmfit.models.onnx_classifier import OnnxClassifier

kept: dict[str, OnnxClassifier] = {}
"""Classifiers, by model and precision."""


def exported(asked: dict[str, Any]) -> OnnxClassifier:
    """Return the classifier asked for, made at the first call."""
    precision = asked.get("precision", "float32")
    way = f"{asked['model']}, {precision}"
    if way not in kept:
        with TemporaryDirectory() as folder:
            trained, output = Path(folder) / "trained", Path(folder) / "exported"
            classifier_of({**asked, "precision": "float32"}).save_pretrained(trained)
            export_onnx(str(trained), output, precision=precision)
            threads = int(os.environ["OMP_NUM_THREADS"])
            kept[way] = OnnxClassifier.from_pretrained(output, threads=threads)
    return kept[way]


def predict(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds from texts to probabilities, tokenizing counted."""
    classifier, texts = exported(asked), asked["texts"]
    tokens = sum(map(len, classifier.tokenizer.encode_batch(texts)))
    began = time.perf_counter()
    classifier.predict_proba(texts)
    return {"seconds": time.perf_counter() - began, "tokens": tokens}


def one_by_one(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each text by itself."""
    classifier, seconds = exported(asked), []
    for text in asked["texts"]:
        began = time.perf_counter()
        classifier.predict_proba([text])
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


def main() -> None:
    """Answer until there is nothing more to read."""
    torch.manual_seed(0)
    answer({"predict": predict, "one by one": one_by_one}, ("ulmfit", "onnxruntime"))


if __name__ == "__main__":
    main()
