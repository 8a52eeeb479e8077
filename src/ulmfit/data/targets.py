"""Labels as they are written into what is learned: a class, any of the labels, or a number."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ulmfit.config.artefact import Task, TaskKind
from ulmfit.data.sources import Document
from ulmfit.errors import ConfigError, DataError

MARGIN = 0.05
"""A range of numbers that is not given is that of training, widened at both ends by this share of
its width: a sigmoid comes near its ends, but never there."""

LEAST_WIDTH = 2.0**-13
"""Of a range of numbers, as a share of the largest: answers are in float32, whose step is then a
thousandth of the range."""

Targets: TypeAlias = NDArray[Any] | csr_array
"""`single_label`: classes [documents], int64; `multi_label`: 0 or 1, [documents, labels], sparse;
`number`: numbers [documents], float64."""


def kind_of(documents: Sequence[Document]) -> TaskKind:
    """Return what labels like these ask for.

    Lists of labels are several; numbers of which one has a fraction are numbers; all else is a
    class.
    """
    labels = [document.label for document in documents]
    if any(isinstance(label, tuple) for label in labels):
        return "multi_label"
    numbers = [_number(label) for label in labels]
    if numbers and None not in numbers and any(n % 1 for n in numbers if n is not None):
        return "number"
    return "single_label"


def make_task(
    documents: Sequence[Document], kind: TaskKind, bounds: tuple[float, float] | None = None
) -> Task:
    """Return the task that `documents` are labelled for; `bounds` are the range of numbers.

    Labels are sorted as strings, as scikit-learn does: `10` before `9`.

    Raises `DataError` if nothing can be learned from them: no documents, weights that are all 0,
    a single class, no label anywhere, one and the same number; for a number that is none or
    is out of the bounds, and for lists where one label is expected.
    """
    _check_documents(documents)
    if kind == "number":
        return Task(kind=kind, range=_range(documents, bounds))
    if bounds is not None:
        raise ConfigError(
            f"setting 'classifier.range': found {list(bounds)}, but the labels are names; leave "
            "it out, or give --classifier.task number"
        )
    names = sorted({name for document in documents for name in label_names(document, kind)})
    if len(names) < (2 if kind == "single_label" else 1):
        found = f"the label {names[0]!r}" if names else "no label"
        needed = "two classes or more" if kind == "single_label" else "one label or more"
        raise DataError(
            f"{documents[0].where}: this and all other training documents have {found}; "
            f"give documents of {needed}"
        )
    return Task(kind=kind, labels=tuple(names))


def alike_labels(task: Task) -> str | None:
    """Return a warning of labels that differ in case or white space alone, if there are any."""
    groups: dict[str, list[str]] = {}
    for label in task.labels:
        groups.setdefault(" ".join(label.split()).casefold(), []).append(label)
    alike = [", ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    if not alike:
        return None
    return (
        f"labels that differ in case or white space alone: {'; '.join(alike)}; each is a label of "
        "its own unless they are written alike in the file"
    )


def targets_of(documents: Sequence[Document], task: Task) -> Targets:
    """Return what `task` asks the documents for, a row each.

    Raises `DataError` that names the row of a label that is not among the task's, or is no number.
    """
    if task.kind == "number":
        return np.array([_checked_number(document) for document in documents], dtype=np.float64)
    index = {name: i for i, name in enumerate(task.labels)}
    rows = [
        [_place(name, index, each) for name in label_names(each, task.kind)] for each in documents
    ]
    if task.kind == "single_label":
        return np.array(rows, dtype=np.int64).reshape(-1)
    starts = np.cumsum([0, *map(len, rows)])
    places = np.array([place for row in rows for place in row], dtype=np.int64)
    ones = np.ones(len(places), dtype=np.float32)
    return csr_array((ones, places, starts), shape=(len(rows), len(index)))


def dense(targets: Targets) -> NDArray[Any]:
    """Return targets as an array, [documents] or [documents, labels]."""
    found: NDArray[Any] = targets.toarray() if isinstance(targets, csr_array) else targets
    return found


def label_counts(targets: Targets, labels: int) -> NDArray[np.int64]:
    """Return how many documents have each of the labels, [labels]."""
    if isinstance(targets, csr_array):
        return np.bincount(targets.indices, minlength=labels)
    return np.bincount(targets, minlength=labels)


def strata(documents: Sequence[Document], kind: TaskKind) -> list[str]:
    """Return a name for each document of the group that a split is to keep the share of.

    A class; of several labels the rarest; numbers are all of one group.
    """
    if kind == "number":
        return [""] * len(documents)
    names = [label_names(document, kind) for document in documents]
    counts = Counter(name for several in names for name in several)
    return [min(several, key=lambda name: (counts[name], name), default="") for several in names]


def _check_documents(documents: Sequence[Document]) -> None:
    if not documents:
        raise DataError("no documents to train on; give labelled documents of two classes or more")
    if not any(document.weight for document in documents):
        raise DataError(
            f"{documents[0].where}: this and all other training documents have the weight 0; give "
            "weights above 0, or leave out --reading.weight-column"
        )


def _range(
    documents: Sequence[Document], bounds: tuple[float, float] | None
) -> tuple[float, float]:
    numbers = [_checked_number(document) for document in documents]
    low, high = (min(numbers), max(numbers)) if bounds is None else bounds
    largest = max(abs(low), abs(high))
    if low < high and high - low < LEAST_WIDTH * largest:
        raise DataError(
            f"{documents[0].where}: this and all other training documents have numbers from "
            f"{low!r} to {high!r}, too near to each other for their size; subtract {low!r} from all"
        )
    if bounds is None:
        if low == high:
            raise DataError(
                f"{documents[0].where}: this and all other training documents have the number "
                f"{low:g}; give documents of different ones"
            )
        margin = MARGIN * (high - low)
        if not math.isfinite(low - margin) or not math.isfinite(high + margin):
            raise DataError(
                f"{documents[0].where}: this and all other training documents have numbers from "
                f"{low:g} to {high:g}, too far apart; give smaller ones"
            )
        return low - margin, high + margin
    if bounds[0] >= bounds[1]:
        raise ConfigError(
            f"setting 'classifier.range': found {list(bounds)}; give the lowest number first, "
            "then a higher one"
        )
    for document, number in zip(documents, numbers, strict=True):
        if not bounds[0] <= number <= bounds[1]:
            raise DataError(
                f"{document.where}: {number:g} is out of the range {list(bounds)}; correct it, or "
                "widen --classifier.range"
            )
    return bounds


def label_names(document: Document, kind: TaskKind) -> tuple[str, ...]:
    """Return the names of a document's labels: one, if the task has but one."""
    if document.label is None:
        raise DataError(f"{document.where}: no label; read the documents with their labels")
    if isinstance(document.label, str):
        return (document.label,)
    if kind == "single_label" and len(document.label) != 1:
        raise DataError(
            f"{document.where}: {len(document.label)} labels where one is expected; give one, or "
            "train with --classifier.task multi_label"
        )
    return document.label


def _place(name: str, index: dict[str, int], document: Document) -> int:
    if name not in index:
        nearest = difflib.get_close_matches(name, index, n=1, cutoff=0.0)
        hint = f" (the nearest: {nearest[0]!r})" if nearest else ""
        raise DataError(
            f"{document.where}: label {name!r} is not among the {len(index)} of training"
            f"{hint}; correct it, or give training documents with it"
        )
    return index[name]


def _checked_number(document: Document) -> float:
    number = _number(document.label)
    if number is None:
        raise DataError(
            f"{document.where}: found the label {document.label!r} where a number is expected; "
            "write a number, or train with --classifier.task single_label"
        )
    return number


def _number(label: str | tuple[str, ...] | None) -> float | None:
    try:
        number = float(label) if isinstance(label, str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
