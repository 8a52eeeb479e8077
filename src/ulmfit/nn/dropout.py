"""Masks of the AWD-LSTM's dropouts (Merity et al. 2017, sections 2, 4.2 and 4.3).

Inverted dropout: a mask holds 0 with probability `p` and 1 / (1 - p) otherwise, so that nothing
is to be rescaled in evaluation. `p` is within [0, 1). `None` stands for a mask of ones (`p` is 0).
"""

from __future__ import annotations

from torch import Tensor


def variational_mask(batch: int, features: int, p: float, like: Tensor) -> Tensor | None:
    """Return a mask [batch, 1, features]: the same features are dropped at all time steps."""
    return _mask((batch, 1, features), p, like)


def embedding_mask(weight: Tensor, p: float) -> Tensor | None:
    """Return a mask [vocab, 1] for `weight` [vocab, features]: whole words are dropped."""
    return _mask((weight.shape[0], 1), p, weight)


def weight_mask(weight: Tensor, p: float) -> Tensor | None:
    """Return a mask of the shape of `weight` (weight drop, also known as DropConnect)."""
    return _mask(tuple(weight.shape), p, weight)


def apply_mask(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return `values` times `mask`; `values` itself where there is none."""
    return values if mask is None else values * mask


def _mask(shape: tuple[int, ...], p: float, like: Tensor) -> Tensor | None:
    if p == 0.0:
        return None
    # Comparing uniform draws is three times as fast on a CPU as `bernoulli_`.
    return like.detach().new_empty(shape).uniform_().ge_(p).div_(1.0 - p)
