"""Temperature and thresholds of a classifier, fitted to documents it was not trained on."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from ulmfit.config.artefact import Task
from ulmfit.data.answers import tempered
from ulmfit.data.targets import Targets, dense

ThresholdMetric = Literal["f1", "f2", "f0.5", "accuracy"]

LOWEST, HIGHEST = 0.05, 20.0
"""Of temperatures."""

ABOVE_ALL = 1.0 + 1e-6
"""What no probability reaches, in float32 either."""


def fit_temperature(task: Task, truth: Targets, mean: NDArray[Any]) -> float:
    """Return the temperature under which `truth` is likeliest (Guo et al. 2017, section 4.2).

    `mean` are the answers [documents, labels] averaged over the members, as they are. One further
    document that is wrong is reckoned with, as Platt (1999) does: however few there are, and all
    of them right, no probability becomes 1.
    """
    answers, there = mean.astype(np.float64), _as_matrix(task, truth)
    unlikely = 1 / (len(answers) + 2)
    others = 1 if task.kind == "multi_label" else answers.shape[1] - 1
    wanted = np.where(there, 1 - unlikely, unlikely / others)

    def loss(logarithm: float) -> float:
        flattened = tempered(task.kind, answers, float(np.exp(logarithm)))
        logs = wanted * _log(flattened)
        if task.kind == "multi_label":
            logs += (1 - wanted) * _log(1 - flattened)
        return float(-logs.sum(1).mean())

    fitted = minimize_scalar(loss, bounds=np.log([LOWEST, HIGHEST]), method="bounded")
    return float(np.exp(fitted.x))


def fit_thresholds(
    truth: Targets, answers: NDArray[Any], metric: ThresholdMetric, least: int
) -> tuple[float, ...]:
    """Return for each label the threshold with the best `metric`; 0.5 if it is too rare to tell.

    `truth` and `answers` are [documents, labels]; a label that fewer than `least` documents have,
    or lack, is too rare. Of equally good thresholds, the one nearest to 0.5; each lies midway
    between two answers.
    """
    there = dense(truth) > 0
    return tuple(
        _best_threshold(there[:, label], answers[:, label].astype(np.float64), metric)
        if least <= there[:, label].sum() <= len(there) - least
        else 0.5
        for label in range(there.shape[1])
    )


def _as_matrix(task: Task, truth: Targets) -> NDArray[np.bool_]:
    """Return which label each document has, [documents, labels]."""
    found = dense(truth)
    if task.kind == "multi_label":
        return np.asarray(found > 0)
    return np.asarray(found[:, None] == np.arange(len(task.labels)))


def _log(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)))


def _best_threshold(
    there: NDArray[np.bool_], answers: NDArray[np.float64], metric: ThresholdMetric
) -> float:
    order = np.argsort(-answers, kind="stable")
    sorted_answers, hits = answers[order], np.cumsum(there[order])
    given = np.arange(1, len(order) + 1)
    # Documents with the same answer are all given the label, or none of them.
    ends = np.flatnonzero(np.append(np.diff(sorted_answers) < 0, True))
    hits, given = np.append(0, hits[ends]), np.append(0, given[ends])
    values = _measure(hits, given, int(there.sum()), len(there), metric)
    edges = np.concatenate([[ABOVE_ALL], sorted_answers[ends], [0.0]])
    middles = ((edges[:-1] + edges[1:]) / 2).astype(np.float32)  # as which answers are compared
    thresholds = np.where(middles > edges[1:], middles, edges[:-1])
    best = np.flatnonzero(values >= values.max() - 1e-12)
    return float(thresholds[best[np.abs(thresholds[best] - 0.5).argmin()]])


def _measure(
    hits: NDArray[Any], given: NDArray[Any], there: int, documents: int, metric: ThresholdMetric
) -> NDArray[np.float64]:
    """Return the metric where `given` of the documents have the label, `hits` of them rightly."""
    if metric == "accuracy":
        return np.asarray((documents - given - there + 2 * hits) / documents)
    squared = float(metric[1:]) ** 2
    return np.asarray((1 + squared) * hits / (squared * there + given))
