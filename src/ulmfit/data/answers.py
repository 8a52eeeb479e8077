"""From the members' mean answers to those of a classifier, and to its decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ulmfit.config.artefact import Task, TaskKind
from ulmfit.data.targets import Targets, label_counts

ALIGNMENT_STEPS = 100
"""Of `aligned`: what is left between means and shares shrinks by a factor each step."""


def tempered(kind: TaskKind, mean: NDArray[Any], temperature: float) -> NDArray[Any]:
    """Sharpen or flatten averaged probabilities [documents, labels] by a temperature."""
    power = 1.0 / temperature
    if power == 1.0 or kind == "number":
        return mean
    # Over the largest, which stays 1: a low temperature would leave nothing but zeros.
    if kind == "multi_label":
        largest = np.maximum(mean, 1 - mean)
        there, absent = np.power(mean / largest, power), np.power((1 - mean) / largest, power)
        odds: NDArray[Any] = there / (there + absent)
        return odds
    powers = np.power(mean / mean.max(1, keepdims=True), power)
    shares: NDArray[Any] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def decisions(task: Task, answers: NDArray[Any], abstain_below: float = 0.0) -> list[Any]:
    """Return what the answers [documents, outputs] decide: labels, tuples of labels, or numbers.

    None stands for a document whose likeliest label is less probable than `abstain_below`.
    """
    if task.kind == "number":
        return [float(number) for number in answers[:, 0]]
    if task.kind == "single_label":
        places = answers.argmax(1)
        sure = answers.max(1) >= abstain_below
        return [task.labels[i] if s else None for i, s in zip(places, sure, strict=True)]
    given = given_labels(task, answers)
    return [tuple(task.labels[i] for i in np.flatnonzero(row)) for row in given]


def given_labels(task: Task, answers: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which labels are at or above their thresholds, [documents, labels]."""
    given: NDArray[np.bool_] = answers >= np.array(task.thresholds or 0.5, dtype=answers.dtype)
    return given


def decided(task: Task, answers: NDArray[Any]) -> Targets:
    """Return what the answers decide, as targets to learn (`data.targets`)."""
    if task.kind == "number":
        return answers[:, 0]
    if task.kind == "single_label":
        return answers.argmax(1)
    return csr_array(given_labels(task, answers).astype(np.float32))


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
