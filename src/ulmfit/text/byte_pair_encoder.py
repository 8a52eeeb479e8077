"""Ids of text by byte-pair encoding, through the `tiktoken` library.

`tokenizers`, which learns the merges and defines their file, encodes a third as fast.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import tiktoken
from numpy.typing import NDArray

from ulmfit.text.blocks import blocks_of

Ids = NDArray[np.int64]

BLOCK = 64
"""Texts that a thread encodes before it takes the next."""


class BytePairEncoder:
    """Ids of pieces of bytes: the pair with the lowest id is merged first, within a pre-token.

    `pieces`: the id of each piece, the single bytes and what merges make of them. `special`: ids
    that no text becomes. `pattern`: the regular expression of a pre-token; its matches are bounded,
    so that a text of any length takes time and memory in proportion: no `window` is needed.
    """

    def __init__(self, pieces: Mapping[bytes, int], special: Mapping[str, int], pattern: str):
        self._encoding = tiktoken.Encoding(
            "ulmfit", pat_str=pattern, mergeable_ranks=dict(pieces), special_tokens=dict(special)
        )
        self._sizes = np.zeros(self._encoding.n_vocab, dtype=np.int64)
        self._sizes[list(pieces.values())] = list(map(len, pieces))

    def encode_batch(self, texts: Sequence[str], window: int) -> list[Ids]:
        """Return the ids [n] of each text; many are encoded in parallel."""
        if len(texts) <= BLOCK:
            return self._encode_block(texts)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(chain.from_iterable(pool.map(self._encode_block, blocks_of(texts, BLOCK))))

    def encode_with_offsets(self, text: str, window: int) -> tuple[Ids, Ids]:
        """Return the ids [n] of a text, and where each stands in it: start and end [n, 2].

        A piece that holds a part of a character's bytes stands where the whole character does.
        """
        (ids,) = self._encode_block([text])
        sizes = self._sizes[ids]
        ends = np.cumsum(sizes)
        in_bytes = np.frombuffer(text.encode(), dtype=np.uint8)
        character = np.cumsum((in_bytes & 0xC0) != 0x80) - 1  # of each byte; none begins with 10
        return ids, np.stack([character[ends - sizes], character[ends - 1] + 1], axis=1)

    def _encode_block(self, texts: Sequence[str]) -> list[Ids]:
        encode = self._encoding.encode_to_numpy
        return [encode(text, disallowed_special=()).astype(np.int64) for text in texts]
