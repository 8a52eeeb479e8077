"""Text without labels: files of its own, and rows of the labelled data whose label is empty."""

from __future__ import annotations

from collections.abc import Iterator

from ulmfit.config.stages import TrainConfig
from ulmfit.data.sources import Document, read_many, read_without_label
from ulmfit.data.token_store import fingerprint_files
from ulmfit.text.unicode import UnicodeCheck


def unlabelled_files(config: TrainConfig) -> tuple[str, ...]:
    """Return the files that may hold text without labels."""
    data = () if config.reading.missing_label is None else (config.data,)
    return (*data, *config.unlabelled)


def unlabelled_documents(config: TrainConfig, unicode: UnicodeCheck) -> Iterator[Document]:
    """Yield the rows of the labelled data that have no label, then the documents of the files."""
    yield from read_without_label(config.data, config.reading, unicode)
    yield from read_many(config.unlabelled, config.reading, labelled=False, unicode=unicode)


def unlabelled_fingerprint(config: TrainConfig) -> str:
    """Return a hash of those files; the empty string if there are none."""
    files = unlabelled_files(config)
    return fingerprint_files(files, config.reading) if files else ""
