"""The language model's head: decoder tied to the embedding, its loss, AR and TAR.

The loss (`TiedLoss`) never holds the logits of all positions: it goes over the positions in pieces
and, where gradients are wanted, makes them with each piece, while its logits are at hand.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ulmfit.nn.dropout import apply_mask, variational_mask

IGNORED = -100
"""A target that is not scored."""

PIECE_BYTES = 32_000_000
"""Size of a piece's logits. Measured on a CPU with 16,000 words: the fastest; from 2^25 bytes on,
the allocator gives memory back after each piece, and larger pieces are slower."""

PIECE_BYTES_ON_GPU = 512_000_000
"""The same on a GPU, which small pieces leave idle."""


class LanguageHead(nn.Module):
    """Scores of each word as the next one: the embedding's matrix transposed, and a bias.

    The matrix belongs to the encoder, which counts and saves it; it is given at each call.
    """

    def __init__(self, vocab_size: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def drop(self, raw: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the outputs `raw` [batch, time, features], some features dropped at all times.

        In training a mask [batch, 1, features] is drawn unless given.
        """
        return apply_mask(raw, self.draw_mask(len(raw), raw) if mask is None else mask)

    def draw_mask(self, batch_size: int, raw: Tensor) -> Tensor | None:
        """Draw a mask [batch_size, 1, features] for outputs like `raw`; `None` in evaluation."""
        if not self.training:
            return None
        return variational_mask(batch_size, raw.shape[2], self.dropout, raw)

    def logits(self, outputs: Tensor, weight: Tensor) -> Tensor:
        """Return the scores [..., vocab] of the next word after `outputs` [..., embedding].

        `weight` is the embedding's matrix [vocab, embedding].
        """
        return F.linear(outputs, weight, self.bias)

    def loss(
        self, outputs: Tensor, targets: Tensor, weight: Tensor, piece_rows: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the summed negative log-likelihood of `targets` and how many were scored.

        `outputs` [batch, time, embedding] are the dropped-out ones, `targets` [batch, time] the
        next ids, -100 where nothing is scored, `weight` the embedding's matrix [vocab, embedding].
        The sum is a float32 scalar (float64 for float64 outputs), the count an int64 one.
        `piece_rows`: positions a piece, by default as many as `PIECE_BYTES` allow.
        """
        hidden, targets = outputs.flatten(0, -2), targets.flatten()
        size = PIECE_BYTES_ON_GPU if weight.is_cuda else PIECE_BYTES
        rows = piece_rows or max(1, size // (len(weight) * weight.element_size()))
        arguments = (hidden, weight, self.bias, targets, rows)
        if torch.is_grad_enabled():
            total: Tensor = TiedLoss.apply(*arguments)  # type: ignore[no-untyped-call]
        else:
            total, _ = loss_and_gradients(*arguments, (False, False, False))
        return total, (targets != IGNORED).sum()


class TiedLoss(torch.autograd.Function):
    """`loss_and_gradients` for autograd: the gradients are made on the way forward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, rows: int
    ) -> Tensor:
        """Return the summed loss; keep the gradients that are needed."""
        needed = ctx.needs_input_grad[:3]
        total, gradients = loss_and_gradients(hidden, weight, bias, targets, rows, needed)
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the kept gradients."""
        kept = (None if g is None else g * scale.to(g.dtype) for g in ctx.saved_tensors)
        return (*kept, None, None)


def loss_and_gradients(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    rows: int,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None, Tensor | None]]:
    """Return the summed cross-entropy of `hidden` @ `weight`.T + `bias` and its gradients.

    `hidden` [positions, features], `weight` [vocab, features], `bias` [vocab], `targets`
    [positions]; `rows` positions are treated at a time. `needed` says which of the gradients of
    `hidden`, `weight` and `bias` to make; the others are `None`. Under autocast the products are
    in its dtype; loss and sums are in float32 at least.
    """
    exact = torch.promote_types(hidden.dtype, torch.float32)
    device = hidden.device.type
    fast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    total = hidden.new_zeros((), dtype=exact)
    of_hidden = torch.empty_like(hidden) if needed[0] else None
    of_weight = torch.zeros_like(weight) if needed[1] else None
    of_bias = torch.zeros_like(bias) if needed[2] else None
    with torch.autocast(device, enabled=False):
        matrix, offset = weight.to(fast), bias.to(fast)
        for start in range(0, len(hidden), rows):
            part, target = hidden[start : start + rows].to(fast), targets[start : start + rows]
            log_p = F.log_softmax(F.linear(part, matrix, offset), dim=1, dtype=exact)
            total += F.nll_loss(log_p, target, ignore_index=IGNORED, reduction="sum")
            if not any(needed):
                continue
            slope = _softmax_minus_target(log_p, target)
            if of_bias is not None:
                of_bias += slope.sum(0)
            slope = slope.to(fast)
            if of_hidden is not None:
                of_hidden[start : start + rows] = slope @ matrix
            if of_weight is not None:
                _add_product(of_weight, slope.T, part)
    return total, (of_hidden, of_weight, of_bias)


def regularization(
    raw: Tensor, dropped: Tensor, targets: Tensor, alpha: float, beta: float
) -> Tensor:
    """Return AR + TAR, the penalties on activations (Merity et al. 2017, section 4.6).

    AR is `alpha` times the mean square of the `dropped` outputs; TAR is `beta` times the mean
    square of the change of the `raw` ones between time steps. Both are [batch, time, features];
    positions whose `targets` [batch, time] are -100 are padding and do not count.
    """
    real = targets != IGNORED
    penalty = raw.new_zeros((), dtype=torch.promote_types(raw.dtype, torch.float32))
    if alpha:
        penalty = penalty + alpha * _mean_square(dropped, real)
    if beta:
        changes = raw[:, 1:] - raw[:, :-1]
        penalty = penalty + beta * _mean_square(changes, real[:, 1:] & real[:, :-1])
    return penalty


def _softmax_minus_target(log_p: Tensor, target: Tensor) -> Tensor:
    """Return the gradient of the summed loss for the logits, in the memory of `log_p`."""
    scored = (target != IGNORED).unsqueeze(1)
    chosen = target.unsqueeze(1).clamp(min=0)
    slope = log_p.exp_().mul_(scored)
    return slope.scatter_add_(1, chosen, -scored.to(slope.dtype))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add `left` @ `right` to `total`, without a copy where the dtypes allow."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _mean_square(values: Tensor, real: Tensor) -> Tensor:
    """Return the mean square of `values` [batch, time, features] where `real`; 0 of none."""
    squares = values.to(torch.promote_types(values.dtype, torch.float32)).square()
    count = (real.sum() * values.shape[2]).clamp(min=1)
    return squares.masked_fill(~real.unsqueeze(2), 0.0).sum() / count
