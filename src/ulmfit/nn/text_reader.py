"""BPTT for text classification, BPT3C (Howard & Ruder 2018, section 3.3).

A document is read in chunks of the BPTT length, the state carried from chunk to chunk; all chunks
count in the pools, and gradients flow into the last ones: memory is bounded by that window, not by
the document.

The documents of a batch end together, but for padding. The longest come first, so the rows that are
alive at a chunk are the first ones of the batch; shorter documents join later, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ulmfit.nn import awd_lstm, pooling
from ulmfit.nn.awd_lstm import AWDLSTM, Masks


def read_document_batch(
    encoder: AWDLSTM,
    chunks: Iterable[tuple[Tensor, Tensor]],
    *,
    count: int,
    batch_size: int,
    gradient_chunks: int | None = None,
    masks: Masks | None = None,
) -> Tensor:
    """Read a batch of documents and return its pooled outputs [batch, 3 * features].

    `chunks` gives `count` pairs of ids [alive, time] and lengths [alive], `alive` never less than
    before and `batch_size` at last; a row that has ended is padded. They are taken one at a time.
    Gradients flow into the last `gradient_chunks` (`None`: all), as one graph. All chunks are read
    with the same masks; in training, they are drawn here unless given.

    Raises `ValueError` if there are more or fewer than `count` chunks.
    """
    masks = encoder.draw_masks(batch_size) if masks is None else masks
    with_gradients = torch.is_grad_enabled()
    window_start = 0 if gradient_chunks is None else count - gradient_chunks
    layers = encoder.prepare(masks)
    with torch.no_grad():
        early_layers = encoder.prepare(masks) if window_start > 0 else layers
    state = encoder.initial_state(0)
    pools = pooling.initial(0, encoder.config.embedding_size, like=encoder.embedding.weight)
    for step, (ids, lengths) in zip(range(count), chunks, strict=True):
        alive = len(ids)
        seen = masks.rows(slice(alive)) if masks else None
        is_early = step < window_start
        with torch.set_grad_enabled(with_gradients and not is_early):
            vectors = encoder.embed(ids, seen)
            state = awd_lstm.grow(state, alive)
            outputs, state = encoder(vectors, state, seen, early_layers if is_early else layers)
            pools = pooling.pool(pooling.grow(pools, alive), outputs, lengths)
    return pooling.finish(pools)
