"""BPTT for text classification, BPT3C (Howard & Ruder 2018, section 3.3).

A document is read in chunks, the state carried from chunk to chunk; all chunks count in the pools,
and gradients flow into the last ones, the window: memory is bounded by that, not by the document.

The documents of a batch end together, but for padding. The longest come first, so the rows that are
alive at a chunk are the first ones of the batch; shorter documents join later, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

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
    before and `batch_size` at last; a row that has ended is padded. Gradients flow into the last
    `gradient_chunks` (`None`: all), as one graph; those are read together, layer by layer, the
    others one at a time. All chunks are read with the same masks; in training, they are drawn here
    unless given.

    Raises `ValueError` if there are more or fewer than `count` chunks.
    """
    masks = encoder.draw_masks(batch_size) if masks is None else masks
    numbered = zip(range(count), chunks, strict=True)
    of_window = count if gradient_chunks is None else gradient_chunks
    early = max(0, count - of_window) if torch.is_grad_enabled() else count
    state = encoder.initial_state(0)
    pools = pooling.initial(0, encoder.config.embedding_size, like=encoder.embedding.weight)
    with torch.no_grad():
        layers = encoder.prepare(masks) if early else None
        for _, (ids, lengths) in islice(numbered, early):
            vectors = encoder.embed(ids, masks)
            state = awd_lstm.grow(state, len(ids))
            outputs, state = encoder(vectors, state, masks, layers)
            pools = pooling.pool(pooling.grow(pools, len(ids)), outputs, lengths)
    if window := [chunk for _, chunk in numbered]:
        pieces = _embed_together(encoder, [ids for ids, _ in window], masks)
        read, _ = encoder.read(pieces, awd_lstm.grow(state, batch_size), masks)
        for outputs, (ids, lengths) in zip(read, window, strict=True):
            pools = pooling.pool(pooling.grow(pools, len(ids)), outputs, lengths)
    return pooling.finish(pools)


def _embed_together(
    encoder: AWDLSTM, chunks: Sequence[Tensor], masks: Masks | None
) -> list[Tensor]:
    """Return the word vectors [alive, time, embedding] of chunks of ids [alive, time].

    Looked up at once, they make one gradient of the whole embedding, and not one for each chunk.
    """
    ids = torch.cat([chunk.T.flatten() for chunk in chunks])
    parts = torch.split(encoder.embed(ids, masks), [chunk.numel() for chunk in chunks])
    return [
        part.view(*chunk.T.shape, -1).transpose(0, 1)
        for part, chunk in zip(parts, chunks, strict=True)
    ]
