"""Documents and labels from files, folders, lists and data frames."""

from __future__ import annotations

import glob
import json
import math
import os
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from ulmfit.config.data import ReadingConfig
from ulmfit.data.formats import Columns, Row, read_rows
from ulmfit.data.hub import hub_files, is_on_hub
from ulmfit.errors import ConfigError, DataError
from ulmfit.text.types import Text, text_of_columns
from ulmfit.text.unicode import UnicodeCheck

_WITHOUT_VALUE = "fill it in, or leave the row out"
_WITHOUT_LABEL = (
    "fill it in, leave the row out or, to learn from its text alone, give "
    "--reading.missing-label unlabelled"
)
"""What to do about a cell that is empty."""

LARGEST_WEIGHT = 1e100
"""Of a document, so that the sum of all stays finite."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text with its label, and where it stands, for messages."""

    text: Text
    label: str | tuple[str, ...] | None
    """One label, or those of a document that may have several."""

    where: str
    """Where it stands: its file and row, or, in a folder, its file."""

    extra: str | None = None
    """Value of the extra column asked for."""

    weight: float = 1.0
    """What it counts in training."""

    kept: tuple[object, ...] = ()
    """Values of the columns to be handed on: strings, numbers, truth values, or None."""

    @property
    def row(self) -> int | str:
        """Its number in its file, from 1; in a folder, its file."""
        found = re.search(r", row (\d+)$", self.where)
        return self.where if found is None else int(found[1])


def read_documents(
    source: Any,
    reading: ReadingConfig,
    *,
    labelled: bool,
    unicode: UnicodeCheck | None = None,
    extra_column: str | None = None,
    weighted: bool = False,
    kept_columns: tuple[str, ...] = (),
) -> Iterator[Document]:
    """Yield the documents of `source` in order; files are read in constant memory.

    `source`: the path of a file (csv, tsv, jsonl, parquet, plain text with a document a line,
    each also `.gz`) or of a folder with a sub-folder a class; an iterable of texts, a text
    being a string or a tuple of strings; a tuple `(texts, labels)`; a pandas data frame.
    Several text columns make a tuple; the empty string is a document like any other.

    Labels are strings: kept as they are; numbers without a fraction as integers (1 and 1.0 are
    `1`); truth values as `True` and `False`, as Python and pandas write them. A list of labels,
    a cell cut at `reading.label_separator`, or the cells of `reading.label_columns` make a tuple,
    sorted; it may be empty.

    `weighted`: with the weights of the column that `reading` names, if it names one.

    `labelled`: only the rows that have a label, where `reading.missing_label` says that there are
    others; `read_without_label` yields those.

    `where` names the file and the row, counted from 1 without the header.

    Raises `DataError` when the documents are asked for, not when this is called: at the first
    one for what is wrong with the whole, at its row for what is wrong there.
    """
    unicode = unicode or UnicodeCheck(reading.strict)
    columns = Columns(
        texts=reading.text_columns,
        label=reading.label_column if labelled and reading.label_columns is None else None,
        labels=(reading.label_columns or ()) if labelled else (),
        extra=extra_column,
        weight=reading.weight_column if weighted else None,
        kept=kept_columns,
    )
    rows = _rows(source, columns, reading)
    if labelled and _may_miss_labels(reading):
        rows = _with_label(rows)
    for where, texts, label, extra, weight, kept in rows:
        yield Document(
            text=_as_document(texts, where, unicode),
            label=_cleaned(_as_label(label, reading, where), where, unicode) if labelled else None,
            where=where,
            extra=_as_name(extra, f"value of {extra_column!r}", where) if extra_column else None,
            weight=1.0 if columns.weight is None else as_weight(weight, where),
            kept=tuple(_as_kept(value, where, unicode) for value in kept),
        )


def read_without_label(
    source: Any, reading: ReadingConfig, unicode: UnicodeCheck | None = None
) -> Iterator[Document]:
    """Yield the documents whose label is missing, if `reading.missing_label` allows for them."""
    if not _may_miss_labels(reading):
        return
    unicode = unicode or UnicodeCheck(reading.strict)
    columns = Columns(reading.text_columns, reading.label_column)
    for row in _rows(source, columns, reading):
        if is_empty(row.label):
            yield Document(_as_document(row.texts, row.where, unicode), None, row.where)


def read_many(
    paths: Iterable[str | os.PathLike[str]],
    reading: ReadingConfig,
    *,
    labelled: bool,
    unicode: UnicodeCheck | None = None,
    extra_column: str | None = None,
) -> Iterator[Document]:
    """Yield the documents of several files, one file after the other; see `read_documents`.

    Patterns such as `data/*.csv` are expanded.
    """
    unicode = unicode or UnicodeCheck(reading.strict)
    for path in expand(paths):
        yield from read_documents(
            path, reading, labelled=labelled, unicode=unicode, extra_column=extra_column
        )


def expand(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the paths with patterns (`*`, `?`, `[...]`, `**`) replaced by what they match, sorted.

    Files of data sets on the hub (`hf://datasets/...`) are replaced by their local copies.

    Raises `DataError` if a pattern matches nothing, or the hub does not have a file.
    """
    found: list[Path] = []
    for path in [os.fspath(path) for path in paths]:
        if is_on_hub(path):
            found.extend(hub_files(path))
        elif os.path.exists(path) or not glob.has_magic(path):
            found.append(Path(path))
        elif matches := sorted(glob.glob(path, recursive=True)):
            found.extend(map(Path, matches))
        else:
            raise DataError(f"{path}: no file matches the pattern; check the path")
    return found


def _rows(source: Any, columns: Columns, reading: ReadingConfig) -> Iterator[Row]:
    if isinstance(source, str | os.PathLike):
        files = expand([source]) if is_on_hub(os.fspath(source)) else [Path(source)]
        rows = chain.from_iterable(read_rows(file, columns, reading) for file in files)
        return rows if reading.document_start is None else _joined(rows, columns, reading)
    if hasattr(source, "columns") and hasattr(source, "itertuples"):
        return _frame_rows(source, columns)
    asked = (*columns.labels, columns.extra, columns.weight, *columns.kept)
    if name := next(filter(None, asked), None):
        raise DataError(f"texts: lists have no column {name!r}; give a file or a data frame")
    if isinstance(source, tuple) and len(source) == 2 and not isinstance(source[0], str):
        return _pair_rows(*source)
    if not isinstance(source, Iterable) or isinstance(source, bytes | Mapping):
        raise DataError(
            f"found {type(source).__name__} where documents were expected; give a path, "
            "a list of texts, a pair (texts, labels) or a data frame"
        )
    if columns.label is not None:
        raise DataError("texts: a list without labels; give a pair (texts, labels)")
    return _list_rows(source)


def _with_label(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows that have a label, one at least."""
    some, row = False, None
    for row in rows:
        if not is_empty(row.label):
            some = True
            yield row
    if row is not None and not some:
        raise DataError(f"{row.where}: this and all other rows have no label; give some that have")


def _joined(rows: Iterator[Row], columns: Columns, reading: ReadingConfig) -> Iterator[Row]:
    """Join each row that begins a document and those that follow it, one below the other."""
    if len(columns.names) > 1:
        raise ConfigError(
            "setting 'reading.document_start': joins rows of a single text column, without labels; "
            f"found the columns {', '.join(columns.names)}"
        )
    try:
        begins = re.compile(reading.document_start or "").match
    except re.error as error:
        raise ConfigError(
            f"setting 'reading.document_start': {reading.document_start!r} is not a regular "
            f"expression: {error}"
        ) from None
    where = ""
    lines: list[str] = []
    for row in rows:
        line = _as_text(row.texts[0], row.where)
        if lines and begins(line):
            yield Row(where, ("\n".join(lines),))
            lines = []
        where = where if lines else row.where
        lines.append(line.removesuffix("\n"))
    yield Row(where, ("\n".join(lines),))


def _frame_rows(frame: Any, columns: Columns) -> Iterator[Row]:
    columns.check(list(frame.columns), "data frame")
    cells = zip(*(frame[name] for name in columns.names), strict=True)
    for row, values in enumerate(cells, 1):
        yield columns.row(f"data frame, row {row}", values)


def _pair_rows(texts: Iterable[Any], labels: Iterable[Any]) -> Iterator[Row]:
    remaining = iter(labels)
    row = 0
    for row, found in enumerate(_list_rows(texts), 1):
        try:
            yield found._replace(label=next(remaining))
        except StopIteration:
            raise DataError(
                f"{found.where}: no label, there are only {row - 1}; give one for each text"
            ) from None
    if surplus := sum(1 for _ in remaining):
        raise DataError(
            f"texts: {row} texts but {row + surplus} labels; give one label for each text"
        )


def _list_rows(texts: Iterable[Any]) -> Iterator[Row]:
    fields = None
    for row, text in enumerate(texts, 1):
        where = f"texts, row {row}"
        several = isinstance(text, tuple | list)
        found = len(text) if several else None
        if found == 0:
            raise DataError(f"{where}: an empty tuple; give at least one text")
        if row > 1 and found != fields:
            raise DataError(
                f"{where}: found {_described(found)}, but row 1 is {_described(fields)}; "
                "give each document the same number of texts"
            )
        fields = found
        yield Row(where, tuple(text) if several else (text,))


def _described(fields: int | None) -> str:
    return "a single value" if fields is None else f"a tuple of {fields}"


def _may_miss_labels(reading: ReadingConfig) -> bool:
    if reading.missing_label is None:
        return False
    if reading.label_columns is not None or reading.label_separator is not None:
        raise ConfigError(
            "setting 'reading.missing_label': found with 'label_columns' or 'label_separator', "
            "where an empty cell is a document with no label; leave one of them out"
        )
    return True


def _as_document(texts: Iterable[object], where: str, unicode: UnicodeCheck) -> Text:
    return text_of_columns(unicode.clean(_as_text(text, where), where) for text in texts)


def _as_text(value: object, where: str) -> str:
    if isinstance(value, str):
        return str(value)  # numpy's strings too
    if is_missing(value):
        raise DataError(
            f"{where}: the text is missing (NaN or null); leave the row out, "
            "or put an empty string for an empty document"
        )
    raise DataError(
        f"{where}: found {reprlib.repr(value)} of type {type(value).__name__} as text; "
        "make it a string"
    )


def _as_label(value: object, reading: ReadingConfig, where: str) -> str | tuple[str, ...]:
    """Return the label, or the labels of a document that may have several."""
    if reading.label_columns is not None and isinstance(value, Mapping):
        return tuple(sorted(name for name, cell in value.items() if _is_true(cell, name, where)))
    if isinstance(value, list | tuple | set | np.ndarray):
        return tuple(sorted({_as_name(each, "label", where) for each in value}))
    separator = reading.label_separator
    if separator is None:
        return _as_name(value, "label", where, _WITHOUT_LABEL)
    parts = [] if is_empty(value) else _as_name(value, "label", where).split(separator)
    return tuple(sorted({part.strip() for part in parts if part.strip()}))


def _cleaned(
    label: str | tuple[str, ...], where: str, unicode: UnicodeCheck
) -> str | tuple[str, ...]:
    if isinstance(label, str):
        return unicode.clean(label, where)
    return tuple(sorted({unicode.clean(each, where) for each in label}))


def _is_true(value: object, name: str, where: str) -> bool:
    """Tell whether the cell of the label `name` says that it is there."""
    written = _as_name(value, f"value of {name!r}", where).strip().lower()
    if written not in ("0", "1", "false", "true"):
        raise DataError(
            f"{where}: column {name!r} holds {reprlib.repr(value)}; write 1 where the label is "
            "there and 0 where it is not"
        )
    return written in ("1", "true")


def _as_name(value: object, what: str, where: str, remedy: str = _WITHOUT_VALUE) -> str:
    """Return a label or another value that names something as a string."""
    if is_empty(value):
        raise DataError(f"{where}: the {what} is missing (empty, NaN or null); {remedy}")
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, Real | Decimal) and _is_finite(value):
        whole = math.floor(value)
        return str(whole if value == whole else value)
    raise DataError(
        f"{where}: found {reprlib.repr(value)} of type {type(value).__name__} as {what}; "
        "make it a string or a number"
    )


def _is_finite(value: Real | Decimal) -> bool:
    return isinstance(value, int) or math.isfinite(value)  # an integer may be too large to ask


def as_weight(value: object, where: str) -> float:
    """Return a document's weight; raises `DataError` unless it is a number from 0 to 1e100."""
    try:
        weight = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        weight = math.nan
    if not 0 <= weight <= LARGEST_WEIGHT:
        raise DataError(
            f"{where}: found {reprlib.repr(value)} as weight; make it a number from 0 to "
            f"{LARGEST_WEIGHT:g}"
        )
    return weight


def _as_kept(value: object, where: str, unicode: UnicodeCheck) -> object:
    """Return a value that CSV and JSON can hold."""
    if is_missing(value):
        return None
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | dict):
        return unicode.clean(json.dumps(value, ensure_ascii=False), where)
    return unicode.clean(str(value), where)


def is_empty(value: object) -> bool:
    """Tell whether a cell holds nothing: a missing value, or blanks alone."""
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def is_missing(value: object) -> bool:
    """Tell None, NaN of any library, and pandas' NA and NaT, without importing pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, Real | Decimal) and value != value
