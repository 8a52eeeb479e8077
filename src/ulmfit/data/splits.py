"""Labelled documents into training and validation, and labels into class indices."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np

from ulmfit.config.data import ReadingConfig, ValidationConfig
from ulmfit.data.sources import Document, read_many
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
) -> tuple[list[Document], list[Document]]:
    """Return the training and the validation documents, each in the order they came in.

    With `validation.path` all `documents` train, and the file's are the validation ones. With
    `validation.column` its values decide; `documents` were read with it as the extra column.
    Otherwise `validation.fraction` is drawn by `seed` (not negative), the same share of each
    label to within a document; every label keeps at least one to train on, so one seen once is
    never held out, and fraction 0 holds out nothing.

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
        held_out = _draw(documents, validation.fraction, seed)
    train = [d for d, held in zip(documents, held_out, strict=True) if not held]
    valid = [d for d, held in zip(documents, held_out, strict=True) if held]
    return train, valid


def label_names(documents: Sequence[Document]) -> tuple[str, ...]:
    """Return the distinct labels sorted as strings, as scikit-learn does: `10` before `9`."""
    return tuple(sorted({_label(document) for document in documents}))


def label_ids(documents: Sequence[Document], names: Sequence[str]) -> np.ndarray:
    """Return each document's class index, int64 [documents]: its label's place in `names`.

    Raises `DataError` that names the row of a label not in `names`.
    """
    index = {name: i for i, name in enumerate(names)}
    for document in documents:
        label = _label(document)
        if label not in index:
            nearest = difflib.get_close_matches(label, names, n=1, cutoff=0.0)
            hint = f" (the nearest: {nearest[0]!r})" if nearest else ""
            raise DataError(
                f"{document.where}: label {label!r} is not among the {len(names)} of training"
                f"{hint}; correct it, or give training documents with it"
            )
    return np.array([index[_label(document)] for document in documents], dtype=np.int64)


def check_trainable(
    train: Sequence[Document], valid: Sequence[Document], names: Sequence[str]
) -> None:
    """Check that a classifier for `names` can be trained on `train` and measured on `valid`.

    Raises `DataError` for no documents, for weights that are all 0, for a single class, and for a
    validation label never seen in training.
    """
    if not train:
        raise DataError("no documents to train on; give labelled documents of two classes or more")
    if not any(document.weight for document in train):
        raise DataError(
            f"{train[0].where}: this and all other training documents have the weight 0; give "
            "weights above 0, or leave out --reading.weight-column"
        )
    if len(names) < 2:
        raise DataError(
            f"{train[0].where}: this and all other training documents have the label {names[0]!r}; "
            "give documents of two classes or more"
        )
    label_ids(train, names)
    label_ids(valid, names)


def _label(document: Document) -> str:
    if document.label is None:
        raise DataError(f"{document.where}: no label; read the documents with their labels")
    return document.label


def _is_held_out(document: Document, column: str) -> bool:
    value = (document.extra or "").strip().lower()
    if value not in _VALIDATION | _TRAINING:
        raise DataError(
            f"{document.where}: column {column!r} holds {document.extra!r}; "
            "write 1, true, yes, valid or validation for validation rows, "
            "0, false, no, train or training for the others"
        )
    return value in _VALIDATION


def _draw(documents: Sequence[Document], fraction: float, seed: int) -> list[bool]:
    """Draw which documents are held out, stratified by label."""
    held_out = np.zeros(len(documents), dtype=bool)
    if fraction == 0.0 or not documents:
        return held_out.tolist()
    generator = np.random.default_rng(seed)
    labels = np.array([_label(document) for document in documents], dtype=object)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    for index, held in enumerate(_held_counts(counts, fraction, generator)):
        members = np.flatnonzero(classes == index)
        held_out[generator.permutation(members)[:held]] = True
    return held_out.tolist()


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
