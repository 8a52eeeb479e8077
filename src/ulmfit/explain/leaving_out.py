"""A document, and itself without each of its windows, read at once by one encoder.

Row by row a document without a window branches off where that window begins: what stands before it
was read for the whole document already, which halves the reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ulmfit.nn import pooling
from ulmfit.nn.awd_lstm import AWDLSTM, LayerPass, State
from ulmfit.nn.pooling import PoolState

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class _Rows:
    """Documents read so far."""

    state: State
    pools: PoolState

    def take(self, chosen: slice) -> _Rows:
        """Return the `chosen` ones."""
        state = tuple((hidden[chosen], cell[chosen]) for hidden, cell in self.state)
        return _Rows(state, PoolState(*(each[chosen] for each in _tensors(self.pools))))

    def followed_by(self, others: _Rows) -> _Rows:
        """Return these and then the others."""
        pairs = zip(self.state, others.state, strict=True)
        state = tuple((torch.cat([a, c]), torch.cat([b, d])) for (a, b), (c, d) in pairs)
        pools = zip(_tensors(self.pools), _tensors(others.pools), strict=True)
        return _Rows(state, PoolState(*map(torch.cat, pools)))

    def read(self, encoder: AWDLSTM, layers: Sequence[LayerPass], ids: Tensor) -> _Rows:
        """Return them when all have read the same further `ids` [time]."""
        count = len(self.pools.count)
        vectors = encoder.embed(ids[None]).expand(count, -1, -1)
        outputs, state = encoder(vectors, self.state, layers=layers)
        lengths = torch.full((count,), len(ids), device=ids.device)
        return _Rows(state, pooling.pool(self.pools, outputs, lengths))


@torch.no_grad()
def pool_without_each(
    encoder: AWDLSTM, ids: Ids, windows: Ids, bptt: int
) -> tuple[list[int], Tensor]:
    """Return the windows in the order they are read, and pooled outputs [1 + windows, features].

    The first row is the whole document, `ids` [time] in the order the encoder reads them; the
    others are without one window each. `windows` [time] numbers the window of each id; an id of
    window -1 is never left out. A window's ids stand together but for those of window -1.
    """
    device = encoder.embedding.weight.device
    pools = pooling.initial(1, encoder.config.embedding_size, like=encoder.embedding.weight)
    rows = _Rows(encoder.initial_state(1), pools)
    layers = encoder.prepare()
    left_out: list[int] = []
    cuts = np.flatnonzero(np.diff(windows)) + 1
    cuts = np.union1d(cuts, np.arange(bptt, len(ids), bptt)).astype(np.int64)
    for piece, (window, *_) in zip(np.split(ids, cuts), np.split(windows, cuts), strict=True):
        further = torch.from_numpy(piece).to(device)
        if window < 0:
            rows = rows.read(encoder, layers, further)
        elif left_out and window == left_out[-1]:
            without = rows.take(slice(-1, None))
            rows = rows.take(slice(-1)).read(encoder, layers, further).followed_by(without)
        else:
            without = rows.take(slice(1))
            rows = rows.read(encoder, layers, further).followed_by(without)
            left_out.append(int(window))
    return left_out, pooling.finish(rows.pools)


def _tensors(pools: PoolState) -> list[Tensor]:
    return [getattr(pools, each.name) for each in fields(pools)]
