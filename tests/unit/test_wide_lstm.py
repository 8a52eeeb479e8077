"""The LSTM written out against PyTorch's, in double precision and in bfloat16."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ulmfit.config.model import Dropout, EncoderConfig
from ulmfit.errors import ConfigError
from ulmfit.nn import awd_lstm, wide_lstm
from ulmfit.nn.awd_lstm import AWDLSTM
from ulmfit.nn.wide_lstm import WideLSTM, by_piece
from ulmfit.training.device import autocast, resolve_precision

CPU = torch.device("cpu")
Leaves = list[Tensor]
Sizes = list[tuple[int, int]]


def example(sizes: Sizes, features: int, size: int, seed: int = 0) -> Leaves:
    """Inputs, hidden, cell, both matrices and the bias, in float64."""
    torch.manual_seed(seed)
    rows = sizes[-1][1]
    shapes = [
        (sum(time * rows for time, rows in sizes), features),
        (rows, size),
        (rows, size),
        (4 * size, features),
        (4 * size, size),
        (4 * size,),
    ]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def by_pytorch(leaves: Leaves, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Each row by itself, from the piece in which it joins."""
    inputs, hidden, cell, weight_ih, weight_hh, bias = leaves
    weights = [weight_ih, weight_hh, bias, torch.zeros_like(bias)]
    pieces = by_piece(inputs, sizes)
    found = [piece.new_zeros(*piece.shape[:2], hidden.shape[1]) for piece in pieces]
    cells = []
    for row in range(len(hidden)):
        own = [piece[:, row] for piece in pieces if row < piece.shape[1]]
        outputs, _, after = torch.lstm(
            torch.cat(own)[None],
            (hidden[None, row, None], cell[None, row, None]),
            weights,
            True,
            1,
            0.0,
            True,
            False,
            True,
        )
        cells.append(after[0, 0])
        parts = torch.split(outputs[0], [len(part) for part in own])
        for number, part in enumerate(parts, start=len(pieces) - len(parts)):
            found[number] = found[number].select_scatter(part, 1, row)
    return torch.cat([piece.flatten(0, 1) for piece in found]), torch.stack(cells)


def by_hand(leaves: Leaves, sizes: Sizes) -> tuple[Tensor, Tensor]:
    outputs, cell = WideLSTM.apply(*leaves, sizes)  # type: ignore[no-untyped-call]
    return outputs, cell


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    joining=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    features=st.integers(1, 5),
    size=st.integers(1, 5),
    block=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_outputs_and_gradients_equal_pytorchs(
    times: list[int], joining: list[int], features: int, size: int, block: int, seed: int
) -> None:
    rows = np.cumsum([1 + joining[0], *joining[1:]]).tolist()
    sizes = list(zip(times, rows[: len(times)], strict=True))
    leaves = example(sizes, features, size, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide_lstm, "BLOCK", block)
        expected, found = by_pytorch(leaves, sizes), by_hand(leaves, sizes)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        slopes = [torch.randn_like(values) for values in expected]
        torch.testing.assert_close(
            torch.autograd.grad(found, leaves, slopes),
            torch.autograd.grad(expected, leaves, slopes),
            rtol=1e-10,
            atol=1e-11,
        )


def test_gradcheck() -> None:
    sizes = [(2, 1), (3, 2)]
    assert torch.autograd.gradcheck(
        lambda *leaves: by_hand(list(leaves), sizes), example(sizes, 3, 4)
    )


@pytest.mark.parametrize("frozen", range(6))
def test_gradients_that_are_not_needed_are_not_made(frozen: int) -> None:
    sizes = [(3, 2)]
    leaves = example(sizes, 3, 4)
    leaves[frozen].requires_grad_(False)
    outputs, cell = by_hand(leaves, sizes)
    torch.autograd.backward(outputs.sum() + cell.sum())
    assert [leaf.grad is None for leaf in leaves] == [n == frozen for n in range(6)]


def in_bfloat16(wide: int, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Outputs, states and gradients of an encoder of two layers, read in pieces that rows join."""
    try:
        resolve_precision("bfloat16", CPU)
    except ConfigError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(awd_lstm, "WIDE", wide)
    torch.manual_seed(1)
    dropout = Dropout(embedding=0.1, input=0.1, hidden=0.1, weight=0.3, output=0.0)
    encoder = AWDLSTM(
        EncoderConfig(vocab_size=50, embedding_size=24, hidden_size=48, layers=2), dropout
    )
    masks = encoder.draw_masks(6)
    ids = torch.randint(0, 50, (6, 16))
    state, found = None, []
    with autocast("bfloat16", CPU):
        layers = encoder.prepare(masks)
        for part in torch.split(ids, 8, dim=1):
            pieces = [encoder.embed(part[:4, :3], masks), encoder.embed(part[:, 3:], masks)]
            outputs, state = encoder.read(pieces, state, masks, layers)
            found += [values.float() for values in outputs]
    assert state is not None
    loss = sum((values.square().sum() for values in found), state[0][1].square().sum())
    torch.autograd.backward(loss)
    gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
    return [*(values.detach() for values in (*found, *state[0], *state[1])), *gradients]


def test_an_encoder_with_wide_layers_is_the_same_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = in_bfloat16(10**9, monkeypatch)
    found = in_bfloat16(1, monkeypatch)
    assert len(found) == len(expected) == 4 + 4 + 9
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        assert (ours - theirs).norm() <= 0.02 * theirs.norm()
    assert any(not torch.equal(a, b) for a, b in zip(found, expected, strict=True))
