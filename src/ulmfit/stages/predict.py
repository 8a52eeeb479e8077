"""Decisions and probabilities of a stream of documents, in order and in constant memory."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import Task
from ulmfit.config.data import ReadingConfig
from ulmfit.config.questions import PredictConfig
from ulmfit.data.answers import decisions
from ulmfit.data.files import checked, codec_of, faults
from ulmfit.data.sources import Document, read_documents
from ulmfit.errors import ConfigError, DataError
from ulmfit.models.classifier import Classifier
from ulmfit.models.loading import load_classifier
from ulmfit.stages.output_file import check_not_read, whole_file
from ulmfit.stages.warning import warn_of, warn_of_columns
from ulmfit.text.types import Text
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training.allocator import keep_freed_memory

STANDARD = "-"
"""Standard input or output."""

SEPARATOR = "|"
"""Stands between several labels in a cell; `--reading.label-separator` reads them back."""

DECIDED = {"single_label": "label", "multi_label": "labels", "number": "number"}
"""What the decision on a document is called, by kind of task."""

Names = tuple[object, ...]
"""The row of a document, and the values of the columns that are kept."""

Block = tuple[list[Names], list[Any], NDArray[np.float32]]
"""Names of some documents, what is decided of them, and the answers [documents, outputs]."""


def predict(config: PredictConfig, *, quiet: bool = False) -> None:
    """Write the decision on each document of `config.data` and its probabilities, in its order.

    In front stand its row and the columns kept. A row is a document's number in the file, from 1,
    or its file in a folder; from standard input every line is a document, empty ones too. A file is
    written whole or not at all; standard output as it comes, some thousand documents at a time, or
    one at a time from a terminal.

    Raises `UlmfitError` for a wrong setting, a bad document, a damaged model, or an output that
    cannot be written.
    """
    keep_freed_memory()
    write = WRITERS[_format(config)]
    unicode = UnicodeCheck(config.reading.strict)
    documents = _documents(config, unicode)
    if config.output != STANDARD:
        check_not_read(Path(config.output), config.data)
    with _opened(config.output) as stream:
        model = load_classifier(config.model, device=config.device, precision=config.precision)
        warn_of_columns(model, len(config.reading.text_columns), quiet)
        if config.abstain_below and model.task.kind != "single_label":
            raise ConfigError(
                f"setting 'abstain_below': found {config.abstain_below:g}, but {config.model} does "
                "not give one label a document; leave it out"
            )
        singly = config.data == STANDARD and sys.stdin is not None and sys.stdin.isatty()
        answers = (_one_by_one if singly else _in_blocks)(model, documents, config.token_budget)
        decide = partial(decisions, model.task, abstain_below=config.abstain_below)
        _check_kept(config.keep, model.task)
        named = ("row", *config.keep)
        write(stream, model.task, named, ((names, decide(p), p) for names, p in answers))
    warn_of(unicode, quiet)


def _in_blocks(
    model: Classifier, documents: Iterable[Document], token_budget: int
) -> Iterator[tuple[list[Names], NDArray[np.float32]]]:
    waiting: deque[Names] = deque()

    def texts() -> Iterator[Text]:
        for document in documents:
            waiting.append(_names(document))
            yield document.text

    for probabilities in model.predict_blocks(texts(), token_budget=token_budget):
        yield [waiting.popleft() for _ in probabilities], probabilities


def _one_by_one(
    model: Classifier, documents: Iterable[Document], token_budget: int
) -> Iterator[tuple[list[Names], NDArray[np.float32]]]:
    for document in documents:
        yield [_names(document)], model.predict_proba([document.text], token_budget=token_budget)


# Reading


def _documents(config: PredictConfig, unicode: UnicodeCheck) -> Iterator[Document]:
    if config.data == STANDARD:
        if config.keep:
            raise ConfigError(
                f"setting 'keep': found {', '.join(config.keep)}, but standard input has no "
                "columns; give a file with --data"
            )
        return _standard_input(config.reading, unicode, _codec_of_standard_input(config.reading))
    return read_documents(
        config.data, config.reading, labelled=False, unicode=unicode, kept_columns=config.keep
    )


def _standard_input(
    reading: ReadingConfig, unicode: UnicodeCheck, codec: str
) -> Iterator[Document]:
    """Yield every line as a document."""
    if sys.stdin is None:
        raise DataError("standard input: closed; give text, or a file with --data")
    stream = io.TextIOWrapper(sys.stdin.buffer, codec, errors="surrogateescape", newline="\n")
    try:
        with faults("standard input", reading.encoding):
            for number, line in enumerate(stream, 1):
                where = f"standard input, row {number}"
                text = checked(line.removesuffix("\n").removesuffix("\r"), where, reading.encoding)
                yield Document(text=unicode.clean(text, where), label=None, where=where)
    finally:
        stream.detach()  # or standard input would be closed with it


def _codec_of_standard_input(reading: ReadingConfig) -> str:
    """Return the codec; refuse what standard input is not, before anything is written."""
    if reading.format not in ("auto", "text"):
        raise ConfigError(
            f"setting 'reading.format': found '{reading.format}', but standard input is text, "
            "a document a line; give a file with --data"
        )
    if len(reading.text_columns) > 1 or reading.document_start is not None:
        name = "document_start" if reading.document_start is not None else "text_columns"
        raise ConfigError(
            f"setting 'reading.{name}': found with standard input, of which every line is a "
            "document; give a file with --data"
        )
    return codec_of(reading.encoding)


def _names(document: Document) -> Names:
    return (document.row, *document.kept)


# Writing


def _check_kept(keep: Sequence[str], task: Task) -> None:
    """Refuse to keep a column that has the name of one that is written."""
    written = ["row", DECIDED[task.kind], "probabilities", *(f"p_{label}" for label in task.labels)]
    for name in keep:
        if name in written or keep.count(name) > 1:
            raise ConfigError(
                f"setting 'keep': the predictions have a column '{name}' already; rename it in the "
                "file, or leave it out"
            )


def _format(config: PredictConfig) -> str:
    if config.format != "auto":
        return config.format
    if config.output == STANDARD:
        return "csv"
    suffix = Path(config.output).suffix.lower().removeprefix(".")
    if suffix not in WRITERS:
        raise ConfigError(
            f"setting 'output': found '{config.output}'; let its name end in .csv or .jsonl, "
            "or give --format"
        )
    return suffix


def _opened(output: str) -> AbstractContextManager[TextIO]:
    if output != STANDARD:
        return whole_file(Path(output))
    if sys.stdout is None:
        raise DataError("standard output: closed; give a file with --output")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    return nullcontext(sys.stdout)


def _write_csv(stream: TextIO, task: Task, named: Sequence[str], blocks: Iterable[Block]) -> None:
    cut = [label for label in task.labels if SEPARATOR in label]
    if cut and task.kind == "multi_label":
        raise ConfigError(
            f"setting 'format': the label {cut[0]!r} holds the '{SEPARATOR}' that stands between "
            "labels in CSV; give --format jsonl"
        )
    rows = csv.writer(_Lines(stream), lineterminator=_Lines.END)
    rows.writerow([*named, DECIDED[task.kind], *(f"p_{label}" for label in task.labels)])
    for block in blocks:
        for names, decided, p in zip(*block, strict=True):
            if task.kind == "number":
                rows.writerow([*names, _shown(p[0])])
            else:
                cell = SEPARATOR.join(decided) if isinstance(decided, tuple) else decided
                rows.writerow([*names, cell, *map(_shown, p)])
        stream.flush()


class _Lines:
    """Where the lines of a CSV go: before 3.13, Python quotes a return only if lines end in one."""

    END = "\r\n"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line.removesuffix(self.END) + "\n")


def _write_jsonl(stream: TextIO, task: Task, named: Sequence[str], blocks: Iterable[Block]) -> None:
    for block in blocks:
        for names, decided, p in zip(*block, strict=True):
            shown = [float(_shown(each)) for each in p]
            record: dict[str, Any] = dict(zip(named, names, strict=True))
            record[DECIDED[task.kind]] = shown[0] if task.kind == "number" else decided
            if task.labels:
                record["probabilities"] = dict(zip(task.labels, shown, strict=True))
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        stream.flush()


def _shown(probability: np.float32) -> str:
    return f"{probability:.7g}"


WRITERS: dict[str, Callable[[TextIO, Task, Sequence[str], Iterable[Block]], None]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
}
