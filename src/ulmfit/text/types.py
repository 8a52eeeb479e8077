"""What one document's text is, on every floor."""

from __future__ import annotations

Text = str | tuple[str, ...]
"""A string, or the strings of several columns, each of which gets a field mark of its own."""


def columns_of(text: Text) -> tuple[str, ...]:
    """Return the columns of a document's text; one string is a single column."""
    return (text,) if isinstance(text, str) else text
