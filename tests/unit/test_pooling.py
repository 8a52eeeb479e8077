"""Concat pooling: against numpy's own means and maxima, in pieces, with rows that join."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ulmfit.nn import pooling
from ulmfit.nn.pooling import PoolState


def pooled(outputs: Tensor, lengths: Tensor) -> Tensor:
    return pooling.finish(pooling.pool(start(outputs), outputs, lengths))


def start(outputs: Tensor) -> PoolState:
    return pooling.initial(len(outputs), outputs.shape[2], like=outputs)


def plain(outputs: Tensor, lengths: Tensor) -> Tensor:
    rows = [row[:n] for row, n in zip(outputs, lengths.tolist(), strict=True)]
    return torch.stack([torch.cat([row[-1], row.amax(0), row.mean(0)]) for row in rows])


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(deadline=None)
def test_equals_plain_pooling_of_the_real_positions(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    outputs = torch.randn(len(lengths), 6, 3, dtype=torch.float64)
    real = torch.tensor(lengths)
    torch.testing.assert_close(pooled(outputs, real), plain(outputs, real), rtol=1e-12, atol=0)


@pytest.mark.parametrize("junk", [1e9, -1e9, float("inf"), float("nan")])
def test_padding_never_counts(junk: float) -> None:
    outputs = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([5, 2])
    padded = outputs.detach().clone()
    padded[1, 2:] = junk
    padded.requires_grad_()
    torch.testing.assert_close(pooled(padded, lengths), pooled(outputs, lengths), rtol=0, atol=0)
    torch.autograd.backward(pooled(padded, lengths).square().sum())
    assert padded.grad is not None
    assert padded.grad[1, 2:].eq(0).all()
    assert padded.grad[:, 0].ne(0).any()


def test_all_negative_outputs_keep_their_maximum() -> None:
    outputs = -torch.rand(1, 4, 3) - 1
    assert pooled(outputs, torch.tensor([2]))[0, 3:6].max() < -1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_whole_piece_is_pooled_as_one_with_padding(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    outputs, lengths = torch.randn(3, 7, 4).to(dtype), torch.tensor([7, 7, 7])
    padded, first = torch.cat([outputs, torch.full((3, 1, 4), 9.0, dtype=dtype)], 1), start(outputs)
    found, expected = (pooling.pool(first, values, lengths) for values in (outputs, padded))
    for name in ("last", "maximum", "total", "count"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@given(cuts=st.lists(st.integers(1, 9), max_size=5), seed=st.integers(0, 99))
@settings(deadline=None)
def test_in_pieces_equals_at_once(cuts: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    outputs = torch.randn(3, 10, 4, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([10, 7, 1])
    state, bounds = start(outputs), [0, *sorted(set(cuts)), 10]
    for begin, end in pairwise(bounds):
        here = (lengths - begin).clamp(0, end - begin)
        state = pooling.pool(state, outputs[:, begin:end], here)
    pieces, whole = pooling.finish(state), pooled(outputs, lengths)
    torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(whole)
    got, expected = (torch.autograd.grad((p * weights).sum(), outputs) for p in (pieces, whole))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_rows_that_join_later() -> None:
    first, second = torch.randn(1, 4, 3), torch.randn(3, 4, 3)
    state = pooling.pool(start(first), first, torch.tensor([4]))
    lengths = torch.tensor([3, 4, 2])
    got = pooling.finish(pooling.pool(pooling.grow(state, 3), second, lengths))
    long = pooled(torch.cat([first, second[:1]], dim=1), torch.tensor([7]))
    torch.testing.assert_close(got[:1], long)
    torch.testing.assert_close(got[1:], pooled(second[1:], lengths[1:]))


def test_a_row_that_read_nothing_is_zero() -> None:
    outputs = torch.randn(2, 3, 4)
    result = pooled(outputs, torch.tensor([3, 0]))
    assert result.isfinite().all()
    assert result[1].eq(0).all()


@pytest.mark.parametrize(
    ("given_type", "kept"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_sums_are_single_precision_at_least(given_type: torch.dtype, kept: torch.dtype) -> None:
    outputs = torch.ones(1, 5000, 1, dtype=given_type)
    result = pooled(outputs, torch.tensor([5000]))
    assert result.dtype == kept
    assert result.tolist() == [[1.0, 1.0, 1.0]]
