"""An LSTM's training pass written out, for wide layers in bfloat16 on a processor.

oneDNN adds to the gradients of the weights at every time step, which moves the whole matrices
through memory each time: where they are large and rows few, that takes longer than the products.
Here the gates' gradients are kept, and the weights' made of them all in one product; so are the
inputs' shares of the gates. What is left for each time step is the recurrent product, with a matrix
that is laid out once for all of them.

A batch of documents is read in pieces, of more rows each: further documents join, and the sums over
time go over all pieces at once. Values of all pieces stand one after the other, [positions,
features]: time step by time step, and at each the rows.

The equations are those of `torch.nn.LSTM`, its gates in the same order. Products and gates are in
the dtype of the inputs; cells and their gradients in float32 at least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ulmfit.nn.products import linear, prepared_linear, prepared_sum

WIDE = 2_000_000
"""Weights from which this is faster than oneDNN (`benchmarks/LOG.md`): with 3.3 million up to 1.5
times, with 2.3 million alike on two threads and 1.2 times on one; with 0.9 million it is slower."""

BLOCK = 512
"""Positions whose slopes are made at once: as many as the processor's cache holds."""

Sizes = Sequence[tuple[int, int]]
"""Time steps and rows of each piece; rows never fewer than before."""

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input


class WideLSTM(torch.autograd.Function):
    """`apply(inputs, hidden, cell, weight_ih, weight_hh, bias, sizes)`: outputs and last cell."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor,
        sizes: Sizes,
    ) -> tuple[Tensor, Tensor]:
        """Read `inputs` [positions, features], pieces of `sizes` one after the other.

        A row begins from its `hidden` and `cell`, [rows, size], in the first piece that has it.
        `weight_ih` is [4 * size, features], `weight_hh` [4 * size, size], `bias` the sum of both
        [4 * size]; all but `cell` of one dtype. Returns the outputs [positions, size] in it and
        the last cell [rows, size].
        """
        size = weight_hh.shape[1]
        exact = torch.promote_types(inputs.dtype, torch.float32)
        gates = prepared_linear(weight_ih, len(inputs), bias)(inputs)
        outputs = inputs.new_empty(len(inputs), size)
        recurrent = prepared_sum(weight_hh, len(hidden))
        last, last_cell, cells = hidden[:0], cell[:0], []
        pieces = zip(by_piece(gates, sizes), by_piece(outputs, sizes), sizes, strict=True)
        for gates_of_piece, outputs_of_piece, (time, rows) in pieces:
            cells_of_piece = inputs.new_empty(time + 1, rows, size, dtype=exact)
            cells_of_piece[0] = _with_joining(last_cell, cell, rows)
            last = _with_joining(last, hidden, rows)
            last = _through_time(gates_of_piece, outputs_of_piece, cells_of_piece, last, recurrent)
            last_cell = cells_of_piece[-1]
            cells.append(cells_of_piece)
        ctx.sizes = sizes
        ctx.save_for_backward(inputs, hidden, weight_ih, weight_hh, gates, outputs, *cells)
        return outputs, last_cell.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_outputs: Tensor, of_cell: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` was given; those not needed are `None`."""
        inputs, hidden, weight_ih, weight_hh, gates, outputs, *cells = ctx.saved_tensors
        sizes, needed = ctx.sizes, ctx.needs_input_grad
        of_gates = torch.empty_like(gates)
        of_cell, later = of_cell.to(cells[0].dtype, copy=True), None
        recurrent = prepared_sum(weight_hh.T, len(hidden))
        pieces = [by_piece(values, sizes) for values in (of_gates, of_outputs.contiguous(), gates)]
        for piece in reversed(list(zip(*pieces, cells, strict=True))):
            later = _back_through_time(*piece, of_cell=of_cell, later=later, recurrent=recurrent)
        before = _before_each(hidden, by_piece(outputs, sizes))
        return (
            prepared_linear(weight_ih.T, len(inputs))(of_gates) if needed[0] else None,
            _of_joining(by_piece(of_gates, sizes)) @ weight_hh if needed[1] else None,
            of_cell if needed[2] else None,
            _of_weight(of_gates, inputs) if needed[3] else None,
            _of_weight(of_gates, before) if needed[4] else None,
            of_gates.sum(0) if needed[5] else None,
            None,
        )


def by_piece(values: Tensor, sizes: Sizes) -> list[Tensor]:
    """Return views [time, rows, features] of `values` [positions, features], of `sizes`."""
    parts = torch.split(values, [time * rows for time, rows in sizes])
    return [part.view(*size, -1) for part, size in zip(parts, sizes, strict=True)]


def _by_gate(values: Tensor) -> Tensor:
    """Return a view [time, rows, 4, size] of `values` [time, rows, 4 * size]."""
    return values.view(*values.shape[:2], 4, -1)


def _through_time(
    gates: Tensor,
    outputs: Tensor,
    cells: Tensor,
    last: Tensor,
    recurrent: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Read a piece from the hidden state `last` [rows, size] and return the one after it.

    `gates` [time, rows, 4 * size] hold what the inputs add to them, at the end the activations;
    `outputs` [time, rows, size] and, after the first of them, `cells` [time + 1, rows, size] are
    written.
    """
    shown = torch.empty_like(cells[0])
    gates = _by_gate(gates)
    for step, before, after, output in zip(gates, cells[:-1], cells[1:], outputs, strict=True):
        enter, forget, change, leave = step.unbind(1)
        sums = recurrent(last, step.flatten(1)).view_as(step)
        torch.sigmoid(sums[:, :2], out=step[:, :2])
        torch.tanh(sums[:, 2], out=change)
        torch.sigmoid(sums[:, 3], out=leave)
        torch.mul(before, forget, out=after).addcmul_(enter, change)
        last = torch.mul(_tanh(after, out=shown), leave, out=output)
    return last


def _back_through_time(
    of_gates: Tensor,
    of_outputs: Tensor,
    gates: Tensor,
    cells: Tensor,
    *,
    of_cell: Tensor,
    later: Tensor | None,
    recurrent: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Write the gradients `of_gates` [time, rows, 4 * size] before their activations.

    `of_outputs` [time, rows, size] are those of the outputs; `gates` hold the activations, `cells`
    [time + 1, rows, size] the cells. Of at least these rows, `of_cell` [rows, size] is the gradient
    of the last cell, and becomes that of the first; `later` [rows, 4 * size] is that of the gates
    at the time step that follows, if any. Returns that of the gates at the first.
    """
    time, rows = gates.shape[:2]
    of_cell, later = of_cell[:rows], None if later is None else later[:rows]
    gates, found = _by_gate(gates), _by_gate(of_gates)
    steps_at_once = max(1, BLOCK // rows)
    for start in reversed(range(0, time, steps_at_once)):
        block = slice(start, min(time, start + steps_at_once))
        exact = gates[block].to(cells.dtype)
        slopes = _slopes(exact, cells[:-1][block], cells[1:][block])
        steps = zip(of_outputs[block], found[block], exact[:, :, 1], *slopes, strict=True)
        for of_hidden, of_step, forget, slope, through in reversed(list(steps)):
            if later is not None:
                of_hidden = recurrent(later, of_hidden)
            of_cell.addcmul_(of_hidden, through)
            torch.mul(slope[:, :3], of_cell.unsqueeze(1), out=of_step[:, :3])
            torch.mul(slope[:, 3], of_hidden, out=of_step[:, 3])
            of_cell.mul_(forget)
            later = of_step.flatten(1)
    return of_gates[0]


def _with_joining(last: Tensor, first: Tensor, rows: int) -> Tensor:
    """Return `rows` states: of those that have been read the `last`, of the others the `first`."""
    return torch.cat([last, first[len(last) : rows]])


def _before_each(first: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """Return the hidden state [positions, size] before each time step of all pieces.

    A row's is at `first` that of `first` [rows, size]; `outputs` [time, rows, size] are those of
    each piece.
    """
    found, last = [], first[:0]
    for piece in outputs:
        found += [_with_joining(last, first, piece.shape[1]), piece[:-1].flatten(0, 1)]
        last = piece[-1]
    return torch.cat(found)


def _of_joining(pieces: Sequence[Tensor]) -> Tensor:
    """Return of `pieces` [time, rows, features] each row's first values, [rows, features]."""
    joined, found = 0, []
    for piece in pieces:
        found.append(piece[0, joined:])
        joined = piece.shape[1]
    return torch.cat(found)


def _of_weight(of_outputs: Tensor, inputs: Tensor) -> Tensor:
    """Return the gradient [outputs, features] of a weight, both [positions, ...].

    Transposed: the quicker way round for oneDNN, by a half where the matrix is large.
    """
    return linear(inputs.T, of_outputs.T).T.contiguous()


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
