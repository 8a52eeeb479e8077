"""Labelled documents into training and validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ulmfit.config.artefact import TaskKind
from ulmfit.config.data import ReadingConfig, ValidationConfig
from ulmfit.data.sources import Document, read_many
from ulmfit.data.targets import strata
from ulmfit.errors import ConfigError, DataError
from ulmfit.text.unicode import UnicodeCheck

_VALIDATION = {"1", "true", "yes", "valid", "validation"}
_TRAINING = {"0", "false", "no", "train", "training"}


def split_labelled(
    documents: Sequence[Document],
    validation: ValidationConfig,
    reading: ReadingConfig,
    seed: int,
    unicode: UnicodeCheck | None = None,
    kind: TaskKind = "single_label",
) -> tuple[list[Document], list[Document]]:
    """Return the training and the validation documents, each in the order they came in.

    With `validation.path` all `documents` train, and the file's are the validation ones. With
    `validation.column` its values decide; `documents` were read with it as the extra column.
    Otherwise `validation.fraction` is drawn by `seed` (not negative), the same share of each
    label to within a document (of several labels, the document's rarest); every label keeps at
    least one to train on, so one seen once is never held out, and fraction 0 holds out nothing.

    Raises `ConfigError` if both a path and a column are given, `DataError` if the file is not
    readable or a value of the column is not understood.
    """
    if validation.path is not None and validation.column is not None:
        raise ConfigError(
            "settings 'validation.path' and 'validation.column' exclude each other; give one"
        )
    if validation.path is not None:
        held = read_many([validation.path], reading, labelled=True, unicode=unicode)
        return list(documents), list(held)
    if validation.column is not None:
        held_out = [_is_held_out(document, validation.column) for document in documents]
    else:
        held_out = _draw(strata(documents, kind), validation.fraction, seed)
        _keep_every_label(documents, held_out)
    train = [d for d, held in zip(documents, held_out, strict=True) if not held]
    valid = [d for d, held in zip(documents, held_out, strict=True) if held]
    return train, valid


def _is_held_out(document: Document, column: str) -> bool:
    value = (document.extra or "").strip().lower()
    if value not in _VALIDATION | _TRAINING:
        raise DataError(
            f"{document.where}: column {column!r} holds {document.extra!r}; "
            "write 1, true, yes, valid or validation for validation rows, "
            "0, false, no, train or training for the others"
        )
    return value in _VALIDATION


def _draw(groups: Sequence[str], fraction: float, seed: int) -> list[bool]:
    """Draw which documents are held out, of each group the same share."""
    held_out = np.zeros(len(groups), dtype=bool)
    if fraction == 0.0 or not len(groups):
        return held_out.tolist()
    generator = np.random.default_rng(seed)
    _, classes, counts = np.unique(
        np.array(groups, dtype=object), return_inverse=True, return_counts=True
    )
    for index, held in enumerate(_held_counts(counts, fraction, generator)):
        members = np.flatnonzero(classes == index)
        held_out[generator.permutation(members)[:held]] = True
    return held_out.tolist()


def _keep_every_label(documents: Sequence[Document], held_out: list[bool]) -> None:
    """Give back to training a document of each label that it has none of.

    Of one label a document there is none such: its group keeps one.
    """
    several = [d.label if isinstance(d.label, tuple) else () for d in documents]
    kept = {
        name for names, held in zip(several, held_out, strict=True) if not held for name in names
    }
    for place, names in enumerate(several):
        if held_out[place] and not kept.issuperset(names):
            held_out[place] = False
            kept.update(names)


def _held_counts(counts: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """How many of each label's `counts` documents are held out, by largest remainder.

    Together the fraction of all labels seen twice or more, at least one document; ties between
    remainders are drawn.
    """
    exact = np.where(counts > 1, counts * fraction, 0.0)
    held = np.floor(exact).astype(np.int64)
    missing = max(round(exact.sum()), 1) - held.sum()
    order = np.lexsort((generator.random(len(counts)), held - exact))
    held[order[:missing]] += 1
    limited: np.ndarray = np.minimum(held, counts - 1)
    return limited
