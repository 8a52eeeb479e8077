"""Counted operations against PyTorch's own counter, on an LSTM written as products."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ulmfit.config.model import EncoderConfig
from ulmfit.nn.operations import decoder_operations, encoder_operations

CONFIG = EncoderConfig(vocab_size=50, embedding_size=6, hidden_size=10, layers=3)
SIZES = [(6, 10), (10, 10), (10, 6)]
TIME, BATCH = 4, 3


def counted(trainable: set[int] | None) -> int:
    """Products of the layers over all time steps, and back; gates stand in as a sum."""
    weights = [(torch.randn(4 * n, m), torch.randn(4 * n, n)) for m, n in SIZES]
    for place, pair in enumerate(weights):
        for weight in pair:
            weight.requires_grad_(trainable is not None and place in trainable)
    outputs: Tensor = torch.randn(TIME, BATCH, SIZES[0][0])
    outputs.requires_grad_(trainable is not None and -1 in trainable)
    with FlopCounterMode(display=False) as counter:
        for (into, recurrent), (_, size) in zip(weights, SIZES, strict=True):
            gates = outputs @ into.T
            # Not carried over time: each step's product, and its gradients, count the same.
            hidden = gates.reshape(TIME, BATCH, 4, size).sum(2)
            outputs = (gates + hidden @ recurrent.T).reshape(TIME, BATCH, 4, size).sum(2)
        if outputs.requires_grad:
            outputs.sum().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


@pytest.mark.parametrize("trainable", [None, {-1, 0, 1, 2}, {0, 1, 2}, {1, 2}, {0}, {-1}])
def test_operations_are_those_of_the_products(trainable: set[int] | None) -> None:
    assert counted(trainable) == TIME * BATCH * encoder_operations(CONFIG, trainable)


def test_frozen_layers_cost_no_way_back() -> None:
    reading = encoder_operations(CONFIG)
    assert encoder_operations(CONFIG, []) == reading
    for fewer, more in itertools.pairwise([[], [2], [1, 2], [0, 1, 2], [-1, 0, 1, 2]]):
        assert encoder_operations(CONFIG, fewer) < encoder_operations(CONFIG, more)
    assert encoder_operations(CONFIG, [-1, 0, 1, 2]) == 3 * reading


def test_the_decoder_counts_its_words() -> None:
    assert decoder_operations(CONFIG, 50, training=False) == 2 * 6 * 50
    assert decoder_operations(CONFIG, 20, training=True) == 3 * 2 * 6 * 20
