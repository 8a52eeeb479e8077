"""Classification: whole documents in batches of like length, read chunk by chunk (BPT3C).

A batch's documents differ in length. Each is cut from its start into chunks of `bptt` tokens,
the last one shorter, and the batch is aligned so that all documents *end* together: short ones
join late, with a fresh state, and nothing is padded before the last chunk. With the longest
first, the documents being read are always the first rows.

    bptt = 3, documents of 8, 4 and 2 tokens      chunk 0    chunk 1    chunk 2
                                                  a b c      d e f      g h .
                                                             i j k      l . .
                                                                        m n .
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ulmfit.errors import ConfigError, DataError
from ulmfit.text.tokenizer import PAD_ID

LENGTH_NOISE = 0.1

FULL_ROWS = 64
"""Documents from which on a batch for prediction keeps the processor as busy as a larger one."""

LIKE = 0.9
"""Share of the longest document's length below which another waits for the next batch."""

Ints = npt.NDArray[np.int64]


def training_batches(
    lengths: npt.ArrayLike, batch_size: int, rng: np.random.Generator
) -> list[Ints]:
    """Share the documents out over batches of like length, in random order, each exactly once.

    Documents are sorted by length times a random factor within 10 % of 1, so that a document's
    neighbours change from draw to draw even in a small corpus, and cut. Every batch has
    `batch_size` documents but one: the `len(lengths) % batch_size` left over are a batch of their
    own or, where that is a single document, the last of a batch of `batch_size + 1` (batch
    normalization cannot train on one). Fewer documents than `batch_size` are one batch.

    Args:
        lengths: [documents], tokens of each document.
        batch_size: documents of a batch, at least 2.
        rng: source of all draws.

    Returns:
        Indices of the documents of each batch.

    Raises:
        DataError: if there are fewer than 2 documents.
        ConfigError: if `batch_size` is below 2.
    """
    lengths = np.asarray(lengths, np.int64)
    count = len(lengths)
    if batch_size < 2:
        raise ConfigError(
            f"setting 'batch_size': found {batch_size}; a batch of documents needs at least 2"
        )
    if count < 2:
        raise DataError(f"found {count} training document(s); at least 2 are needed: give more")
    order = np.argsort(-lengths * rng.uniform(1 - LENGTH_NOISE, 1 + LENGTH_NOISE, count))
    edges = [*range(0, count, batch_size), count]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return [order[edges[i] : edges[i + 1]] for i in rng.permutation(len(edges) - 1)]


def prediction_batches(lengths: npt.ArrayLike, token_budget: int) -> list[Ints]:
    """Share the documents out over batches for prediction, longest first, each exactly once.

    A batch of `FULL_ROWS` or more ends before a document that is much shorter than its longest.

    Args:
        lengths: [documents], tokens of each document.
        token_budget: documents times the longest one's tokens are at most this in a batch, unless
            a single document is longer, which then stands alone.

    Returns:
        Indices of the documents of each batch; none for no documents.
    """
    lengths = np.asarray(lengths, np.int64)
    order = np.argsort(-lengths, kind="stable")
    falling = -lengths[order]
    batches = []
    begin = 0
    while begin < len(order):
        longest = max(1, int(lengths[order[begin]]))
        end_of_like = int(np.searchsorted(falling, -LIKE * longest, side="right"))
        most = begin + max(1, token_budget // longest)
        end = min(most, max(begin + FULL_ROWS, end_of_like))
        batches.append(order[begin:end])
        begin = end
    return batches


def restore_order(order: npt.ArrayLike, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Undo a reordering: row i of `values` goes to row `order[i]` of the result.

    For several batches, concatenate their indices and their values first.
    """
    values = np.asarray(values)
    restored = np.empty_like(values)
    restored[np.asarray(order, np.int64)] = values
    return restored


@dataclass(frozen=True)
class Chunk:
    """At most `bptt` further tokens of the documents being read, the batch's first rows."""

    ids: Ints
    """[alive, time]; padded on the right, in the last chunk only."""

    lengths: Ints
    """[alive]: how many of a row's ids are real."""


class ChunkedBatch:
    """A batch of documents as chunks, each made when it is asked for.

    Args:
        documents: ids [tokens] of each document, in the order the model reads them, at least one.
        bptt: tokens of a chunk.
    """

    order: Ints
    """[documents]: row i of the chunks is `documents[order[i]]`; longest first, by chunks."""

    count: int
    """Number of chunks."""

    def __init__(self, documents: Sequence[npt.NDArray[Any]], bptt: int) -> None:
        chunk_counts = np.array([max(1, -(-len(ids) // bptt)) for ids in documents])
        self.order = np.argsort(-chunk_counts, kind="stable")
        self.count = int(chunk_counts.max())
        self.bptt = bptt
        self._documents = [documents[i] for i in self.order]
        self._late = self.count - chunk_counts[self.order]  # chunks before a row joins, ascending

    def __len__(self) -> int:
        """Return the number of chunks."""
        return self.count

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the chunks, first to last."""
        return (self[step] for step in range(self.count))

    def __getitem__(self, step: int) -> Chunk:
        """Return chunk number `step`; below 0, counted from the end."""
        step = range(self.count)[step]
        alive = int(np.searchsorted(self._late, step, side="right"))
        begins = (step - self._late[:alive]) * self.bptt
        rows = [
            ids[begin : begin + self.bptt]
            for ids, begin in zip(self._documents[:alive], begins, strict=True)
        ]
        lengths = np.array([len(row) for row in rows])
        padded = np.full((alive, lengths.max()), PAD_ID, np.int64)
        for i, row in enumerate(rows):
            padded[i, : len(row)] = row
        return Chunk(padded, lengths)
