"""Bytes in a `tokenizer.json`: each is spelt as one visible character, as GPT-2 does."""

from __future__ import annotations

_VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = sorted({*range(256)} - {*_VISIBLE})
_SPELT = {byte: chr(byte) for byte in _VISIBLE}
_SPELT |= {byte: chr(256 + place) for place, byte in enumerate(_OTHERS)}
_BYTES = {ord(character): byte for byte, character in _SPELT.items()}

ALPHABET = frozenset(_SPELT.values())
"""The characters that bytes are spelt in."""


def spell(text: str) -> str:
    """Return the characters that stand for the bytes of `text`, which has no lone surrogate."""
    return text.encode().decode("latin-1").translate(_SPELT)


def bytes_of(spelt: str) -> bytes:
    """Return the bytes that characters of the alphabet stand for."""
    return spelt.translate(_BYTES).encode("latin-1")
