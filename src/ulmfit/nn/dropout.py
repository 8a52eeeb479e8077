"""Masks of the AWD-LSTM's dropouts (Merity et al. 2017, sections 2, 4.2 and 4.3).

Inverted dropout: a mask holds 0 with probability `p` and 1 / (1 - p) otherwise, so that nothing
is to be rescaled in evaluation. `p` is within [0, 1). `None` stands for a mask of ones (`p` is 0).
"""

from __future__ import annotations

from math import prod

import torch
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
    """Return `values` times `mask`, in their dtype; `values` itself where there is none."""
    return values if mask is None else values * mask.to(values.dtype)


def _mask(shape: tuple[int, ...], p: float, like: Tensor) -> Tensor | None:
    if p == 0.0:
        return None
    if like.device.type == "cpu":
        return _kept(prod(shape), p).view(shape).to(like.dtype).mul_(1.0 / (1.0 - p))
    return like.detach().new_empty(shape).uniform_().ge_(p).div_(1.0 - p)


def _kept(count: int, p: float) -> Tensor:
    """Return so many Booleans on the CPU, false with probability `p` to 2^-16, at least that.

    One draw of 64 bits decides four: half the time of `uniform_`, a sixth of that of `bernoulli_`.
    """
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    dropped = max(1, round(p * 2**16))  # of the 2^16 values of an int16, from the lowest
    return draws.view(torch.int16)[:count].gt(dropped - 1 - 2**15)
