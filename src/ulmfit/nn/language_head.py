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

from ulmfit.nn.dropout import variational_mask
from ulmfit.nn.products import dtype_of_products, linear

IGNORED = -100
"""A target that is not scored."""

PIECE_ROWS = 1024
"""Positions of a piece. Measured with 16,000 and 60,000 words (`benchmarks/LOG.md`): products of
fewer rows are slower, and of row counts that no power of two divides, such as 533, by a half."""

BIAS_COLUMNS = 8
"""Features added for the bias's gradient: one does it, eight keep a GPU's matrices aligned."""

PIECE_BYTES_ON_GPU = 512_000_000
"""Size of a piece's logits on a GPU, which small pieces leave idle."""


class LanguageHead(nn.Module):
    """Scores of each word as the next one: the embedding's matrix transposed, and a bias.

    The matrix belongs to the encoder, which counts and saves it; it is given at each call.
    """

    def __init__(self, vocab_size: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.bias = nn.Parameter(torch.zeros(vocab_size))

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
        `piece_rows`: positions a piece, by default `PIECE_ROWS`; on a GPU `PIECE_BYTES_ON_GPU`.
        """
        hidden, targets = outputs.flatten(0, -2), targets.flatten()
        rows = piece_rows or PIECE_ROWS
        if weight.is_cuda and not piece_rows:
            rows = max(1, PIECE_BYTES_ON_GPU // (len(weight) * weight.element_size()))
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
        """Scale the kept gradients, each laid out row by row."""

        def scaled(gradient: Tensor) -> Tensor:
            result = torch.empty_like(gradient, memory_format=torch.contiguous_format)
            return torch.mul(gradient, scale.to(gradient.dtype), out=result)

        return (*(None if g is None else scaled(g) for g in ctx.saved_tensors), None, None)


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
    `hidden`, `weight` and `bias` to make; the others are `None`. Under autocast products and
    probabilities are in its dtype; loss and sums are in float32 at least.
    """
    exact = torch.promote_types(hidden.dtype, torch.float32)
    fast = dtype_of_products(hidden)
    total = hidden.new_zeros((), dtype=exact)
    of_hidden = torch.empty_like(hidden) if needed[0] else None
    # The bias is the weight of one more feature. Transposed: the quicker way round for oneDNN.
    features, words = weight.shape[1], len(weight)
    summed = weight.new_zeros(features + BIAS_COLUMNS, words) if any(needed[1:]) else None
    with torch.autocast(hidden.device.type, enabled=False):
        matrix, offset = weight.to(fast), bias.to(fast)
        for start in range(0, len(hidden), rows):
            part, target = hidden[start : start + rows].to(fast), targets[start : start + rows]
            logits = linear(part, matrix, offset)
            if not any(needed):
                total += cross_entropy_in_place(logits.to(exact), target).sum()
                continue
            scored = (target != IGNORED).unsqueeze(1)
            loss, slope = cross_entropy_and_slope(logits, target, exact)
            total += loss
            if of_hidden is not None:
                of_hidden[start : start + rows] = linear(slope, matrix.T) * scored
            if summed is not None:
                part = torch.cat([part, part.new_ones(len(part), BIAS_COLUMNS)], 1) * scored
                summed += linear(part.T, slope.T)
    of_weight = summed[:features].T if summed is not None and needed[1] else None
    of_bias = summed[features] if summed is not None and needed[2] else None
    return total, (of_hidden, of_weight, of_bias)


def cross_entropy_in_place(logits: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each position [positions], 0 of one that is not scored.

    On a CPU `logits` [positions, vocab] are worked over where they lie: they are large.
    """
    log_p = torch.log_softmax(logits, 1, out=None if logits.is_cuda else logits)
    return F.nll_loss(log_p, target, ignore_index=IGNORED, reduction="none")


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


def cross_entropy_and_slope(
    logits: Tensor, target: Tensor, exact: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy, in `exact`, and its gradient for the logits, in their dtype.

    The gradient is the softmax less 1 at the target; in rows that are not scored it means nothing.
    All words are gone over as few times as can be, on a CPU in the logits' own place. Of a target
    the softmax has no number for (below 1e-38) the loss is that number's.
    """
    rows = torch.arange(len(target), device=target.device)
    at_target = rows, target.clamp(min=0)
    if logits.dtype == torch.float16:
        # Its numbers end at 6e-8, and many targets are rarer: the denominator of the softmax is
        # read off the most probable word.
        top, own = logits.amax(1).to(exact), logits[at_target].to(exact)
        slope = logits.softmax(1)
        log_p = own - top + slope.amax(1).to(exact).log()
    else:
        slope = torch.softmax(logits, 1, out=None if logits.is_cuda else logits)
        log_p = slope[at_target].to(exact).clamp(min=torch.finfo(torch.float32).tiny).log()
    slope[at_target] = log_p.expm1().to(slope.dtype)
    return -log_p.masked_fill(target == IGNORED, 0.0).sum(), slope


def _mean_square(values: Tensor, real: Tensor) -> Tensor:
    """Return the mean square of `values` [batch, time, features] where `real`; 0 of none."""
    squares = values.to(torch.promote_types(values.dtype, torch.float32)).square()
    count = (real.sum() * values.shape[2]).clamp(min=1)
    return squares.masked_fill(~real.unsqueeze(2), 0.0).sum() / count
