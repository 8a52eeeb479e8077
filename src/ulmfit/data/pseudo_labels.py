"""From the answers of classifiers to what others learn from them (Lee 2013)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import Task
from ulmfit.data.answers import given_labels
from ulmfit.data.targets import Targets, label_counts

ALIGNMENT_STEPS = 100
"""Of `aligned`: what is left between means and shares shrinks by a factor each step."""


def decided(task: Task, answers: NDArray[Any]) -> NDArray[Any]:
    """Return what the answers decide, as `data.targets.dense` gives what is true."""
    if task.kind == "number":
        return answers[:, 0]
    if task.kind == "single_label":
        return np.asarray(answers.argmax(1))
    return given_labels(task, answers).astype(np.float32)


def aligned(answers: NDArray[Any], shares: NDArray[Any]) -> NDArray[Any]:
    """Return probabilities [documents, labels] whose means over the documents are `shares`.

    Each label's odds are multiplied by a factor, the same for all documents (Saerens et al. 2002;
    distribution alignment, Berthelot et al. 2020). A label without share has none.
    """
    exact = answers.astype(np.float64)
    for _ in range(ALIGNMENT_STEPS):
        exact *= shares / np.maximum(exact.mean(0), np.finfo(np.float64).tiny)
        exact /= exact.sum(1, keepdims=True)
    return exact.astype(answers.dtype)


def sureness(task: Task, answers: NDArray[Any]) -> NDArray[Any]:
    """Return the probability of what is decided of each document [documents].

    The mean over the labels, where there may be several; 1 for a number.
    """
    if task.kind == "number":
        return np.ones(len(answers))
    if task.kind == "single_label":
        return np.asarray(answers.max(1))
    return np.asarray(np.maximum(answers, 1 - answers).mean(1))


def surest(task: Task, answers: NDArray[Any], share: float, labelled: Targets) -> NDArray[np.int64]:
    """Return the indices, ascending, of a share of the documents, those most surely decided.

    Where each document has one label, each label has the share that it has in `labelled`, those
    of other documents, or all its documents if they are fewer.
    """
    sure = sureness(task, answers)
    if task.kind != "single_label":
        return np.sort(_largest(sure, np.arange(len(answers)), round(share * len(answers))))
    labels = answers.argmax(1)
    counts = label_counts(labelled, len(task.labels))
    wanted = share * len(answers) * counts / counts.sum()
    kept = [
        _largest(sure, np.flatnonzero(labels == label), round(count))
        for label, count in enumerate(wanted)
    ]
    return np.sort(np.concatenate(kept))


def _largest(values: NDArray[Any], places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return those of `places` with the largest values; of equal ones the first."""
    return places[np.argsort(-values[places], kind="stable")[:count]]
