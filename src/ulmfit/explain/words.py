"""From the pieces that a network reads to the words that people read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ulmfit.text.tokenizer import FIELD_ID, Tokenizer
from ulmfit.text.types import Text, columns_of

LONGEST_WORD = 24
"""A run of more characters without white space, as in scripts that have none, is cut into the
tokenizer's pieces."""

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Word:
    """A word of a document, and where it stands."""

    text: str
    column: int
    start: int
    """Of its first character in the column's text."""

    end: int


@dataclass(frozen=True)
class Words:
    """The words of a document, and which of them each id belongs to."""

    ids: Ids
    """[time], begin and field marks among them."""

    words: list[Word]
    places: Ids
    """The place in `words` of each id's word, [time]; -1 for marks."""

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the sums [words, columns] of values of ids [time, columns]."""
        sums = np.zeros((len(self.words), values.shape[1]))
        inside = self.places >= 0
        np.add.at(sums, self.places[inside], values[inside])
        return sums


def split_words(tokenizer: Tokenizer, text: Text) -> Words:
    """Encode `text` and find its words: what stands between white space.

    Words that no id is of, such as those that a rule folds into a mark, go with the word before
    them; at the beginning of a column, with the one behind them. A column of which nothing is read
    has no words.
    """
    ids, offsets = tokenizer.encode_with_offsets(text)
    columns = columns_of(text)
    column_of = np.cumsum(ids == FIELD_ID) - (1 if len(columns) > 1 else 0)
    words: list[Word] = []
    places = np.full(len(ids), -1, dtype=np.int64)
    for number, column in enumerate(columns):
        own = np.flatnonzero((column_of == number) & (offsets[:, 1] > offsets[:, 0]))
        spans = _cut(column, offsets[own])
        if not spans or not len(own):
            continue
        first = [_first_character(column, start, end) for start, end in offsets[own]]
        starts = np.array([start for start, _ in spans])
        inside = np.maximum(np.searchsorted(starts, first, side="right") - 1, 0)
        inside = np.maximum.accumulate(inside)  # a rule's space may point further back
        read = np.unique(inside).tolist()
        places[own] = len(words) + np.searchsorted(read, inside)
        for place, behind in pairwise([0, *read[1:], len(spans)]):
            start, end = spans[place][0], spans[behind - 1][1]
            words.append(Word(column[start:end], number, start, end))
    return Words(ids, words, places)


def _cut(text: str, offsets: Ids) -> list[tuple[int, int]]:
    """Return where words begin and end; one that is too long is cut where pieces begin."""
    begins = np.unique(offsets[:, 0])
    spans: list[tuple[int, int]] = []
    for match in re.finditer(r"\S+", text):
        start, end = match.span()
        edges = [start, end]
        if end - start > LONGEST_WORD:
            within = begins[(begins > start) & (begins < end)].tolist()
            edges = [start, *within, end]
        spans += pairwise(edges)
    return spans


def _first_character(text: str, start: int, end: int) -> int:
    """Return the place of a piece's first character that is not white space, or of the first."""
    for place in range(start, end):
        if not text[place].isspace():
            return place
    return start
