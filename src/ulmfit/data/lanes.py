"""Language modelling: a corpus as contiguous lanes, cut into windows (Merity et al. 2017).

The documents of an epoch stand one behind the other as one stream. It is split into as many
contiguous lanes as the batch has rows; a window is the next few tokens of every lane, so the
state left by one window is the right one for the next. Any place of the stream can be read
without what comes before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ulmfit.config.artefact import BeginMark
from ulmfit.config.model import Direction
from ulmfit.data.token_store import TokenStore
from ulmfit.errors import DataError
from ulmfit.text.tokenizer import PAD_ID

IGNORED_TARGET = -100
SHORTEST = 5
LONGEST_EXTRA = 25

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """The next tokens of every lane."""

    ids: Ints
    """[batch, time]."""

    targets: Ints
    """[batch, time]: the token that follows each of `ids`; -100 where there is none to score."""

    rate_scale: float
    """What the learning rate is multiplied by: the length drawn over `bptt`. What is left of the
    lanes for the last window may be shorter."""

    first: bool
    """The lanes begin here: the state is reset before this window."""


class _Stream:
    """Documents, one behind the other in a given order, as one stream of tokens."""

    def __init__(
        self, store: TokenStore, documents: Ints, direction: Direction, begin_mark: BeginMark
    ) -> None:
        self.tokens = store.tokens
        self.begins = store.starts[documents]
        self.lengths = store.starts[documents + 1] - self.begins
        self.ends = np.cumsum(self.lengths)
        self.direction = direction
        self.begin_mark = begin_mark

    def read(self, positions: Ints) -> Ints:
        """Return the ids at `positions` of the stream, in their shape."""
        document = np.searchsorted(self.ends, positions, side="right")
        length = self.lengths[document]
        offset = positions - (self.ends[document] - length)
        if self.direction == "backward":
            offset = _backward(offset, length, self.begin_mark)
        ids: Ints = self.tokens[self.begins[document] + offset].astype(np.int64)
        return ids


def _backward(offset: Ints, length: Ints, begin_mark: BeginMark) -> Ints:
    """Where in a document the token stands that `reverse_ids` would put at `offset`."""
    if begin_mark == "last":
        return length - 1 - offset
    return np.where(offset == 0, 0, length - offset)


class Lanes:
    """The windows a language model is trained on, drawn anew for each epoch.

    The stream of an epoch is cut into `batch_size` lanes of equal length; the fewer than
    `batch_size` tokens left over are dropped, as is the target of each lane's last token.

    Args:
        store: the corpus.
        batch_size: number of lanes.
        bptt: tokens of a window.
        variable: draw each window's length around `bptt`, and scale the rate with it.
        direction: `backward` reverses each document; their order is the same in both directions.
        begin_mark: where the begin mark stands in a reversed document.
        seed: of the order of documents and of the lengths, together with the epoch; at least 0.
        documents: indices of the documents to use; all by default.

    Raises:
        DataError: if a lane would have fewer than 2 tokens.
    """

    def __init__(
        self,
        store: TokenStore,
        *,
        batch_size: int,
        bptt: int,
        variable: bool,
        direction: Direction,
        begin_mark: BeginMark,
        seed: int,
        documents: Ints | None = None,
    ) -> None:
        self.store = store
        self.batch_size = batch_size
        self.bptt = bptt
        self.variable = variable
        self.direction: Direction = direction
        self.begin_mark: BeginMark = begin_mark
        self.seed = seed
        self.documents = np.arange(len(store)) if documents is None else np.asarray(documents)
        total = count_tokens(store, self.documents)
        self.lane_length = total // batch_size
        if self.lane_length < 2:
            raise DataError(
                f"the text has {total} tokens, too few for the language model's setting "
                f"'training.batch_size' {batch_size}, where each lane needs 2; {_remedy(total)}"
            )

    def window_count(self, epoch: int) -> int:
        """Return the number of windows of an epoch."""
        return len(self._edges_and_lengths(epoch)[1])

    def windows(self, epoch: int, start: int = 0, rows: slice = slice(None)) -> Iterator[Window]:
        """Yield the windows of an epoch from number `start` on, the same at every call.

        `rows`: the lanes to read, where several processes share them.
        """
        order = self._generator(epoch, 0).permutation(self.documents)
        stream = _Stream(self.store, order, self.direction, self.begin_mark)
        lanes = np.arange(self.batch_size)[rows, None] * self.lane_length
        edges, lengths = self._edges_and_lengths(epoch)
        for number in range(start, len(lengths)):
            low, high = int(edges[number]), int(edges[number + 1])
            block = stream.read(lanes + np.arange(low, high + 1))
            yield Window(
                ids=np.ascontiguousarray(block[:, :-1]),
                targets=np.ascontiguousarray(block[:, 1:]),
                rate_scale=int(lengths[number]) / self.bptt,
                first=number == 0,
            )

    def _edges_and_lengths(self, epoch: int) -> tuple[Ints, Ints]:
        """Where in a lane each window begins and the last one ends, and each one's length drawn."""
        scored = self.lane_length - 1
        lengths = np.full(-(-scored // self.bptt), self.bptt)
        if self.variable:
            lengths = draw_lengths(self._generator(epoch, 1), self.bptt, -(-scored // SHORTEST))
        ends = np.cumsum(lengths)
        count = np.searchsorted(ends, scored) + 1
        return np.append(0, np.minimum(ends[:count], scored)), lengths[:count]

    def _generator(self, epoch: int, stream: int) -> np.random.Generator:
        # Two streams: how many windows an epoch has is known without shuffling the documents.
        return np.random.default_rng(np.random.SeedSequence([self.seed, epoch, stream]))


def draw_lengths(generator: np.random.Generator, bptt: int, count: int) -> Ints:
    """Draw lengths [count] as AWD-LSTM does: N(bptt, 5), one time in twenty N(bptt / 2, 5)."""
    mean = np.where(generator.random(count) < 0.95, bptt, bptt / 2)
    lengths = generator.normal(mean, 5.0).astype(np.int64)
    return np.clip(lengths, SHORTEST, bptt + LONGEST_EXTRA)


def validation_windows(
    store: TokenStore,
    *,
    batch_size: int,
    bptt: int,
    direction: Direction,
    begin_mark: BeginMark,
    documents: Ints | None = None,
    rows: slice = slice(None),
) -> Iterator[Window]:
    """Yield windows that score every token of the stream but its first exactly once.

    The documents are read in the order given. The targets are shared out over `batch_size` lanes
    (fewer, if there are fewer targets) that differ by one token at most. A lane's first input is
    the last token of the lane before, so that each target follows the token that truly precedes
    it. Where a lane is one shorter, the last window has the pad id and the target -100. `rows`: the
    lanes to read, where several processes share them.

    Raises `DataError` if the stream has fewer than 2 tokens.
    """
    documents = np.arange(len(store)) if documents is None else np.asarray(documents)
    scored = check_validation(store, documents) - 1
    stream = _Stream(store, documents, direction, begin_mark)
    return _cut_evenly(stream, scored, min(batch_size, scored), bptt, rows)


def check_validation(store: TokenStore, documents: Ints | None = None) -> int:
    """Return the tokens of a validation text; raises `DataError` if there are fewer than 2."""
    tokens = count_tokens(store, np.arange(len(store)) if documents is None else documents)
    if tokens < 2:
        raise DataError(
            f"the validation text has {tokens} tokens, and perplexity needs 2; give more text"
        )
    return tokens


def _cut_evenly(
    stream: _Stream, scored: int, lanes: int, bptt: int, rows: slice
) -> Iterator[Window]:
    edges = np.arange(lanes + 1) * scored // lanes
    begins, ends = edges[:-1][rows, None], edges[1:][rows, None]
    longest = -(-scored // lanes)
    for low in range(0, longest, bptt):
        positions = begins + np.arange(low, min(low + bptt, longest) + 1)
        block = stream.read(np.minimum(positions, scored))
        real = positions[:, :-1] < ends
        yield Window(
            ids=np.where(real, block[:, :-1], PAD_ID),
            targets=np.where(real, block[:, 1:], IGNORED_TARGET),
            rate_scale=1.0,
            first=low == 0,
        )


def count_tokens(store: TokenStore, documents: Ints) -> int:
    """Return the tokens of the documents with these indices, their marks with them."""
    return int((store.starts[documents + 1] - store.starts[documents]).sum())


def _remedy(total: int) -> str:
    smaller = f"make it at most {total // 2}, or " if total >= 2 else ""
    return f"{smaller}give more text"
