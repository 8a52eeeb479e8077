"""What to do with text that is not valid Unicode: replace and count it, or refuse it."""

from __future__ import annotations

import re

from ulmfit.errors import DataError

_SURROGATE = re.compile("[\ud800-\udfff]")


def replace_surrogates(text: str) -> str:
    """Return `text` with each lone surrogate replaced by U+FFFD; its length stays the same."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


class UnicodeCheck:
    """Makes texts valid Unicode and keeps count of those that were not.

    `strict`: refuse them instead.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.replaced = 0
        """Number of documents in which something was replaced."""
        self.first: str | None = None
        """Where the first of them stands."""
        self._last: str | None = None

    def clean(self, text: str, where: str) -> str:
        """Return `text` with lone surrogates replaced by U+FFFD.

        `where` (a file and row) is kept for the report. Raises `DataError` if `strict`.
        """
        found = _SURROGATE.search(text)
        if found is None:
            return text
        if self.strict:
            raise DataError(
                f"{where}: not valid Unicode: lone surrogate U+{ord(found[0]):04X} at character "
                f"{found.start()}; mend the text, or leave out --strict to replace it by U+FFFD"
            )
        self.replaced += where != self._last  # of a document's columns, one counts
        self.first, self._last = self.first or where, where
        return replace_surrogates(text)

    def report(self) -> str | None:
        """Return one line on what was replaced and where first, or None if nothing was."""
        if not self.replaced:
            return None
        documents = "1 document" if self.replaced == 1 else f"{self.replaced} documents"
        return f"{documents} not valid Unicode, replaced by U+FFFD; the first: {self.first}"
