from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit.data.documents import (
    GRAIN,
    ChunkedBatch,
    bptt_batch,
    packed_batch,
    packed_spans,
    prediction_batches,
    training_batches,
)
from ulmfit.errors import ConfigError, DataError

common = settings(max_examples=200, deadline=None)


@common
@given(
    st.lists(st.integers(1, 500), min_size=2, max_size=300), st.integers(2, 17), st.integers(0, 9)
)
def test_training_batches_hold_every_document_once(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    batches = training_batches(lengths, batch_size, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    sizes = sorted(map(len, batches))
    odd = [size for size in sizes if size != batch_size]
    rest = len(lengths) % batch_size
    if len(lengths) < batch_size:
        assert odd == [len(lengths)]
    else:
        assert odd == ([] if rest == 0 else [batch_size + 1] if rest == 1 else [rest])


def test_training_batches_hold_like_lengths_in_random_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 10_000, 5_000)
    batches = training_batches(lengths, 32, np.random.default_rng(0))
    padded = sum(len(b) * lengths[b].max() for b in batches)
    assert padded < 1.2 * lengths.sum()
    longest = np.array([lengths[b].max() for b in batches])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.25
    assert 0.3 < (np.diff(longest) > 0).mean() < 0.7


def test_training_batches_change_with_the_draw_and_only_with_it() -> None:
    lengths = np.arange(1, 400)  # no two alike: only the noise can change who meets whom
    rng = np.random.default_rng(0)
    first, second = (training_batches(lengths, 8, rng) for _ in range(2))
    again = training_batches(lengths, 8, np.random.default_rng(0))
    assert [b.tolist() for b in first] == [b.tolist() for b in again]
    assert not {frozenset(b) for b in first if min(b) > 50} & {frozenset(b) for b in second}


@pytest.mark.parametrize("lengths", [[], [7]])
def test_training_needs_two_documents(lengths: list[int]) -> None:
    with pytest.raises(DataError, match=f"found {len(lengths)} training document.*give more"):
        training_batches(lengths, 4, np.random.default_rng(0))


def test_training_batch_of_one_is_refused() -> None:
    told = r"'classifier\.training\.batch_size': found 1; .* at least 2"
    with pytest.raises(ConfigError, match=told):
        training_batches([3, 4], 1, np.random.default_rng(0))


@common
@given(st.lists(st.integers(0, 300), max_size=200), st.integers(1, 2_000))
def test_prediction_batches_keep_to_the_budget(lengths: list[int], budget: int) -> None:
    batches = prediction_batches(lengths, budget)
    order = np.concatenate([np.empty(0, np.int64), *batches])
    assert sorted(order) == list(range(len(lengths)))
    assert (np.diff(np.array(lengths)[order]) <= 0).all()
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    for batch in batches[:-1]:
        assert (len(batch) + 1) * max(1, lengths[batch[0]]) > budget, "another would have fitted"


def test_short_documents_in_a_large_batch_are_hardly_padded() -> None:
    lengths = np.random.default_rng(0).integers(5, 50, 2_000)
    read = 0
    for indices in prediction_batches(lengths, 32_768):
        documents = [np.zeros(lengths[i], np.int64) for i in indices]
        batch = packed_batch(documents, 2_048)
        read += sum(chunk.ids.size for chunk in batch)
    assert read < 1.02 * lengths.sum()


def make_documents(lengths: list[int]) -> list[npt.NDArray[np.uint16]]:
    tokens = np.arange(1, 1 + sum(lengths), dtype=np.uint16)
    return np.split(tokens, np.cumsum(lengths)[:-1])


@common
@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=12),
    st.integers(1, 60),
    st.integers(200, 400),
)
def test_training_chunks_hold_every_document_aligned_at_its_end(
    lengths: list[int], window: int, chunk_tokens: int
) -> None:
    documents, grain = make_documents(lengths), min(GRAIN, window)
    batch = bptt_batch(documents, window, chunk_tokens)
    assert sorted(batch.order) == list(range(len(documents)))
    read: list[list[int]] = [[] for _ in documents]
    left, alive_before = -(-max(lengths) // grain) * grain, 0
    for step, chunk in enumerate(batch):
        alive, time = chunk.ids.shape
        assert chunk.ids.dtype == chunk.lengths.dtype == np.int64
        assert alive_before <= alive == len(chunk.lengths)
        assert time == chunk.lengths.max()
        if left - time >= grain:  # only the last tokens are padded
            assert (chunk.lengths == time).all() and step < batch.count - 1
        for row in range(alive):
            read[row].extend(chunk.ids[row, : chunk.lengths[row]])
            assert (chunk.ids[row, chunk.lengths[row] :] == 0).all()
        for row in range(alive_before, alive):  # a new row joins as late as it can
            assert -(-len(documents[batch.order[row]]) // grain) * grain == left
        left, alive_before = left - time, alive
    assert alive_before == len(documents)
    for row, ids in zip(batch.order, read, strict=True):
        np.testing.assert_array_equal(documents[row], ids)


def test_example_of_the_module() -> None:
    batch = ChunkedBatch(make_documents([4, 8, 5]), np.array([5, 8, 5]), 27, window=5)
    assert batch.order.tolist() == [1, 0, 2]
    assert [chunk.ids.tolist() for chunk in batch] == [
        [[5, 6, 7]],
        [[8, 9, 10, 11, 12], [1, 2, 3, 4, 0], [13, 14, 15, 16, 17]],
    ]
    assert [chunk.lengths.tolist() for chunk in batch] == [[3], [5, 4, 5]]
    assert (batch.count, batch.window_count) == (2, 1)


def test_without_a_window_no_chunk_is_in_it() -> None:
    batch = ChunkedBatch(make_documents([1, 3]), np.array([1, 3]), 2, window=0)
    assert [chunk.lengths.tolist() for chunk in batch] == [[2], [1, 1]]
    assert batch.window_count == 0


@common
@given(st.data())
def test_chunks_hold_every_document_from_where_it_joins(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=12))
    spans = np.array([data.draw(st.integers(length, max(lengths))) for length in lengths])
    chunk_tokens = data.draw(st.integers(1, 50))
    window = data.draw(st.none() | st.integers(0, 50))
    documents = make_documents(lengths)
    batch = ChunkedBatch(documents, spans, chunk_tokens, window)
    assert sorted(batch.order) == list(range(len(documents)))
    assert batch.count == len(batch)
    read: list[list[int]] = [[] for _ in documents]
    left = int(spans.max())
    with_gradients = left if window is None else min(left, window)
    for step, chunk in enumerate(batch):
        assert (left <= with_gradients) == (step >= batch.count - batch.window_count)
        assert left <= with_gradients or left - chunk.ids.shape[1] >= with_gradients
        assert chunk.ids.dtype == chunk.lengths.dtype == np.int64
        alive, time = chunk.ids.shape
        assert spans[batch.order[:alive]].tolist() == sorted(
            (span for span in spans if span >= left), reverse=True
        )
        assert 0 < time <= max(1, chunk_tokens // alive)
        for row in range(alive):
            read[row].extend(chunk.ids[row, : chunk.lengths[row]])
            assert (chunk.ids[row, chunk.lengths[row] :] == 0).all()
            ended = len(read[row]) == len(documents[batch.order[row]])
            assert ended or chunk.lengths[row] == time
        left -= time
    assert left == 0
    for row, ids in zip(batch.order, read, strict=True):
        np.testing.assert_array_equal(documents[row], ids)


@common
@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=12),
    st.integers(1, 60),
    st.integers(200, 400),
)
def test_what_gets_gradients_depends_on_nothing_but_a_documents_length(
    lengths: list[int], window: int, chunk_tokens: int
) -> None:
    documents = make_documents(lengths)
    batch = bptt_batch(documents, window, chunk_tokens)
    found = np.zeros(len(documents), np.int64)
    padded = -sum(lengths)
    for step, chunk in enumerate(batch):
        padded += chunk.ids.size
        if step >= batch.count - batch.window_count:
            found[batch.order[: len(chunk.lengths)]] += chunk.lengths
    assert padded <= (GRAIN - 1) * len(documents)
    for document, tokens in zip(documents, found, strict=True):
        alone = bptt_batch([document], window, chunk_tokens)
        of_window = [alone[step].lengths[0] for step in range(-alone.window_count, 0)]
        assert tokens == sum(of_window)
        assert min(len(document), max(1, window - GRAIN + 1)) <= tokens <= window


def cost_of(lengths: list[int], spans: npt.ArrayLike, chunk_cost: int) -> int:
    return int(np.sum(spans) - sum(lengths)) + chunk_cost * len(np.unique(spans))


@common
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 40))
def test_spans_are_the_cheapest_of_all(lengths: list[int], chunk_cost: int) -> None:
    spans = packed_spans(lengths, chunk_cost)
    assert (spans >= lengths).all()
    values = sorted(set(lengths))
    costs = []
    for kept in product([False, True], repeat=len(values) - 1):
        joins = [value for value, keep in zip(values, [*kept, True], strict=True) if keep]
        ways = [min(join for join in joins if join >= length) for length in lengths]
        costs.append(cost_of(lengths, ways, chunk_cost))
    assert cost_of(lengths, spans, chunk_cost) == min(costs)


def test_documents_of_like_length_join_together() -> None:
    assert packed_spans([300, 298, 120, 301, 0], 90).tolist() == [301, 301, 120, 301, 1]
    assert packed_spans([300, 298, 301], 0).tolist() == [300, 298, 301]
    assert packed_spans([], 90).shape == (0,)


def test_chunks_can_be_asked_for_one_by_one() -> None:
    batch = ChunkedBatch(make_documents([9, 2]), np.array([9, 2]), 4)
    assert batch.order.tolist() == [0, 1]
    for step, chunk in enumerate(batch):
        np.testing.assert_array_equal(chunk.ids, batch[step].ids)
    np.testing.assert_array_equal(batch[-1].ids, batch[2].ids)
    with pytest.raises(IndexError):
        batch[3]


def test_a_long_document_is_not_copied_whole() -> None:
    document = np.zeros(1_000_000, np.int64)
    batch = ChunkedBatch([document], np.array([1_000_000]), 70, window=700)
    assert batch.count == 14_286
    assert all(row is document for row in batch._documents)
    assert batch[0].ids.nbytes == 70 * 8
