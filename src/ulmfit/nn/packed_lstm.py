"""An LSTM that reads without gradients, its weights laid out once for oneDNN.

`torch.lstm` lays them out anew at each call: for a few tokens of one text, as in writing a text
token by token, that takes longer than reading them. The kernel is the same, and so is each bit of
the result. With gradients on, `torch.lstm` takes a slower kernel, which keeps what they need; a
frozen layer needs none.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ulmfit.nn.products import DTYPES, dtype_of_products, is_for_onednn

_LSTM = 2
"""oneDNN's LSTM among PyTorch's kinds of recurrent layers."""


def can_pack(*weights: Tensor) -> bool:
    """Tell whether oneDNN would read with `weights` now, and none of them wants gradients."""
    learn = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
    return not learn and all(
        is_for_onednn(weight) and dtype_of_products(weight) in DTYPES for weight in weights
    )


class PackedLSTM:
    """Reads any number of rows for any time, with the weights as they are at the first call."""

    def __init__(
        self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
    ) -> None:
        """Take weights [4 * size, features], [4 * size, size] and two biases [4 * size].

        Inside autocast they are cast to its dtype, and so will be what is read.
        """
        self._given = weight_ih, weight_hh, bias_ih, bias_hh
        self._dtype, self._size = dtype_of_products(weight_hh), weight_hh.shape[1]

    @cached_property
    def _laid_out(self) -> list[Tensor]:
        """The weights; made when they are about to be used, they are still in the cache then."""
        matrices_and_biases = [values.to(self._dtype) for values in self._given]
        matrices = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight(
            *matrices_and_biases[:2], self._size, reverse=False, has_biases=True, batch_first=False
        )
        return [*matrices, *matrices_and_biases[2:]]

    @torch.no_grad()
    def __call__(
        self, inputs: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read `inputs` [batch, time, features] from `state`, two of [batch, size].

        Returns the outputs [batch, time, size] and the state after the last time step, in the
        dtype of the one before.
        """
        if inputs.numel() == 0:  # oneDNN would divide by it
            return inputs.new_zeros(*inputs.shape[:2], self._size, dtype=self._dtype), state
        hidden, cell = (values.to(self._dtype) for values in state)
        outputs, hidden, cell, _ = torch.ops.aten.mkldnn_rnn_layer(
            inputs.to(self._dtype).transpose(0, 1).contiguous(),
            *self._laid_out,
            hidden,
            cell,
            reverse=False,
            batch_sizes=[],
            mode=_LSTM,
            hidden_size=self._size,
            num_layers=1,
            has_biases=True,
            bidirectional=False,
            batch_first=False,
            train=False,
        )
        return outputs.transpose(0, 1), (hidden.to(state[0].dtype), cell.to(state[1].dtype))
