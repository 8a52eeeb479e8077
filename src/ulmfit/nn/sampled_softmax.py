"""The loss of a language model over a sample of the words, in place of all of them.

Much of a step's time goes into the scores of words that nobody would expect. Here the frequent
words always count, and of the others a few, drawn anew for each step; a drawn word's term in the
sum of the softmax is divided by its chance of being drawn, so that the sum is right on average
(Horvitz & Thompson 1952; for language models, Bengio & Senécal 2008). The target's term is exact.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ulmfit.nn.language_head import BIAS_COLUMNS, IGNORED, cross_entropy_and_slope
from ulmfit.nn.products import dtype_of_products, linear

ALWAYS = 1 / 3
"""Share of the sample that the most frequent words take, always."""

COLUMNS = 64
"""Scores of a position are a multiple of so many."""


class WordSample(NamedTuple):
    """The words that stand for all in a training step."""

    ids: Tensor
    """int64 [words], in ascending order."""

    log_chances: Tensor
    """The logarithm of each one's chance of being drawn, [words]."""

    def places(self, words: Tensor) -> Tensor:
        """Return where in the sample `words` [positions] stand; -1 for those not drawn."""
        found = torch.searchsorted(self.ids, words)
        return torch.where(F.pad(self.ids, (0, 1), value=-1)[found] == words, found, -1)


def chances(frequencies: Tensor, size: int) -> Tensor:
    """Return each word's chance [vocab] of being in a sample of about `size` words.

    1 for the most frequent, a third of `size`; the others in proportion to the root of their
    `frequencies` [vocab], a word that was never seen counting as seen once.
    """
    found = torch.ones_like(frequencies, dtype=torch.float64)
    if size < len(frequencies):
        rare = torch.argsort(frequencies, descending=True, stable=True)[int(size * ALWAYS) :]
        roots = frequencies[rare].double().clamp(min=1.0).sqrt()
        found[rare] = _shares(roots, size - int(size * ALWAYS))
    return found.float()


def _shares(weights: Tensor, size: int) -> Tensor:
    """Return probabilities in proportion to `weights`, at most 1, that add up to `size`."""
    shares, certain = torch.zeros_like(weights), torch.zeros_like(weights, dtype=torch.bool)
    while True:
        left = size - int(certain.sum())
        shares = torch.where(certain, 1.0, weights * left / weights[~certain].sum())
        if not (shares[~certain] > 1.0).any():
            return shares
        certain |= shares > 1.0


def draw_sample(chances: Tensor) -> WordSample:
    """Draw each word by its chance [vocab], independently of the others."""
    ids = torch.nonzero(torch.rand_like(chances) < chances).squeeze(1)
    return WordSample(ids, chances[ids].log())


def sampled_loss(
    outputs: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, sample: WordSample
) -> tuple[Tensor, Tensor]:
    """Return the summed negative log-likelihood of `targets`, estimated, and how many were scored.

    As `LanguageHead.loss`: `outputs` [batch, time, embedding], `targets` [batch, time], -100 where
    nothing is scored, `weight` [vocab, embedding], `bias` [vocab].
    """
    scored = targets.flatten() != IGNORED
    hidden, target = outputs.flatten(0, -2)[scored], targets.flatten()[scored]
    # Looked up at once, they make one gradient of the whole matrix, and not two.
    vectors = F.embedding(torch.cat([sample.ids, target]), weight)
    matrix, of_target = torch.split(vectors, [len(sample.ids), len(target)])
    own = (hidden * of_target).sum(1) + bias[target]
    offset = bias[sample.ids] - sample.log_chances
    total: Tensor = SampledLoss.apply(hidden, own, matrix, offset, sample.places(target))  # type: ignore[no-untyped-call]
    return total, scored.sum()


class SampledLoss(torch.autograd.Function):
    """`apply(hidden, own, matrix, offset, places)`: the loss of targets beside sampled words.

    The gradients are made on the way forward, in the place of the scores, which are in the dtype
    of the products.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, own: Tensor, matrix: Tensor, offset: Tensor, places: Tensor
    ) -> Tensor:
        """Return the summed loss of targets that score `own` [positions].

        The words beside them score `hidden` [positions, features] @ `matrix` [words, features].T +
        `offset` [words]. At its `places` [positions] a target is one of these, which does not count
        there; -1 where it is none.
        """
        exact, fast = torch.promote_types(own.dtype, torch.float32), dtype_of_products(hidden)
        words, features = matrix.shape
        # Then a column for the target, and at least one for no word. How many words are drawn
        # differs each time: rounded up, the products have shapes for which kernels are at hand.
        columns = COLUMNS * ((words + 1) // COLUMNS + 1)
        added = columns - words
        with torch.autocast(hidden.device.type, enabled=False):
            rows, matrix = hidden.to(fast), F.pad(matrix.to(fast), (0, 0, 0, added))
            scores = linear(rows, matrix, F.pad(offset.to(fast), (0, added), value=-inf))
            scores[:, words] = own.to(fast)
            scores[torch.arange(len(scores), device=scores.device), places] = -inf
            target = torch.full_like(places, words)
            total, slope = cross_entropy_and_slope(scores, target, exact)
            rows = torch.cat([rows, rows.new_ones(len(rows), BIAS_COLUMNS)], 1)
            summed = linear(rows.T, slope.T)[:, :words].to(exact)
            ctx.save_for_backward(
                linear(slope, matrix.T).to(hidden.dtype),
                slope[:, words].to(own.dtype),
                summed[:features].T,
                summed[features],
            )
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the kept gradients."""
        return (*(gradient * scale.to(gradient.dtype) for gradient in ctx.saved_tensors), None)
