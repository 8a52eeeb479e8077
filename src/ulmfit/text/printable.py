"""Text of unknown origin, made harmless for a terminal."""

from __future__ import annotations

_SHOWN = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}
"""Control characters, and the pictures that Unicode has of them."""


def printable(text: str) -> str:
    """Return `text` with pictures of its control characters, but for line breaks and tabs.

    Its length stays the same.
    """
    return text.translate(_SHOWN)
