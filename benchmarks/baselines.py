"""What a row of the table is beside: logistic regression, over counted words or over vectors."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from common import Labelled
from environments import minilm_environment
from numpy.typing import NDArray
from workers import Worker

STRENGTHS = [0.1, 1.0, 10.0, 100.0]
"""C of logistic regression over vectors: the best of these in five folds of the labelled texts."""


class Predicted(NamedTuple):
    """What a baseline says of the test texts, and how long it took."""

    labels: list[str]
    seconds: float


def tfidf_logistic_regression(
    train: Labelled, texts: list[str], characters: bool = False
) -> Predicted:
    """Learn from `train` and predict the label of each of `texts`; one core, no random draw.

    `characters`: counts runs of characters in place of words.
    """
    from ulmfit.config.artefact import Task
    from ulmfit.data.answers import decisions
    from ulmfit.data.sources import Document
    from ulmfit.data.targets import targets_of
    from ulmfit.models.tfidf import TfidfModel

    began = time.perf_counter()
    task = Task(labels=tuple(sorted({*train.labels})))
    documents = [Document(text, label, "") for text, label in zip(*train, strict=True)]
    model = TfidfModel(task, characters).fit(train.texts, targets_of(documents, task))
    predicted = decisions(task, model.answers(texts))
    return Predicted(predicted, time.perf_counter() - began)


def sentence_vectors_logistic_regression(train: Labelled, texts: list[str]) -> Predicted:
    """Learn from the vectors of all-MiniLM-L6-v2 of `train`; predict the label of each text.

    The vectors are of length 1, as sentence-transformers gives them, of the first 256 tokens.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    began = time.perf_counter()
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(LogisticRegression(max_iter=5_000), {"C": STRENGTHS}, cv=folds)
    model = search.fit(_vectors(tuple(train.texts)), train.labels)
    predicted = [str(label) for label in model.predict(_vectors(tuple(texts)))]
    return Predicted(predicted, time.perf_counter() - began)


@cache
def _vectors(texts: tuple[str, ...]) -> NDArray[Any]:
    """Return vectors [texts, 384] of length 1."""
    with TemporaryDirectory() as folder:
        file = str(Path(folder) / "vectors.npy")
        _minilm().ask({"task": "vectors", "texts": texts, "file": file})
        found = np.load(file)
    of_length_one: NDArray[Any] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return of_length_one


@cache
def _minilm() -> Worker:
    script = str(Path(__file__).with_name("speed_minilm.py"))
    return Worker(minilm_environment(), [script], os.cpu_count() or 1)
