"""What a classifier's answers are measured by, gathered block by block.

Memory grows by a few bytes a document, or not at all: never by a number for each label of each.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import Task
from ulmfit.data.answers import given_labels
from ulmfit.data.targets import Targets, dense
from ulmfit.training.metrics import accuracy, error, log_loss, macro_f1
from ulmfit.training.reliability import Reliability, coverage_curve

Measures = dict[str, float]


class Scores(Protocol):
    """Measures of the answers given so far."""

    documents: int

    def add(self, truth: Targets, answers: NDArray[Any]) -> None:
        """Add a block of documents: what is true of them and the answers [block, outputs]."""

    def results(self) -> Measures:
        """Return the measures of all documents together; `loss` is among them."""

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return what is a table: `labels`, `reliability`, `coverage`, as the task has them."""


def scores_for(task: Task) -> Scores:
    """Return the empty scores of a task."""
    if task.kind == "number":
        return NumberScores()
    return SingleLabelScores(task) if task.kind == "single_label" else MultiLabelScores(task)


class SingleLabelScores:
    """Accuracy, macro F1 and log loss of one label a document."""

    def __init__(self, task: Task) -> None:
        """Begin with no documents."""
        self.labels = task.labels
        self.documents, self._loss, self._reliability = 0, 0.0, Reliability()
        self._sure: list[NDArray[Any]] = []
        self._truth: list[NDArray[Any]] = []
        self._decided: list[NDArray[Any]] = []

    def add(self, truth: Targets, answers: NDArray[Any]) -> None:
        """Add classes [block] and probabilities [block, classes]."""
        self.documents += len(answers)
        self._loss += log_loss(dense(truth), answers) * len(answers)
        self._truth.append(dense(truth))
        self._decided.append(answers.argmax(1))
        self._sure.append(answers.max(1))
        self._reliability.add(self._sure[-1], self._decided[-1] == self._truth[-1])

    def results(self) -> Measures:
        """Return loss (mean negative log-probability), accuracy, error, macro F1, calibration.

        `calibration_error`: how far the probability of what is decided is from the share that is
        right, in the mean (`training.reliability`).
        """
        truth, decided = np.concatenate(self._truth), np.concatenate(self._decided)
        return {
            "loss": self._loss / self.documents,
            "accuracy": accuracy(truth, decided),
            "error": error(truth, decided),
            "macro_f1": macro_f1(truth, decided),
            "calibration_error": self._reliability.error,
        }

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return the measures of each class, the reliability, and what abstaining is worth."""
        truth, decided = np.concatenate(self._truth), np.concatenate(self._decided)
        right = np.bincount(truth[truth == decided], minlength=len(self.labels))
        given, there = (np.bincount(each, minlength=len(self.labels)) for each in (decided, truth))
        return {
            "labels": _by_label(self.labels, right, given, there),
            "reliability": self._reliability.bins(),
            "coverage": coverage_curve(np.concatenate(self._sure), truth == decided),
        }


class MultiLabelScores:
    """Micro and macro F1, share of documents that are wholly right, and binary cross-entropy."""

    def __init__(self, task: Task) -> None:
        """Begin with no documents."""
        self.labels = task.labels
        self._task, self._reliability = task, Reliability()
        self.documents, self._loss, self._whole = 0, 0.0, 0
        self._right, self._given, self._there = np.zeros((3, len(task.labels)), dtype=np.int64)

    def add(self, truth: Targets, answers: NDArray[Any]) -> None:
        """Add truth, 0 or 1, and probabilities, both [block, labels]."""
        there, given = dense(truth) > 0, given_labels(self._task, answers)
        of_truth = np.where(there, answers, 1 - answers)
        floor = np.finfo(of_truth.dtype).eps
        self._loss -= float(np.log(np.maximum(of_truth, floor)).sum(dtype=np.float64))
        self._whole += int((there == given).all(1).sum())
        self._right += (there & given).sum(0)
        self._given += given.sum(0)
        self._there += there.sum(0)
        self._reliability.add(answers, there)
        self.documents += len(answers)

    def results(self) -> Measures:
        """Return loss (mean over documents and labels), F1, accuracy, error and calibration.

        Micro F1 counts every label of every document alike, macro F1 every label. `accuracy` is
        the share of documents of which no label is missing and none is too many;
        `calibration_error` how far the probabilities of the labels are from how often they are
        there, in the mean.
        """
        whole = self._whole / self.documents
        f1 = ratio(2 * self._right, self._given + self._there)
        return {
            "loss": self._loss / (self.documents * len(self.labels)),
            "micro_f1": float(ratio(2 * self._right.sum(), self._given.sum() + self._there.sum())),
            "macro_f1": float(f1.mean()),
            "accuracy": whole,
            "error": 1.0 - whole,
            "calibration_error": self._reliability.error,
        }

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return the measures of each label, and the reliability of the probabilities."""
        return {
            "labels": _by_label(self.labels, self._right, self._given, self._there),
            "reliability": self._reliability.bins(),
        }


class NumberScores:
    """How far numbers are from the true ones."""

    def __init__(self) -> None:
        """Begin with no documents."""
        self.documents = 0
        self._truth: list[NDArray[Any]] = []
        self._answers: list[NDArray[Any]] = []

    def add(self, truth: Targets, answers: NDArray[Any]) -> None:
        """Add the true numbers [block] and those answered [block, 1]."""
        self.documents += len(answers)
        self._truth.append(dense(truth))
        self._answers.append(answers[:, 0])

    def results(self) -> Measures:
        """Return loss (mean squared error), its root, mean absolute error and R squared."""
        truth = np.concatenate(self._truth).astype(np.float64)
        distance = np.concatenate(self._answers) - truth
        loss = float(np.mean(distance**2))
        spread = float(np.var(truth)) if np.ptp(truth) else 0.0  # a constant's may be rounded
        return {
            "loss": loss,
            "root_mean_square_error": loss**0.5,
            "mean_absolute_error": float(np.abs(distance).mean()),
            "r2": 1.0 - loss / spread if spread else float("nan"),
        }

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return nothing: a number has no labels."""
        return {}


def _by_label(
    labels: tuple[str, ...], right: NDArray[Any], given: NDArray[Any], there: NDArray[Any]
) -> list[dict[str, Any]]:
    """Return the measures of labels that were `right` so often, `given` and `there`."""
    columns = {
        "label": labels,
        "precision": ratio(right, given).tolist(),
        "recall": ratio(right, there).tolist(),
        "f1": ratio(2 * right, given + there).tolist(),
        "support": there.tolist(),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    """Return `part / whole`; 0 where there is nothing to divide."""
    ratio: NDArray[np.float64] = np.divide(
        part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0
    )
    return ratio
