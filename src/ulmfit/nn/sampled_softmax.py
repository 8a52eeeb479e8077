"""The loss of a language model over a sample of the words, in place of all of them.

Much of a step's time goes into the scores of words that nobody would expect. Here the frequent
words always count, and of the others a few, drawn anew for each step; a drawn word's term in the
sum of the softmax is divided by its chance of being drawn, so that the sum is right on average
(Horvitz & Thompson 1952; for language models, Bengio & Senécal 2008). The target's term is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ulmfit.nn.language_head import IGNORED

ALWAYS = 1 / 3
"""Share of the sample that the most frequent words take, always."""


class WordSample(NamedTuple):
    """The words that stand for all in a training step."""

    ids: Tensor
    """int64 [words]."""

    log_chances: Tensor
    """The logarithm of each one's chance of being drawn, [words]."""


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
    own = (hidden * F.embedding(target, weight)).sum(1) + bias[target]
    corrected = bias[sample.ids] - sample.log_chances
    others = F.linear(hidden, F.embedding(sample.ids, weight), corrected)
    others = others.masked_fill(target.unsqueeze(1) == sample.ids, -torch.inf)
    dtype = torch.promote_types(others.dtype, torch.float32)
    own, others = own.to(dtype), others.to(dtype)
    return (torch.logaddexp(own, others.logsumexp(1)) - own).sum(), scored.sum()
