"""From the members' mean answers to those of a classifier, and to its decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import Task, TaskKind


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
