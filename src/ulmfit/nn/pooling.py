"""Concat pooling of the outputs, [h_T, maxpool(H), meanpool(H)], as an explicit state.

Howard & Ruder 2018, section 3.3. Lengths decide which positions count: padding never does, and
pooling a text in pieces gives what pooling it at once gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PoolState:
    """What the positions read so far come to; float32 at least."""

    last: Tensor
    """The output at the last real position, [batch, features]."""

    maximum: Tensor
    """The largest of each feature, [batch, features]; at first, minus infinity."""

    total: Tensor
    """The sum of the outputs, [batch, features]."""

    count: Tensor
    """How many real positions there were, int64 [batch]."""


def initial(batch: int, features: int, like: Tensor) -> PoolState:
    """Return the state of `batch` rows that have read nothing, on the device of `like`."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    zeros = like.new_zeros(batch, features, dtype=dtype)
    return PoolState(
        last=zeros,
        maximum=torch.full_like(zeros, -torch.inf),
        total=zeros,
        count=like.new_zeros(batch, dtype=torch.int64),
    )


def pool(state: PoolState, outputs: Tensor, lengths: Tensor) -> PoolState:
    """Add `outputs` [batch, time, features], of which row i has `lengths[i]` real positions.

    `lengths` is int64 [batch], each within [0, time]; a row of length 0 stays as it is.
    """
    dtype = state.total.dtype
    if _is_whole(outputs, lengths):  # gone over as they are, not copied
        last, for_maximum, for_total = outputs[:, -1].to(dtype), outputs, outputs
    else:
        outputs = outputs.to(dtype)
        time = torch.arange(outputs.shape[1], device=outputs.device)
        padding = (time >= lengths.unsqueeze(1)).unsqueeze(2)
        ends = (lengths - 1).clamp(min=0)
        last = outputs[torch.arange(len(outputs), device=outputs.device), ends]
        last = torch.where((lengths > 0).unsqueeze(1), last, state.last)
        for_maximum = outputs.masked_fill(padding, -torch.inf)
        for_total = outputs.masked_fill(padding, 0.0)
    return PoolState(
        last=last,
        maximum=torch.maximum(state.maximum, for_maximum.amax(1).to(dtype)),
        total=state.total + for_total.sum(1, dtype=dtype),
        count=state.count + lengths,
    )


def _is_whole(outputs: Tensor, lengths: Tensor) -> bool:
    """Tell whether nothing is padded, where that is known at once and no gradients are wanted."""
    is_quick = outputs.device.type == "cpu" and not outputs.requires_grad
    return is_quick and bool((lengths == outputs.shape[1]).all())


def grow(state: PoolState, batch: int) -> PoolState:
    """Return `state` with rows that have read nothing added at the end, `batch` in all."""
    added = batch - len(state.count)
    return PoolState(
        last=F.pad(state.last, (0, 0, 0, added)),
        maximum=F.pad(state.maximum, (0, 0, 0, added), value=-torch.inf),
        total=F.pad(state.total, (0, 0, 0, added)),
        count=F.pad(state.count, (0, added)),
    )


def finish(state: PoolState) -> Tensor:
    """Return [last, maximum, mean], [batch, 3 * features]; zeros for a row that read nothing."""
    count = state.count.unsqueeze(1)
    maximum = state.maximum.masked_fill(count == 0, 0.0)
    return torch.cat([state.last, maximum, state.total / count.clamp(min=1)], dim=1)
