"""What one document's text is, on every floor."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator

from ulmfit.errors import ConfigError, DataError

Text = str | tuple[str, ...]
"""A string, or the strings of several columns, each of which gets a field mark of its own."""


def columns_of(text: Text) -> tuple[str, ...]:
    """Return the columns of a document's text; one string is a single column."""
    return (text,) if isinstance(text, str) else text


def text_of_columns(columns: Iterable[str]) -> Text:
    """Return the text of a document's columns, one at least: of a single one, the string."""
    several = tuple(columns)
    return several if len(several) > 1 else several[0]


def checked_texts(texts: Iterable[Text]) -> Iterator[Text]:
    """Yield the texts; raises `ConfigError` for one string, `DataError` for what is no text."""
    if isinstance(texts, str):
        raise ConfigError("texts: found one string; give a list of texts")
    for row, text in enumerate(texts, 1):
        columns = text if isinstance(text, tuple) else (text,)
        if not columns or not all(isinstance(column, str) for column in columns):
            raise DataError(
                f"texts, row {row}: found {reprlib.repr(text)} of type {type(text).__name__}; "
                "give a string, or a tuple of one for each text column"
            )
        yield text_of_columns(columns)
