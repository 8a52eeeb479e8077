"""LSTMs whose weights are laid out once read as PyTorch's do, to the bit."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ulmfit.config.model import Dropout, EncoderConfig
from ulmfit.errors import ConfigError
from ulmfit.nn import awd_lstm
from ulmfit.nn.awd_lstm import AWDLSTM, LSTMLayer
from ulmfit.nn.packed_lstm import PackedLSTM, can_pack
from ulmfit.nn.products import HAS_ONEDNN
from ulmfit.training.device import Precision, autocast, resolve_precision

CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(not HAS_ONEDNN, reason="PyTorch has no oneDNN here")


@pytest.fixture(params=["float32", "bfloat16"])
def precision(request: pytest.FixtureRequest) -> Precision:
    try:
        return resolve_precision(request.param, CPU)
    except ConfigError as error:
        pytest.skip(str(error))


def state_of(rows: int, size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, size), torch.randn(rows, size)


@needs_onednn
@given(st.integers(1, 40), st.integers(0, 9), st.integers(1, 33), st.integers(1, 33), st.booleans())
def test_all_pieces_are_read_as_pytorch_reads_them(
    time: int, rows: int, features: int, size: int, dropped: bool
) -> None:
    torch.manual_seed(0)
    layer = LSTMLayer(features, size)
    mask = torch.rand_like(layer.weight_hh) if dropped else None
    recurrent = layer.weight_hh if mask is None else layer.weight_hh * mask
    with torch.no_grad():
        read = layer.prepare(mask)
        assert isinstance(read, partial) and isinstance(read.args[0], PackedLSTM)
        for inputs in (torch.randn(rows, time, features), torch.randn(1, 1, features)):
            state = state_of(len(inputs), size)
            torch.testing.assert_close(
                read([inputs], state), layer([inputs], state, recurrent), rtol=0, atol=0
            )


@needs_onednn
def test_an_encoder_is_the_same_to_the_bit(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    shape = EncoderConfig(vocab_size=50, embedding_size=24, hidden_size=48, layers=3)
    encoder = AWDLSTM(shape, Dropout()).eval()
    ids = torch.randint(0, 50, (5, 20))

    def outputs() -> tuple[Tensor, ...]:
        with torch.no_grad(), autocast(precision, CPU):
            found, state = encoder(encoder.embed(ids))
        return (found, *(values for layer in state for values in layer))

    packed = outputs()
    monkeypatch.setattr(awd_lstm, "can_pack", lambda *weights: False)
    torch.testing.assert_close(packed, outputs(), rtol=0, atol=0)
    assert packed[0].dtype == getattr(torch, precision)
    assert {values.dtype for values in packed[1:]} == {torch.float32}


@pytest.mark.filterwarnings("ignore:TF32")
def test_only_what_onednn_reads_without_gradients_is_packed() -> None:
    weight = torch.zeros(4, 1)
    assert can_pack(weight) == HAS_ONEDNN
    with torch.no_grad():
        assert can_pack(weight) == HAS_ONEDNN
        assert not can_pack(weight.double())
        assert not can_pack(weight.to("meta"))
        assert not can_pack(weight, weight.double())
        with torch.backends.mkldnn.flags(enabled=False):
            assert not can_pack(weight)
    learns = weight.clone().requires_grad_()
    assert not can_pack(weight, learns)
    with torch.no_grad():
        assert can_pack(weight, learns) == HAS_ONEDNN


def test_gradients_flow_through_what_is_prepared_with_them() -> None:
    layer = LSTMLayer(3, 4)
    (outputs,), _ = layer.prepare()([torch.randn(2, 5, 3)], state_of(2, 4))
    torch.autograd.backward(outputs.sum())
    assert all(parameter.grad is not None for parameter in layer.parameters())


def frozen_layer(features: int, size: int) -> LSTMLayer:
    layer = LSTMLayer(features, size)
    return layer.requires_grad_(False)


@needs_onednn
def test_a_frozen_layer_is_read_without_gradients(precision: Precision) -> None:
    torch.manual_seed(0)
    layer, inputs, state = frozen_layer(24, 48), torch.randn(5, 20, 24), state_of(5, 48)
    mask = torch.rand_like(layer.weight_hh)
    with autocast(precision, CPU):
        found = layer.prepare(mask)([inputs], state)
        with torch.no_grad():
            expected = layer([inputs], state, layer.weight_hh * mask)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not found[0][0].requires_grad


@pytest.mark.parametrize("wanted", ["inputs", "hidden", "cell"])
def test_gradients_flow_through_a_frozen_layer(wanted: str) -> None:
    torch.manual_seed(0)
    layer, inputs, (hidden, cell) = frozen_layer(3, 4), torch.randn(2, 5, 3), state_of(2, 4)
    values = {"inputs": inputs, "hidden": hidden, "cell": cell}[wanted].requires_grad_()
    (outputs,), _ = layer.prepare()([inputs], (hidden, cell))
    (found,) = torch.autograd.grad(outputs.sum(), values)
    (outputs,), _ = layer([inputs], (hidden, cell), layer.weight_hh)
    (expected,) = torch.autograd.grad(outputs.sum(), values)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert expected.abs().sum() > 0
