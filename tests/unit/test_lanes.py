from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit.config.artefact import BeginMark
from ulmfit.config.model import Direction
from ulmfit.data.lanes import Ints, Lanes, Window, validation_windows
from ulmfit.data.token_store import TokenStore
from ulmfit.errors import DataError
from ulmfit.text.tokenizer import reverse_ids

BEGIN_ID = 2


def make_store(lengths: Sequence[int]) -> TokenStore:
    """Documents [BEGIN, t1 .. tn] whose tokens are all different: each says where it stands."""
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    tokens = np.arange(10, 10 + starts[-1], dtype="<u4")
    tokens[starts[:-1]] = BEGIN_ID
    return TokenStore(tokens, starts, np.zeros((len(lengths), 2), np.int64))


def naive_stream(
    store: TokenStore, documents: Ints, direction: Direction, begin_mark: BeginMark
) -> Ints:
    texts = [store.document(i) for i in documents]
    if direction == "backward":
        texts = [reverse_ids(ids, begin_mark) for ids in texts]
    return np.concatenate(texts)


def epoch_order(lanes: Lanes, epoch: int) -> Ints:
    """The order of documents, found from what one lane of one long window shows."""
    whole = Lanes(
        lanes.store,
        batch_size=1,
        bptt=10**6,
        variable=False,
        direction="forward",
        begin_mark="first",
        seed=lanes.seed,
        documents=lanes.documents,
    )
    (window,) = whole.windows(epoch)
    stream = np.append(window.ids[0], window.targets[0, -1])
    # The token behind each begin mark is known to belong to one document.
    at = np.flatnonzero(stream == BEGIN_ID) + 1
    return np.searchsorted(lanes.store.starts, stream[at] - 10, side="right") - 1


def joined(windows: list[Window]) -> Ints:
    """[lanes, tokens]: what each lane read, its last target included."""
    ids = np.concatenate([w.ids for w in windows], axis=1)
    targets = np.concatenate([w.targets for w in windows], axis=1)
    np.testing.assert_array_equal(ids[:, 1:], targets[:, :-1])
    return np.concatenate([ids, targets[:, -1:]], axis=1)


corpora = st.lists(st.integers(2, 40), min_size=1, max_size=30).map(make_store)
shapes = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 7),
        "bptt": st.integers(2, 30),
        "direction": st.sampled_from(["forward", "backward"]),
        "begin_mark": st.sampled_from(["first", "last"]),
    }
)
common = settings(max_examples=150, deadline=None)


@common
@given(corpora, shapes, st.booleans(), st.integers(0, 3), st.integers(0, 3))
def test_lanes_are_the_shuffled_corpus(
    store: TokenStore, shape: dict[str, Any], variable: bool, seed: int, epoch: int
) -> None:
    if len(store.tokens) < 2 * shape["batch_size"]:
        return
    lanes = Lanes(store, **shape, variable=variable, seed=seed)
    windows = list(lanes.windows(epoch))
    order = epoch_order(lanes, epoch)
    assert sorted(order) == list(range(len(store)))
    stream = naive_stream(store, order, shape["direction"], shape["begin_mark"])
    kept = len(stream) - len(stream) % shape["batch_size"]
    np.testing.assert_array_equal(joined(windows).ravel(), stream[:kept])
    expected = lanes.batch_size * (lanes.lane_length - 1)
    assert sum(w.targets.size for w in windows) == expected
    assert lanes.window_count(epoch) == len(windows)
    assert [w.first for w in windows] == [True] + [False] * (len(windows) - 1)
    assert all(w.ids.dtype == w.targets.dtype == np.int64 for w in windows)


@common
@given(corpora, shapes, st.booleans(), st.data())
def test_starting_at_a_window_gives_the_rest_of_the_epoch(
    store: TokenStore, shape: dict[str, Any], variable: bool, data: st.DataObject
) -> None:
    if len(store.tokens) < 2 * shape["batch_size"]:
        return
    lanes = Lanes(store, **shape, variable=variable, seed=1)
    full = list(lanes.windows(epoch=2))
    start = data.draw(st.integers(0, len(full)))
    rest = list(lanes.windows(epoch=2, start=start))
    assert len(rest) == len(full) - start
    for one, other in zip(rest, full[start:], strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.targets, other.targets)
        assert (one.rate_scale, one.first) == (other.rate_scale, other.first)


@common
@given(corpora, shapes, st.data())
def test_every_validation_token_but_the_first_is_scored_once(
    store: TokenStore, shape: dict[str, Any], data: st.DataObject
) -> None:
    documents = np.array(
        data.draw(st.lists(st.integers(0, len(store) - 1), min_size=1, unique=True))
    )
    stream = naive_stream(store, documents, shape["direction"], shape["begin_mark"])
    windows = list(validation_windows(store, documents=documents, **shape))
    ids = np.concatenate([w.ids for w in windows], axis=1)
    targets = np.concatenate([w.targets for w in windows], axis=1)
    scored = targets != -100
    # Row by row, the scored pairs are the pairs of the stream, each once and in its order.
    np.testing.assert_array_equal(targets[scored], stream[1:])
    np.testing.assert_array_equal(ids[scored], stream[:-1])
    assert Counter(targets[scored]) == Counter(stream[1:])
    assert np.ptp(scored.sum(axis=1)) <= 1
    assert (ids[~scored] == 0).all()
    assert not (~scored[:, :-1]).any(), "padding stands only in the last column"
    assert all(w.ids.shape[1] <= shape["bptt"] and w.rate_scale == 1.0 for w in windows)


@pytest.fixture
def lanes() -> Lanes:
    return make_lanes()


def make_lanes(lengths: Sequence[int] = (200,) * 2000, **changes: Any) -> Lanes:
    values: dict[str, Any] = {
        "batch_size": 4,
        "bptt": 70,
        "variable": True,
        "direction": "forward",
        "begin_mark": "first",
        "seed": 0,
    }
    return Lanes(make_store(lengths), **(values | changes))


def test_variable_lengths_are_those_of_awd_lstm(lanes: Lanes) -> None:
    windows = [w for epoch in range(3) for w in list(lanes.windows(epoch))[:-1]]
    lengths = np.array([w.ids.shape[1] for w in windows])
    assert lengths.min() >= 5 and lengths.max() <= 95
    short = lengths < 52
    assert 0.03 < short.mean() < 0.07
    assert abs(lengths[~short].mean() - 69.5) < 0.5  # drawn around 70, cut to a whole number
    assert abs(lengths[short].mean() - 34.5) < 1.5
    assert 4.5 < lengths[~short].std() < 5.5
    assert all(w.rate_scale == w.ids.shape[1] / 70 for w in windows)


def test_what_is_left_for_the_last_window_has_the_rate_of_the_length_drawn() -> None:
    scales = []
    for epoch in range(50):
        (only,) = make_lanes([12] * 4).windows(epoch)
        assert only.ids.shape == (4, 11)
        scales.append(only.rate_scale)
    drawn = np.array(scales) * 70
    np.testing.assert_allclose(drawn, drawn.round(), atol=1e-9)
    assert 30 < drawn.min() < 52 < drawn.mean() < 72 and drawn.max() <= 95


def test_fixed_lengths_leave_the_rate_alone() -> None:
    windows = list(make_lanes(variable=False).windows(0))
    assert {w.ids.shape for w in windows[:-1]} == {(4, 70)}
    assert 1 <= windows[-1].ids.shape[1] <= 70
    assert {w.rate_scale for w in windows} == {1.0}


def test_order_and_lengths_depend_on_seed_and_epoch_alone(lanes: Lanes) -> None:
    def shown(lanes: Lanes, epoch: int) -> list[bytes]:
        return [w.ids.tobytes() for w in lanes.windows(epoch)]

    assert shown(lanes, 0) == shown(make_lanes(), 0)
    assert shown(lanes, 0) != shown(lanes, 1)
    assert shown(lanes, 0) != shown(make_lanes(seed=1), 0)
    assert lanes.window_count(0) == len(shown(lanes, 0))


def test_documents_choose_a_part_of_the_store() -> None:
    store = make_store([5, 6, 7, 8])
    lanes = Lanes(
        store,
        batch_size=1,
        bptt=4,
        variable=False,
        direction="forward",
        begin_mark="first",
        seed=0,
        documents=np.array([3, 1]),
    )
    seen = set(joined(list(lanes.windows(0))).ravel())
    assert seen == {*store.document(1), *store.document(3)}
    assert lanes.batch_size * (lanes.lane_length - 1) == 13


def test_begin_mark_of_a_reversed_document() -> None:
    store = make_store([4])
    options: dict[str, Any] = {"batch_size": 1, "bptt": 9, "direction": "backward"}
    (first,) = validation_windows(store, begin_mark="first", **options)
    (last,) = validation_windows(store, begin_mark="last", **options)
    assert first.ids.tolist() == [[BEGIN_ID, 13, 12]] and first.targets.tolist() == [[13, 12, 11]]
    assert last.ids.tolist() == [[13, 12, 11]] and last.targets.tolist() == [[12, 11, BEGIN_ID]]


def test_too_small_a_corpus_names_tokens_batch_size_and_remedy() -> None:
    options: dict[str, Any] = {
        "bptt": 5,
        "variable": False,
        "direction": "forward",
        "begin_mark": "first",
    }
    told = r"7 tokens.*'training\.batch_size' 4.*at most 3, or give more text"
    with pytest.raises(DataError, match=told):
        Lanes(make_store([3, 4]), batch_size=4, seed=0, **options)
    with pytest.raises(DataError, match=r"1 tokens.*'training.batch_size' 1.*; give more text"):
        Lanes(make_store([1]), batch_size=1, seed=0, **options)
    Lanes(make_store([3, 5]), batch_size=4, seed=0, **options)


def test_validation_text_of_one_token_is_refused() -> None:
    with pytest.raises(DataError, match="1 tokens, and perplexity needs 2; give more text"):
        validation_windows(
            make_store([1]), batch_size=2, bptt=5, direction="forward", begin_mark="first"
        )


def test_more_validation_lanes_than_targets() -> None:
    (window,) = validation_windows(
        make_store([3]), batch_size=8, bptt=5, direction="forward", begin_mark="first"
    )
    assert window.ids.tolist() == [[BEGIN_ID], [11]]
    assert window.targets.tolist() == [[11], [12]]
