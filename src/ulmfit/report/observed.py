"""What is kept of each document while a classifier is measured: a few numbers, never its text."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from ulmfit.config.artefact import Task
from ulmfit.data.answers import decisions, given_labels
from ulmfit.data.sources import Document
from ulmfit.data.targets import Targets, dense
from ulmfit.text.types import columns_of


@dataclass(frozen=True, order=True)
class Miss:
    """A document on which the classifier is far from the truth."""

    loss: float
    place: int
    """From 0, in the order measured."""

    document: Document
    decided: Any


class Observed:
    """Truth, decisions and losses of the documents measured so far."""

    def __init__(self, task: Task, misses: int) -> None:
        """Begin with no documents; of the worst, so many `misses` are kept with their texts."""
        self.task, self.most_misses = task, misses
        self.losses: NDArray[np.float64] = np.zeros(0)
        self.words: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.truth: list[Any] = []
        self.given: list[Any] = []
        self._misses: list[Miss] = []

    def add(
        self, documents: Sequence[Document], truth: Targets, answers: NDArray[np.float32]
    ) -> None:
        """Add a block of documents, what is true of them, and the answers [block, outputs]."""
        losses = _losses(self.task, truth, answers)
        decided = decisions(self.task, answers)
        for place, (document, loss, each) in enumerate(
            zip(documents, losses, decided, strict=True), start=len(self.losses)
        ):
            miss = Miss(float(loss), -place, document, each)
            if len(self._misses) < self.most_misses:
                heapq.heappush(self._misses, miss)
            elif self._misses and miss.loss > self._misses[0].loss:
                heapq.heapreplace(self._misses, miss)
        lengths = [sum(len(part.split()) for part in columns_of(d.text)) for d in documents]
        self.losses = np.concatenate([self.losses, losses])
        self.words = np.concatenate([self.words, np.array(lengths, dtype=np.int64)])
        self.truth.append(_matrix(self.task, truth))
        self.given.append(_given(self.task, answers))

    def joined(self) -> tuple[Any, Any]:
        """Return truth and decisions: 0 or 1 [documents, labels], sparse; or numbers."""
        if self.task.kind == "number":
            return np.concatenate(self.truth), np.concatenate(self.given)
        return csr_array(vstack(self.truth)), csr_array(vstack(self.given))

    def misses(self) -> list[Miss]:
        """Return the worst documents, the worst first."""
        return sorted(self._misses, key=lambda miss: (-miss.loss, -miss.place))


def _losses(task: Task, truth: Targets, answers: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the loss of each document: as in `training.scores`, but one by one."""
    found = dense(truth)
    if task.kind == "number":
        return np.asarray((answers[:, 0] - found) ** 2, dtype=np.float64)
    floor = np.finfo(answers.dtype).eps
    if task.kind == "single_label":
        right = answers[np.arange(len(found)), found]
        return np.asarray(-np.log(np.maximum(right, floor)), dtype=np.float64)
    of_truth = np.where(found > 0, answers, 1 - answers)
    return np.asarray(-np.log(np.maximum(of_truth, floor)).mean(1, dtype=np.float64))


def _matrix(task: Task, truth: Targets) -> Any:
    if task.kind == "number":
        return dense(truth)
    if isinstance(truth, csr_array):
        return truth
    return _one_hot(truth, len(task.labels))


def _given(task: Task, answers: NDArray[np.float32]) -> Any:
    if task.kind == "number":
        return answers[:, 0].astype(np.float64)
    if task.kind == "single_label":
        return _one_hot(answers.argmax(1), len(task.labels))
    return csr_array(given_labels(task, answers).astype(np.float32))


def _one_hot(classes: NDArray[Any], labels: int) -> csr_array:
    count = len(classes)
    ones, rows = np.ones(count, dtype=np.float32), np.arange(count + 1)
    return csr_array((ones, classes, rows), shape=(count, labels))
