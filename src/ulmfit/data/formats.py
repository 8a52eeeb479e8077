"""From a file of any format to rows: the cells of the columns asked for, and where they stand.

Rows are numbered from 1, the header not counted; in plain text and JSON lines a row is a line,
empty ones counted. Every format is read in constant memory.
"""

from __future__ import annotations

import csv
import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from glob import has_magic
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ulmfit.config.data import ReadingConfig
from ulmfit.data.files import checked, open_binary, open_text
from ulmfit.errors import DataError
from ulmfit.text.unicode import replace_surrogates

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_NOTE_FOR_EXCEL = re.compile(r'"?sep=([^"\r\n])"?\r?\n')  # a first line: where cells end
_LARGEST_FIELD = 2**31 - 1  # characters; what a C long holds everywhere
_PARQUET_ROWS = 256  # rows decoded at a time


class Row(NamedTuple):
    """One document's cells as they were found, of any type."""

    where: str
    texts: tuple[object, ...]
    label: object = None
    """The cell of the label column; of a column for each label, a dictionary of their cells."""

    extra: object = None
    weight: object = None
    kept: tuple[object, ...] = ()


@dataclass(frozen=True)
class Columns:
    """The columns asked for."""

    texts: tuple[str, ...]
    label: str | None = None
    labels: tuple[str, ...] = ()
    """In place of one column of labels, a column of 0 and 1 for each of them."""

    extra: str | None = None
    weight: str | None = None
    kept: tuple[str, ...] = ()
    """What is handed on as it stands."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the texts, then what else is asked for, in the order of the fields."""
        label = () if self.label is None else (self.label,)
        others = (name for name in (self.extra, self.weight) if name is not None)
        return (*self.texts, *label, *self.labels, *others, *self.kept)

    def row(self, where: str, cells: Sequence[object]) -> Row:
        """Return `cells`, which are in the order of `names`, as a row."""
        rest = iter(cells[len(self.texts) :])
        label = None if self.label is None else next(rest)
        if self.labels:
            label = {name: next(rest) for name in self.labels}
        extra = next(rest) if self.extra is not None else None
        weight = next(rest) if self.weight is not None else None
        return Row(where, tuple(cells[: len(self.texts)]), label, extra, weight, tuple(rest))

    def check(self, found: Sequence[Any], where: str) -> None:
        """Raise `DataError` unless each column is among those `found`, once."""
        for name in self.names:
            if name not in found:
                nearest = difflib.get_close_matches(name, map(str, found), n=1)
                hint = f"; the nearest is {nearest[0]!r}" if nearest else ""
                raise DataError(
                    f"{where}: no column {name!r}; found {_listed(found)}{hint}: "
                    f"name it with {self._setting(name)}"
                )
            if found.count(name) > 1:
                raise DataError(f"{where}: column {name!r} occurs twice; rename one of them")

    def _setting(self, name: str) -> str:
        if name in self.texts:
            return "--reading.text-columns"
        if name == self.weight:
            return "--reading.weight-column"
        if name in self.kept:
            return "--keep"
        if name in self.labels:
            return "--reading.label-columns"
        return "--reading.label-column" if name == self.label else "--validation.column"


def read_rows(path: Path, columns: Columns, reading: ReadingConfig) -> Iterator[Row]:
    """Yield the rows of the file or folder at `path`, in order.

    Raises `DataError` that names the file, the row and the remedy for anything that is not as
    it should be; a file without a single row is an error.
    """
    row = None
    for row in _READERS[file_format(path, reading)](path, columns, reading):
        yield row
    if row is None:
        raise DataError(f"{path}: holds no documents; check that it was written completely")


def file_format(path: Path, reading: ReadingConfig) -> str:
    """Return the format of `path`: the setting, or what its name says, `.gz` stripped first.

    Raises `DataError` if there is nothing at `path`, a folder where a file was expected or the
    other way round, or a name that does not tell.
    """
    if not os.path.exists(path):  # of a name too long, too
        remedy = "give one file, not a pattern" if has_magic(str(path)) else "check the path"
        raise DataError(f"{path}: no such file; {remedy}")
    if path.is_dir():
        if reading.format not in ("auto", "folder"):
            raise DataError(f"{path}: a folder, not a {reading.format} file; give a file in it")
        return "folder"
    if reading.format != "auto":
        return reading.format
    suffix = (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix
    if suffix.lower() in _SPREADSHEETS:
        raise DataError(f"{path}: a spreadsheet; save its sheet as CSV (UTF-8), and give that")
    if suffix.lower() not in _SUFFIXES:
        raise DataError(
            f"{path}: the name does not tell the format; give --reading.format "
            "csv, tsv, jsonl, parquet or text"
        )
    return _SUFFIXES[suffix.lower()]


def _csv_rows(
    path: Path, columns: Columns, reading: ReadingConfig, usual: str = ","
) -> Iterator[Row]:
    encoding = reading.encoding
    csv.field_size_limit(_LARGEST_FIELD)
    with open_text(path, encoding, newline="") as stream:
        first = stream.readline()
        note = _NOTE_FOR_EXCEL.fullmatch(first)
        delimiter = reading.delimiter or (note[1] if note else usual)
        table = chain(["\n" if note else first], stream)  # line numbers stay right
        lines = csv.reader(
            table,
            delimiter=delimiter,
            quoting=csv.QUOTE_NONE if reading.quotes == "text" else csv.QUOTE_MINIMAL,
            strict=True,
        )
        doubted = delimiter == "\t" and reading.quotes is None
        row = 0
        try:
            names = next(filter(None, lines), [])  # empty lines in front are passed over
            header = [checked(name, f"{path}, header", encoding) for name in names]
            _check_delimiter(path, header, columns)
            columns.check(header, str(path))
            places = [header.index(name) for name in columns.names]
            for cells in lines:
                if not cells:  # an empty line; a row of one empty cell is written as ""
                    continue
                row += 1
                where = f"{path}, row {row}"
                cells = [checked(cell, where, encoding) for cell in cells]
                if doubted and any("\t" in cell and "\n" in cell for cell in cells):
                    raise DataError(
                        f"{where} (line {lines.line_num}): between quotes stand a tab and a line "
                        "break; if quotes are text, and these rows, give --reading.quotes text; "
                        "if they are a cell, --reading.quotes double"
                    )
                if len(cells) != len(header):
                    held = _DELIMITERS.get(delimiter, delimiter)
                    if len(cells) < len(header):
                        held = "line break, or fill the row up"
                    raise DataError(
                        f"{where} (line {lines.line_num}): {len(cells)} fields where the header "
                        f"has {len(header)}; quote a field that holds a {held}"
                    )
                yield columns.row(where, [cells[place] for place in places])
        except csv.Error as error:
            raise DataError(
                f"{path}, row {row + 1} (line {lines.line_num}): {error}; "
                "quote such a field and write a quote inside it as two or, where quotes are text, "
                "give --reading.quotes text"
            ) from None
    if row == 0:
        raise DataError(f"{path}: a header but no rows; check that it was written completely")


def _check_delimiter(path: Path, header: Sequence[str], columns: Columns) -> None:
    """Raise `DataError` if the header is one cell that another delimiter would cut."""
    asked = set(columns.names)
    if len(header) != 1 or asked <= set(header):
        return
    cuts = [(other, called) for other, called in _DELIMITERS.items() if other in header[0]]
    cuts.sort(key=lambda cut: not asked <= set(header[0].split(cut[0])))
    if cuts:
        other, called = cuts[0]
        shown = "$'\\t'" if other == "\t" else f"'{other}'"
        raise DataError(
            f"{path}: there is one column, {header[0]!r}; if its cells end at {called}s, "
            f"give --reading.delimiter {shown}"
        )


def _tsv_rows(path: Path, columns: Columns, reading: ReadingConfig) -> Iterator[Row]:
    return _csv_rows(path, columns, reading, usual="\t")


def _jsonl_rows(path: Path, columns: Columns, reading: ReadingConfig) -> Iterator[Row]:
    for where, line in _lines(path, reading.encoding):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON ({error}); write one object on each line") from None
        if not isinstance(record, dict):
            raise DataError(
                f"{where}: found JSON of type {type(record).__name__}, not an object; "
                "write one object on each line"
            )
        if reading.missing_label is not None and columns.label is not None:
            record.setdefault(columns.label, None)  # what is not there is missing, too
        columns.check(list(record), where)
        yield columns.row(where, [record[name] for name in columns.names])


def _text_rows(path: Path, columns: Columns, reading: ReadingConfig) -> Iterator[Row]:
    if len(columns.names) > 1:
        raise DataError(
            f"{path}: plain text has no columns, but {_listed(columns.names)} are asked for; "
            "give a .csv, .tsv, .jsonl or .parquet file"
        )
    for where, line in _lines(path, reading.encoding):
        yield Row(where, (line,))


def _lines(path: Path, encoding: str) -> Iterator[tuple[str, str]]:
    """Yield where each line stands and the line without its end; blank ones are skipped."""
    with open_text(path, encoding, newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                where = f"{path}, row {number}"
                line = line.removesuffix("\n").removesuffix("\r")
                yield where, checked(line, where, encoding)


def _parquet_rows(path: Path, columns: Columns, reading: ReadingConfig) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    row = 0
    with open_binary(path) as stream:
        try:
            table = ParquetFile(stream)
            columns.check(table.schema_arrow.names, str(path))
            wanted = list(dict.fromkeys(columns.names))
            for batch in table.iter_batches(batch_size=_PARQUET_ROWS, columns=wanted):
                cells = {name: _parquet_cells(batch[name], path, row) for name in wanted}
                for values in zip(*(cells[name] for name in columns.names), strict=True):
                    row += 1
                    yield columns.row(f"{path}, row {row}", values)
        except (pa.ArrowException, OSError):
            raise DataError(
                f"{path}: cannot be read as Parquet; it is of another format (give "
                "--reading.format) or damaged (write it anew)"
            ) from None


def _parquet_cells(array: Sequence[object], path: Path, before: int) -> list[object]:
    """Return the values of `array`, which come after `before` rows."""
    try:
        return array.to_pylist()  # type: ignore[attr-defined, no-any-return]
    except UnicodeDecodeError:
        for row, value in enumerate(array, before + 1):
            try:
                value.as_py()  # type: ignore[attr-defined]
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, row {row}: byte 0x{error.object[error.start]:02x} is not UTF-8, "
                    "as Parquet asks for; write the file anew"
                ) from None
        raise


def _folder_rows(path: Path, columns: Columns, reading: ReadingConfig) -> Iterator[Row]:
    """Each sub-folder is a class, each file in it, sorted by name, a document.

    Files beside the sub-folders and names that begin with a dot are left out.
    """
    if not path.is_dir():
        raise DataError(f"{path}: a file, not a folder; leave out --reading.format folder")
    if len(columns.names) - (columns.label is not None) > 1:
        raise DataError(
            f"{path}: a folder has no columns, but {_listed(columns.names)} are asked for; "
            "give a .csv, .tsv, .jsonl or .parquet file"
        )
    classes = visible(path, Path.is_dir)
    if not classes:
        raise DataError(
            f"{path}: a folder without sub-folders; give a file, or a folder with a sub-folder for "
            "each class; where several files may be given, a pattern such as 'folder/*.csv' too"
        )
    for label in classes:
        documents, folders = visible(label, Path.is_file), visible(label, Path.is_dir)
        if not documents or folders:
            found = f"the folder '{folders[0].name}'" if folders else "nothing"
            raise DataError(
                f"{label}: found {found}; the folder of a class must hold documents, a file each"
            )
        for document in documents:
            yield Row(
                replace_surrogates(str(document)),
                (_whole_text(document, reading.encoding),),
                label.name,
            )


def visible(folder: Path, kind: Callable[[Path], bool]) -> list[Path]:
    """Return what a folder holds of a kind, sorted; links are followed, hidden names left out."""
    return sorted(p for p in folder.iterdir() if kind(p) and not p.name.startswith("."))


def _whole_text(path: Path, encoding: str) -> str:
    if path.stat().st_size == 0:
        return ""  # an empty document, not an empty table
    with open_text(path, encoding, newline="") as stream:
        return checked(stream.read(), str(path), encoding)


def _listed(names: Sequence[Any], most: int = 12) -> str:
    shown = ", ".join(repr(name) for name in names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


_READERS: dict[str, Callable[[Path, Columns, ReadingConfig], Iterator[Row]]] = {
    "csv": _csv_rows,
    "tsv": _tsv_rows,
    "jsonl": _jsonl_rows,
    "parquet": _parquet_rows,
    "text": _text_rows,
    "folder": _folder_rows,
}
