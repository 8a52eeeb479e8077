"""The marks that rules put into text, and the readable text of words with marks among them."""

from __future__ import annotations

import re
from collections.abc import Iterable

CAPITALIZED, UPPER, REPEATED, WORD_REPEATED = "xxmaj", "xxup", "xxrep", "xxwrep"
MARKS = (CAPITALIZED, UPPER, REPEATED, WORD_REPEATED)
"""The words that the rules put in."""

FIELD = "xxfld"

UNKNOWN = "<unk>"
"""Stands for a word that is not in the vocabulary."""

UNSPOKEN = ("xxbos", "xxeos", "xxpad")
"""Marks of fastai's vocabularies that stand for nothing readable."""

LONGEST_REPETITION = 1_000_000
"""Characters that one repetition may grow to when marks are undone."""


def decode_marks(words: Iterable[str]) -> str:
    """Return readable text: marks undone, words joined by spaces as punctuation wants them.

    A mark without the word or number it needs is left out, and one of an unknown word with it.
    """
    return join_words(_undo_marks(words))


def _undo_marks(words: Iterable[str]) -> Iterable[str]:
    """Yield the words that are no marks, each changed by the marks before it."""
    case: str | None = None
    upper = False
    repetition: str | None = None
    times: int | None = None
    for word in words:
        if word in UNSPOKEN:
            continue
        if word == UNKNOWN:
            case, upper, repetition, times = None, False, None, None
        elif word in (CAPITALIZED, UPPER):
            case = word
        elif word in (REPEATED, WORD_REPEATED, FIELD):
            repetition, times = word, None
        elif repetition and times is None and word.isdecimal() and len(word) < 10:
            times = int(word)
            if repetition == FIELD:
                yield "\n"
                repetition, times = None, None
        else:
            if upper and _CONTRACTION.fullmatch(word):  # `DON'T` has one mark for both words
                case = case or UPPER
            upper = case == UPPER
            word = _with_case(word, case)
            yield _repeat(word, times, " " if repetition == WORD_REPEATED else "")
            case, repetition, times = None, None, None


def _with_case(word: str, case: str | None) -> str:
    if case == UPPER:
        return word.upper()
    return word[:1].upper() + word[1:] if case == CAPITALIZED else word


def _repeat(word: str, times: int | None, between: str) -> str:
    """Return `word` the stated times, though never more than `LONGEST_REPETITION` characters."""
    if times is None:
        return word
    most = max(1, LONGEST_REPETITION // (len(word) + len(between)))
    return between.join([word] * min(times, most))


_CONTRACTION = re.compile(r"['\u2019](?:s|d|m|t|ll|ve|re)|n['\u2019]t", re.IGNORECASE)
_NO_SPACE_BEFORE = re.compile(rf"[.,!?;:…)\]}}%]+|{_CONTRACTION.pattern}|\s+", re.IGNORECASE)
_NO_SPACE_AFTER = re.compile(r"[(\[{]+|\s+")


def join_words(words: Iterable[str]) -> str:
    """Join words by spaces, but not before closing and after opening punctuation."""
    pieces: list[str] = []
    glued = True
    for word in words:
        pieces.append(word if glued or _NO_SPACE_BEFORE.fullmatch(word) else f" {word}")
        glued = _NO_SPACE_AFTER.fullmatch(word) is not None
    return "".join(pieces)
