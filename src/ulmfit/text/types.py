"""What one document's text is, on every floor."""

from __future__ import annotations

from collections.abc import Iterable

Text = str | tuple[str, ...]
"""A string, or the strings of several columns, each of which gets a field mark of its own."""


def columns_of(text: Text) -> tuple[str, ...]:
    """Return the columns of a document's text; one string is a single column."""
    return (text,) if isinstance(text, str) else text


def text_of_columns(columns: Iterable[str]) -> Text:
    """Return the text of a document's columns, one at least: of a single one, the string."""
    several = tuple(columns)
    return several if len(several) > 1 else several[0]
