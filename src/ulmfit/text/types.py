"""What one document's text is, on every floor."""

from __future__ import annotations

Text = str | tuple[str, ...]
"""A string, or the strings of several columns, each of which gets a field mark of its own."""
