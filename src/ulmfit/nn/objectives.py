"""What a classifier with one label a document learns, and what it answers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def loss(
    logits: Tensor,
    targets: Tensor,
    class_weights: Tensor | None = None,
    smoothing: float = 0.0,
    sample_weights: Tensor | None = None,
) -> Tensor:
    """Return the mean cross-entropy of `logits` [batch, classes] and `targets` [batch].

    `class_weights` [classes] weigh each document by its class; the mean is the weighted one.
    `sample_weights` [batch] are factors on the losses of the documents: a batch of heavy ones
    counts more than one of light ones.
    `smoothing`, within [0, 1), is the share of the target spread over all classes. The loss is
    computed in float32 at least.
    """
    exact = _exact(logits)
    if class_weights is not None:
        class_weights = class_weights.to(exact)
    if sample_weights is None:
        return F.cross_entropy(exact, targets, weight=class_weights, label_smoothing=smoothing)
    losses = F.cross_entropy(
        exact, targets, weight=class_weights, label_smoothing=smoothing, reduction="none"
    )
    total = len(targets) if class_weights is None else class_weights[targets].sum()
    return (losses * sample_weights.to(exact)).sum() / total


def probabilities(logits: Tensor) -> Tensor:
    """Return the softmax [batch, classes] of `logits`, in float32 at least."""
    return _exact(logits).softmax(dim=1)


def _exact(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
