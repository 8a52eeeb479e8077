"""An LSTM's training pass written out, for wide layers in bfloat16 on a processor.

oneDNN adds to the gradients of the weights at every time step, which moves the whole matrices
through memory each time: for a thousand units and few rows that takes longer than the products.
Here the gates' gradients are kept, and the weights' made of them all in one product; so are the
inputs' shares of the gates. What is left for each time step is the recurrent product.

The equations are those of `torch.nn.LSTM`, its gates in the same order. Products are in the dtype
of the inputs; gates and cells are computed in float32 at least.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

WIDE = 1_024
"""Units from which this is faster than oneDNN (`benchmarks/LOG.md`): at 1,152, 1.1 to 1.8 times; at
640 it takes 1.4 times as long."""

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input


class WideLSTM(torch.autograd.Function):
    """`apply(inputs, hidden, cell, weight_ih, weight_hh, bias)` gives outputs and the last cell."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Read `inputs` [time, batch, features] from `hidden` and `cell` [batch, size].

        `weight_ih` is [4 * size, features], `weight_hh` [4 * size, size], `bias` the sum of both
        [4 * size]; all but `cell` of one dtype. Returns the outputs [time, batch, size] in it and
        the last cell [batch, size].
        """
        (time, batch, _), size = inputs.shape, weight_hh.shape[1]
        exact = torch.promote_types(inputs.dtype, torch.float32)
        gates = F.linear(inputs, weight_ih, bias)
        outputs = inputs.new_empty(time, batch, size)
        cells = inputs.new_empty(time + 1, batch, size, dtype=exact)
        cells[0] = cell
        step = inputs.new_empty(batch, 4 * size, dtype=exact)
        enter, forget, change, leave = step.chunk(4, dim=1)
        shown = torch.empty_like(cells[0])
        last = hidden
        for t in range(time):
            step.copy_(gates[t].addmm_(last, weight_hh.T))
            step[:, : 2 * size].sigmoid_()
            change.tanh_()
            leave.sigmoid_()
            gates[t] = step
            torch.mul(cells[t], forget, out=cells[t + 1]).addcmul_(enter, change)
            torch.tanh(cells[t + 1], out=shown)
            last = outputs[t].copy_(shown.mul_(leave))
        ctx.save_for_backward(inputs, hidden, weight_ih, weight_hh, gates, cells, outputs)
        return outputs, cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_outputs: Tensor, of_cell: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` was given; those not needed are `None`."""
        inputs, hidden, weight_ih, weight_hh, gates, cells, outputs = ctx.saved_tensors
        slopes = _slopes_of_gates(of_outputs, of_cell.to(cells.dtype), weight_hh, gates, cells)
        of_gates, of_first_cell = slopes
        flat, needed = of_gates.flatten(0, 1), ctx.needs_input_grad
        before = torch.cat([hidden.unsqueeze(0), outputs[:-1]]).flatten(0, 1)
        return (
            (flat @ weight_ih).view_as(inputs) if needed[0] else None,
            of_gates[0] @ weight_hh if needed[1] else None,
            of_first_cell if needed[2] else None,
            flat.T @ inputs.flatten(0, 1) if needed[3] else None,
            flat.T @ before if needed[4] else None,
            flat.sum(0) if needed[5] else None,
        )


def _slopes_of_gates(
    of_outputs: Tensor, of_cell: Tensor, weight_hh: Tensor, gates: Tensor, cells: Tensor
) -> tuple[Tensor, Tensor]:
    """Go back through time.

    Returns the gradients of the gates before their activations [time, batch, 4 * size], and of the
    first cell [batch, size]. `of_outputs` [time, batch, size] and `of_cell` [batch, size] are those
    of the outputs and of the last cell; `gates` [time, batch, 4 * size] hold the activations,
    `cells` [time + 1, batch, size] the cells.
    """
    (time, batch, _), size = gates.shape, weight_hh.shape[1]
    found = torch.empty_like(gates)
    step, slope = (cells.new_empty(batch, 4 * size) for _ in range(2))
    enter, forget, change, leave = step.chunk(4, dim=1)
    of_enter, of_forget, of_change, of_leave = slope.chunk(4, dim=1)
    of_hidden, shown, through = (torch.empty_like(of_cell) for _ in range(3))
    of_cell = of_cell.clone()
    for t in reversed(range(time)):
        later = t + 1 < time
        of_hidden.copy_(
            torch.addmm(of_outputs[t], found[t + 1], weight_hh) if later else of_outputs[t]
        )
        step.copy_(gates[t])
        torch.tanh(cells[t + 1], out=shown)
        torch.mul(of_hidden, shown, out=of_leave)
        torch.mul(of_hidden, leave, out=through)
        of_cell.add_(tanh_backward(through, shown, grad_input=through))
        torch.mul(of_cell, change, out=of_enter)
        torch.mul(of_cell, cells[t], out=of_forget)
        torch.mul(of_cell, enter, out=of_change)
        of_cell.mul_(forget)
        for of_gate, gate, activation_backward in (
            (slope[:, : 2 * size], step[:, : 2 * size], sigmoid_backward),
            (of_change, change, tanh_backward),
            (of_leave, leave, sigmoid_backward),
        ):
            activation_backward(of_gate, gate, grad_input=of_gate)
        found[t] = slope
    return found, of_cell
