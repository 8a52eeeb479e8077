"""Ids of text whose words spaCy splits: each looked up in the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from ulmfit.text.spacy_english import Words
from ulmfit.text.spacy_words import spacy_words

Ids = NDArray[np.int64]


class SpacyEncoder:
    """Ids of words. Raises `ConfigError` when it is to encode and spaCy is not installed.

    `vocabulary`: the id of each word that text may become; any other gets the id `unknown`.
    `window`: characters of a long text that are encoded at once.
    """

    def __init__(self, vocabulary: Mapping[str, int], unknown: int) -> None:
        self._vocabulary = vocabulary
        self._unknown = unknown

    def encode_batch(self, texts: Sequence[str], window: int) -> list[Ids]:
        """Return the ids [n] of each text."""
        return [self._encode(text, window) for text in texts]

    def encode_with_offsets(self, text: str, window: int) -> tuple[Ids, Ids]:
        """Return the ids [n] of a text, and where each stands in it: start and end [n, 2]."""
        start, ids, offsets = 0, [_NONE], [_NONE.reshape(0, 2)]
        for runs, words in spacy_words().blocks(text, window):
            ids.append(self._ids(words))
            offsets.append(start + _offsets(runs, words))
            start += sum(map(len, runs))
        return np.concatenate(ids), np.concatenate(offsets)

    def _encode(self, text: str, window: int) -> Ids:
        blocks = [self._ids(words) for _, words in spacy_words().blocks(text, window)]
        return blocks[0] if len(blocks) == 1 else np.concatenate([_NONE, *blocks])

    def _ids(self, words: Iterable[Words]) -> Ids:
        every = chain.from_iterable(words)
        return np.fromiter(map(self._vocabulary.get, every, repeat(self._unknown)), np.int64)


_NONE = np.empty(0, dtype=np.int64)


def _offsets(runs: Sequence[str], words: Sequence[Words]) -> Ids:
    """Start and end [n, 2] of each word in runs that stand behind one another.

    The words of a run stand so, too; behind the last there may be a space.
    """
    lengths = np.fromiter(map(len, chain.from_iterable(words)), np.int64)
    counts = np.fromiter(map(len, words), np.int64)
    first = np.cumsum(counts) - counts
    spaces = np.fromiter(map(len, runs), np.int64) - np.add.reduceat(lengths, first)
    ends = np.cumsum(lengths) + np.repeat(np.cumsum(spaces) - spaces, counts)
    return np.stack([ends - lengths, ends], axis=1)
