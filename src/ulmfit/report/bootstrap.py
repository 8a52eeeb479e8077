"""How sure the measures are: their spread over documents drawn anew (Efron 1979)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import Task
from ulmfit.training.scores import ratio

DRAWS, AT_ONCE = 1_000, 50
SHARE = 0.95
"""Of the draws, within the interval told."""

ENDS = (50 * (1 - SHARE), 50 * (1 + SHARE))

Interval = tuple[float, float]


def intervals(
    task: Task, truth: Any, given: Any, losses: NDArray[np.float64], seed: int = 0
) -> dict[str, Interval]:
    """Return the interval of each measure over `DRAWS` draws of as many documents.

    `truth` and `given` are those of `Observed.joined`. The bounds are percentiles.
    """
    found: dict[str, list[NDArray[np.float64]]] = {}
    for weights in _draws(len(losses), seed):
        for name, values in weighted_measures(task, truth, given, losses, weights).items():
            found.setdefault(name, []).append(values)
    return {name: _interval(np.concatenate(values)) for name, values in found.items()}


def label_intervals(truth: Any, given: Any, seed: int = 0) -> list[Interval]:
    """Return the interval of each label's F1; draws without the label do not count.

    `truth` and `given` are 0 or 1 [documents, labels], sparse.
    """
    right = truth.multiply(given)
    found = []
    for weights in _draws(truth.shape[0], seed):
        either = weights @ truth + weights @ given
        f1 = np.full(either.shape, np.nan)
        found.append(np.divide(2 * (weights @ right), either, out=f1, where=either > 0))
    values = np.concatenate(found)
    values[:, np.isnan(values).all(0)] = 0.0  # a label that is never there and never given
    return [tuple(ends) for ends in np.nanpercentile(values, ENDS, axis=0).T.tolist()]


def _interval(values: NDArray[np.float64]) -> Interval:
    """Return the ends of the draws that have a value; NaN if none has."""
    known = values[~np.isnan(values)]
    low, high = np.percentile(known, ENDS).tolist() if len(known) else (np.nan, np.nan)
    return low, high


def _draws(count: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each of `count` documents is drawn, [`AT_ONCE`, documents] at a time."""
    generator = np.random.default_rng(seed)
    for _ in range(DRAWS // AT_ONCE):
        drawn = generator.integers(0, count, (AT_ONCE, count))
        yield np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)


def weighted_measures(
    task: Task,
    truth: Any,
    given: Any,
    losses: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Return each measure [draws] where documents count by `weights` [draws, documents]."""
    total = weights.sum(1)
    loss = weights @ losses / total
    if task.kind == "number":
        return _of_numbers(truth, given, loss, weights)
    right, there, said = ((weights @ each) for each in (truth.multiply(given), truth, given))
    wrong = abs(truth - given).sum(1)
    accuracy = weights @ (wrong == 0) / total
    f1 = ratio(2 * right, there + said)
    if task.kind == "single_label":
        occurs = (there + said) > 0
        macro = np.where(occurs, f1, 0).sum(1) / occurs.sum(1)
        return {"loss": loss, "accuracy": accuracy, "error": 1 - accuracy, "macro_f1": macro}
    micro = ratio(2 * right.sum(1), (there + said).sum(1))
    return {
        "loss": loss,
        "micro_f1": micro,
        "macro_f1": f1.mean(1),
        "accuracy": accuracy,
        "error": 1 - accuracy,
    }


def _of_numbers(
    truth: NDArray[Any], given: NDArray[Any], loss: NDArray[Any], weights: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    total = weights.sum(1)
    centred = truth - truth.mean()
    moved = weights @ centred / total
    spread = weights @ centred**2 / total - moved**2
    lowest = np.where(weights > 0, truth, np.inf).min(1)
    highest = np.where(weights > 0, truth, -np.inf).max(1)  # of equal numbers, none may be rounded
    return {
        "loss": loss,
        "root_mean_square_error": np.sqrt(loss),
        "mean_absolute_error": weights @ np.abs(given - truth) / total,
        "r2": 1 - np.divide(loss, spread, out=np.full_like(loss, np.nan), where=highest > lowest),
    }
