"""What a classifier learns and what it answers: one label, several labels, or a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Objective(Protocol):
    """The loss of the head's outputs, and the answers they stand for."""

    def loss(self, logits: Tensor, targets: Tensor, sample_weights: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch; `sample_weights` [batch] are factors on its documents'.

        A batch of heavy documents counts more than one of light ones. Computed in float32 at
        least.
        """

    def answers(self, logits: Tensor) -> Tensor:
        """Return what `logits` [batch, outputs] say, of their shape, in float32 at least."""


@dataclass(frozen=True)
class SingleLabel:
    """Exactly one of the labels: softmax and cross-entropy; targets are classes [batch], int64."""

    class_weights: Tensor | None = None
    """Factors [classes] on each document's loss, by its class; the mean is the weighted one."""

    smoothing: float = 0.0
    """Share of the target spread over all classes, within [0, 1)."""

    focusing: float = 0.0
    """Gamma of the focal loss (Lin et al. 2017, equation 4): a document's loss times
    (1 - p)^gamma, p being the probability of its class. 0: the plain cross-entropy."""

    def loss(self, logits: Tensor, targets: Tensor, sample_weights: Tensor | None = None) -> Tensor:
        """Return the mean cross-entropy of `logits` [batch, classes]."""
        exact = _exact(logits)
        weights = None if self.class_weights is None else self.class_weights.to(exact)
        losses = F.cross_entropy(
            exact, targets, weight=weights, label_smoothing=self.smoothing, reduction="none"
        )
        if self.focusing:
            right = exact.log_softmax(1).gather(1, targets[:, None])[:, 0]
            losses = losses * _focal(-right.expm1(), self.focusing)
        if sample_weights is not None:
            losses = losses * sample_weights.to(exact)
        return losses.sum() / (len(targets) if weights is None else weights[targets].sum())

    def answers(self, logits: Tensor) -> Tensor:
        """Return the softmax [batch, classes]."""
        return _exact(logits).softmax(dim=1)


@dataclass(frozen=True)
class MultiLabel:
    """Any of the labels, or none: a sigmoid each; targets are 0 or 1, [batch, labels]."""

    class_weights: Tensor | None = None
    """Factors [labels] on the loss of a label where it is there."""

    smoothing: float = 0.0
    """Targets are drawn from 0 and 1 towards a half by this share, within [0, 1)."""

    focusing: float = 0.0
    """Gamma of the focal loss, of each label by itself; see `SingleLabel`."""

    def loss(self, logits: Tensor, targets: Tensor, sample_weights: Tensor | None = None) -> Tensor:
        """Return the mean binary cross-entropy over documents and labels."""
        exact, truth = _exact(logits), targets.to(_exact(logits))
        weights = None if self.class_weights is None else self.class_weights.to(exact)
        losses = F.binary_cross_entropy_with_logits(
            exact,
            truth * (1 - self.smoothing) + self.smoothing / 2,
            pos_weight=weights,
            reduction="none",
        )
        if self.focusing:
            wrong = torch.where(truth > 0.5, -exact, exact).sigmoid()
            losses = losses * _focal(wrong, self.focusing)
        if sample_weights is not None:
            losses = losses * sample_weights.to(exact)[:, None]
        return losses.mean()

    def answers(self, logits: Tensor) -> Tensor:
        """Return each label's probability [batch, labels]."""
        return _exact(logits).sigmoid()


@dataclass(frozen=True)
class Number:
    """A number between two others: a sigmoid stretched over them; targets are numbers [batch]."""

    lowest: float
    highest: float

    def loss(self, logits: Tensor, targets: Tensor, sample_weights: Tensor | None = None) -> Tensor:
        """Return the mean squared error in units of the range, of `logits` [batch, 1]."""
        exact = _exact(logits)
        wanted = (targets.to(exact) - self.lowest) / (self.highest - self.lowest)
        losses = (exact[:, 0].sigmoid() - wanted) ** 2
        if sample_weights is not None:
            losses = losses * sample_weights.to(exact)
        return losses.mean()

    def answers(self, logits: Tensor) -> Tensor:
        """Return the numbers [batch, 1]."""
        return self.lowest + (self.highest - self.lowest) * _exact(logits).sigmoid()


def _focal(wrong: Tensor, gamma: float) -> Tensor:
    """Return `wrong` to the power of gamma; away from 0, where a root has no slope."""
    return wrong.clamp_min(torch.finfo(wrong.dtype).eps) ** gamma


def _exact(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
