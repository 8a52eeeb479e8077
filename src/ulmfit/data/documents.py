"""Classification: whole documents in batches of like length, read chunk by chunk (BPT3C).

A batch's documents differ in length. The batch is aligned so that all documents *end* together:
short ones join late, with a fresh state. With the longest first, the documents being read are
always the first rows. A chunk begins where documents join: in prediction where padding and chunks
together cost the least (`packed_spans`), in training every few tokens; where the tokens with
gradients begin, the last `window`; and where chunks would otherwise be too long.

    documents of 8, 5 and 4 tokens, window = 5    chunk 0    chunk 1
                                                  a b c      d e f g h
                                                             i j k l m
                                                             n o p q .
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ulmfit.config.artefact import Member
from ulmfit.errors import ConfigError, DataError
from ulmfit.text.tokenizer import PAD_ID, reverse_ids

LENGTH_NOISE = 0.1

TOKEN_BUDGET = 65_536
"""Tokens of a prediction batch, at most, unless a single document is longer."""

CHUNK_TOKENS = 6_144
"""Tokens of a chunk on a processor, at most, of all its documents together: most of what an LSTM
keeps of them in prediction stays in the processor's cache (`benchmarks/LOG.md`)."""

GPU_CHUNK_TOKENS = 32_768
"""On a GPU, which is busier the more there are."""

CHUNK_COST = 90
"""Tokens that two cores could read in the time that one more chunk costs them: oneDNN compiles an
LSTM anew for each number of rows and time steps, in two milliseconds (`benchmarks/LOG.md`)."""

GRAIN = 16
"""Tokens by which documents join a training batch (`benchmarks/LOG.md`)."""

Ints = npt.NDArray[np.int64]


def in_order(documents: Sequence[Ints], member: Member) -> list[Ints]:
    """Return the ids of each document in the order that `member` reads them."""
    if member.direction == "forward":
        return list(documents)
    return [reverse_ids(document, member.begin_mark) for document in documents]


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
            f"setting 'classifier.training.batch_size': found {batch_size}; a batch of documents "
            "needs at least 2"
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

    Args:
        lengths: [documents], tokens of each document.
        token_budget: documents times the longest one's tokens are at most this in a batch, unless
            a single document is longer, which then stands alone.

    Returns:
        Indices of the documents of each batch; none for no documents.
    """
    lengths = np.asarray(lengths, np.int64)
    order = np.argsort(-lengths, kind="stable")
    batches = []
    begin = 0
    while begin < len(order):
        longest = max(1, int(lengths[order[begin]]))
        end = begin + max(1, token_budget // longest)
        batches.append(order[begin:end])
        begin = end
    return batches


def packed_spans(lengths: npt.ArrayLike, chunk_cost: int) -> Ints:
    """Return how long before the end of a batch each document joins, for the least work.

    Documents of like length join together, at the start of the longest, and the others are padded
    at their end. A chunk begins wherever some join: fewer chunks, more padding. Of all ways to
    share the lengths out, this is the one in which both together cost the least.

    Args:
        lengths: [documents], tokens of each document.
        chunk_cost: tokens that could be read in the time that one more chunk costs.

    Returns:
        [documents], tokens; no fewer than the document has, and at least 1.
    """
    lengths = np.maximum(1, np.asarray(lengths, np.int64))
    values, which, counts = np.unique(lengths, return_inverse=True, return_counts=True)
    documents = np.concatenate([[0], np.cumsum(counts)])
    tokens = np.concatenate([[0], np.cumsum(counts * values)])
    # Of the k smallest values: the least cost, and where the last of their groups begins.
    least, begins = np.zeros(len(values) + 1, np.int64), np.zeros(len(values) + 1, np.int64)
    for k, longest in enumerate(values, start=1):
        padding = longest * (documents[k] - documents[:k]) - (tokens[k] - tokens[:k])
        begins[k] = np.argmin(least[:k] + padding)
        least[k] = least[begins[k]] + padding[begins[k]] + chunk_cost
    spans, end = np.empty_like(values), len(values)
    while end > 0:
        spans[begins[end] : end] = values[end - 1]
        end = begins[end]
    return spans[which]


@dataclass(frozen=True)
class Chunk:
    """A few further tokens of the documents being read, the batch's first rows."""

    ids: Ints
    """[alive, time]; padded on the right, where a document has ended."""

    lengths: Ints
    """[alive]: how many of a row's ids are real."""


class ChunkedBatch:
    """A batch of documents as chunks, each made when it is asked for.

    Args:
        documents: ids [tokens] of each document, in the order the model reads them, at least one.
        spans: [documents], how many tokens before the batch's end each joins, no fewer than it
            has.
        chunk_tokens: tokens of a chunk of all its documents together, at most, but one of each.
        window: a chunk begins so many tokens before the batch's end, if it is as long; 0: there is
            no window; None: it is the whole batch.
    """

    order: Ints
    """[documents]: row i of the chunks is `documents[order[i]]`; the first to join come first."""

    count: int
    """Number of chunks."""

    window_count: int
    """Number of chunks in the window, the last ones."""

    def __init__(
        self,
        documents: Sequence[npt.NDArray[Any]],
        spans: Ints,
        chunk_tokens: int,
        window: int | None = None,
    ) -> None:
        self.order = np.argsort(-spans, kind="stable")
        self._documents = [documents[i] for i in self.order]
        length = spans.max()
        self._joins = length - spans[self.order]  # tokens before a row joins, ascending
        window_start = 0 if window is None else max(0, length - window)
        begins_and_end = np.union1d(self._joins, [window_start, length])
        edges: list[int] = []
        for begin, end in pairwise(begins_and_end.tolist()):
            longest = max(1, chunk_tokens // self._alive(begin))
            pieces = -(-(end - begin) // longest)
            edges += range(begin, end, -(-(end - begin) // pieces))
        self.count = len(edges)
        self.window_count = sum(begin >= window_start for begin in edges)
        self._edges = [*edges, length]

    def __len__(self) -> int:
        """Return the number of chunks."""
        return self.count

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the chunks, first to last."""
        return (self[step] for step in range(self.count))

    def __getitem__(self, step: int) -> Chunk:
        """Return chunk number `step`; below 0, counted from the end."""
        step = range(self.count)[step]
        begin, end = self._edges[step : step + 2]
        alive = self._alive(begin)
        rows = [
            ids[begin - join : end - join]
            for ids, join in zip(self._documents[:alive], self._joins[:alive], strict=True)
        ]
        lengths = np.array([len(row) for row in rows])
        padded = np.full((alive, max(1, lengths.max())), PAD_ID, np.int64)
        for i, row in enumerate(rows):
            padded[i, : len(row)] = row
        return Chunk(padded, lengths)

    def _alive(self, time: int) -> int:
        """Return how many documents are being read at token `time` of the batch."""
        return int(np.searchsorted(self._joins, time, side="right"))


def bptt_batch(
    documents: Sequence[npt.NDArray[Any]], window: int, chunk_tokens: int
) -> ChunkedBatch:
    """Return a batch for training, gradients flowing into the last `window` tokens.

    A document joins at a multiple of `GRAIN` tokens before the end, so that few chunks are needed
    and what is in the window of each depends on nothing but its own length.
    """
    grain = min(GRAIN, window)
    spans = np.array([max(1, -(-len(ids) // grain)) * grain for ids in documents])
    return ChunkedBatch(documents, spans, chunk_tokens, window)


def packed_batch(documents: Sequence[npt.NDArray[Any]], chunk_tokens: int) -> ChunkedBatch:
    """Return a batch for prediction, with little padding and no more chunks than are worth it."""
    spans = packed_spans([len(ids) for ids in documents], CHUNK_COST)
    return ChunkedBatch(documents, spans, chunk_tokens)


def packed_batches(
    documents: Sequence[npt.NDArray[Any]], token_budget: int, chunk_tokens: int
) -> Iterator[tuple[Ints, ChunkedBatch]]:
    """Yield batches for prediction, each with the indices of the documents of its rows."""
    for indices in prediction_batches([len(ids) for ids in documents], token_budget):
        batch = packed_batch([documents[i] for i in indices], chunk_tokens)
        yield indices[batch.order], batch
