"""An LSTM's training pass written out, for wide layers in bfloat16 on a processor.

oneDNN adds to the gradients of the weights at every time step, which moves the whole matrices
through memory each time: where they are large and rows few, that takes longer than the products.
Here the gates' gradients are kept, and the weights' made of them all in one product; so are the
inputs' shares of the gates. What is left for each time step is the recurrent product, with a matrix
that is laid out once for all of them.

The equations are those of `torch.nn.LSTM`, its gates in the same order. Products and gates are in
the dtype of the inputs; cells and their gradients in float32 at least.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ulmfit.nn.products import prepared_linear

WIDE = 3_000_000
"""Weights from which this is faster than oneDNN (`benchmarks/LOG.md`): with 32 rows 1.25 times with
3.3 million, with fewer rows up to 1.5; with 2.3 million it is so with many rows alone."""

BLOCK = 8
"""Time steps whose slopes are made at once: as many as the processor's cache holds."""

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
        product = prepared_linear(weight_ih, time * batch, bias)
        gates = product(inputs.flatten(0, 1)).view(time, batch, 4, size)
        outputs = inputs.new_empty(time, batch, size)
        cells = inputs.new_empty(time + 1, batch, size, dtype=exact)
        cells[0] = cell
        recurrent, last, shown = prepared_linear(weight_hh, batch), hidden, torch.empty_like(cell)
        for step, before, after, output in zip(gates, cells[:-1], cells[1:], outputs, strict=True):
            enter, forget, change, leave = step.unbind(1)
            step.add_(recurrent(last).view_as(step))
            step[:, :2].sigmoid_()
            change.tanh_()
            leave.sigmoid_()
            torch.mul(before, forget, out=after).addcmul_(enter, change)
            last = torch.mul(_tanh(after, out=shown), leave, out=output)
        ctx.save_for_backward(inputs, hidden, weight_ih, weight_hh, gates, cells, outputs)
        return outputs, cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_outputs: Tensor, of_cell: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` was given; those not needed are `None`."""
        inputs, hidden, weight_ih, weight_hh, gates, cells, outputs = ctx.saved_tensors
        of_gates, of_first_cell = _back_through_time(
            of_outputs, of_cell.to(cells.dtype), weight_hh, gates, cells
        )
        flat, needed = of_gates.flatten(0, 1), ctx.needs_input_grad
        before = torch.cat([hidden.unsqueeze(0), outputs[:-1]]).flatten(0, 1)
        return (
            prepared_linear(weight_ih.T, len(flat))(flat).view_as(inputs) if needed[0] else None,
            of_gates[0] @ weight_hh if needed[1] else None,
            of_first_cell if needed[2] else None,
            flat.T @ inputs.flatten(0, 1) if needed[3] else None,
            flat.T @ before if needed[4] else None,
            flat.sum(0) if needed[5] else None,
        )


def _back_through_time(
    of_outputs: Tensor, of_cell: Tensor, weight_hh: Tensor, gates: Tensor, cells: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the gates before their activations, and of the first cell.

    They are [time, batch, 4 * size] and [batch, size]. `of_outputs` [time, batch, size] and
    `of_cell` [batch, size] are those of the outputs and of the last cell; `gates` [time, batch, 4,
    size] hold the activations, `cells` [time + 1, batch, size] the cells.
    """
    time, batch = gates.shape[:2]
    found, of_cell, later = torch.empty_like(gates), of_cell.clone(), None
    recurrent = prepared_linear(weight_hh.T, batch)
    for start in reversed(range(0, time, BLOCK)):
        block = slice(start, min(time, start + BLOCK))
        before, after = cells[:-1][block], cells[1:][block]
        steps = zip(
            of_outputs[block],
            found[block],
            gates[block, :, 1],
            *_slopes(gates[block].to(cells.dtype), before, after),
            strict=True,
        )
        for of_hidden, of_step, forget, slope, through in reversed(list(steps)):
            if later is not None:
                of_hidden = recurrent(later).add_(of_hidden)
            of_cell.addcmul_(of_hidden, through)
            torch.mul(slope[:, :3], of_cell.unsqueeze(1), out=of_step[:, :3])
            torch.mul(slope[:, 3], of_hidden, out=of_step[:, 3])
            of_cell.mul_(forget)
            later = of_step.flatten(1)
    return found.flatten(2), of_cell


def _slopes(gates: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each gate before its activation adds to the cell or, the last, to the output.

    And what the cell adds to the output: [time, batch, 4, size] and [time, batch, size], from the
    activations `gates` and the cells `before` and `after` each step.
    """
    enter, forget, change, leave = gates.unbind(2)
    found, shown = torch.empty_like(gates), _tanh(after, out=torch.empty_like(after))
    of_enter, of_forget, of_change, of_leave = found.unbind(2)
    sigmoid_backward(change, enter, grad_input=of_enter)
    sigmoid_backward(before, forget, grad_input=of_forget)
    tanh_backward(enter, change, grad_input=of_change)
    sigmoid_backward(shown, leave, grad_input=of_leave)
    return found, tanh_backward(leave, shown, grad_input=shown)


def _tanh(values: Tensor, out: Tensor) -> Tensor:
    """Return the hyperbolic tangent in `out`, in a quarter of the time of PyTorch's own."""
    return torch.mul(values, 2, out=out).sigmoid_().mul_(2).sub_(1)
