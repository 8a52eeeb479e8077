"""Reading documents with a trained encoder: one code path for evaluation and for serving.

Every document is read alone in effect: what stands beside it in a batch never changes the
result, and the order asked is the order answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ulmfit.data.documents import (
    CHUNK_TOKENS,
    GPU_CHUNK_TOKENS,
    TOKEN_BUDGET,
    ChunkedBatch,
    packed_batches,
)
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.nn import awd_lstm
from ulmfit.nn.awd_lstm import AWDLSTM
from ulmfit.nn.language_head import PIECE_ROWS, cross_entropy_in_place
from ulmfit.nn.products import linear
from ulmfit.nn.text_reader import read_document_batch
from ulmfit.training.device import Precision, autocast

Ids = NDArray[np.int64]


def chunk_tensors(batch: ChunkedBatch, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the ids [alive, time] and lengths [alive] of each chunk, on `device`."""
    for chunk in batch:
        yield torch.from_numpy(chunk.ids).to(device), torch.from_numpy(chunk.lengths).to(device)


def chunk_tokens(device: torch.device) -> int:
    """Return the tokens of a chunk, at most, on `device`."""
    return CHUNK_TOKENS if device.type == "cpu" else GPU_CHUNK_TOKENS


@torch.no_grad()
def pool_documents(
    encoder: AWDLSTM,
    documents: Sequence[Ids],
    token_budget: int = TOKEN_BUDGET,
    precision: Precision = "float32",
) -> Iterator[tuple[Ids, Tensor]]:
    """Yield, batch by batch, indices of documents and their pooled outputs [batch, 3 * features].

    `documents` are ids in the order the encoder reads them; `precision` is that of its products.
    """
    device = encoder.embedding.weight.device
    for indices, batch in packed_batches(documents, token_budget, chunk_tokens(device)):
        chunks = chunk_tensors(batch, device)
        with autocast(precision, device, cast_once=True):
            pooled = read_document_batch(
                encoder, chunks, count=batch.count, batch_size=len(indices)
            )
        yield indices, pooled


def encode_documents(
    encoder: AWDLSTM,
    documents: Sequence[Ids],
    token_budget: int = TOKEN_BUDGET,
    precision: Precision = "float32",
) -> NDArray[np.float32]:
    """Return the pooled outputs [documents, 3 * features], in the order given."""
    encoder.eval()
    vectors = np.empty((len(documents), 3 * encoder.config.embedding_size), dtype=np.float32)
    for indices, pooled in pool_documents(encoder, documents, token_budget, precision):
        vectors[indices] = pooled.float().cpu().numpy()
    return vectors


@torch.no_grad()
def score_documents(
    network: LanguageModelNetwork,
    documents: Sequence[Ids],
    token_budget: int = TOKEN_BUDGET,
) -> NDArray[np.float64]:
    """Return each document's negative log-likelihood in nats [documents], its first id given."""
    network.eval()
    device = network.encoder.embedding.weight.device
    scores = np.zeros(len(documents))
    for indices, batch in packed_batches(documents, token_budget, chunk_tokens(device)):
        scores[indices] = _score_batch(network, batch)
    return scores


def _score_batch(network: LanguageModelNetwork, batch: ChunkedBatch) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each row of a batch."""
    weight = network.encoder.embedding.weight
    nll = torch.zeros(len(batch.order), dtype=torch.float64)
    layers, state = network.encoder.prepare(), network.encoder.initial_state(0)
    before = torch.zeros(0, 1, weight.shape[1], device=weight.device)
    fresh = 0
    for ids, lengths in chunk_tensors(batch, weight.device):
        state = awd_lstm.grow(state, len(ids))
        outputs, state = network.encoder(network.encoder.embed(ids), state, layers=layers)
        joined = len(ids) - fresh
        before = torch.cat([before, outputs.new_zeros(joined, 1, outputs.shape[2])])
        inputs = torch.cat([before, outputs[:, :-1]], dim=1)
        scored = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        scored[fresh:, 0] = False  # nothing stands before a document's first id
        losses = _losses(network, inputs[scored], ids[scored])
        nll.index_add_(0, scored.nonzero()[:, 0].cpu(), losses.cpu().double())
        before, fresh = outputs[:, -1:], len(ids)
    return nll.numpy()


def _losses(network: LanguageModelNetwork, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each position [positions], some positions' logits at a time."""
    weight, bias = network.encoder.embedding.weight, network.head.bias
    pieces = zip(torch.split(outputs, PIECE_ROWS), torch.split(targets, PIECE_ROWS), strict=True)
    losses = [
        cross_entropy_in_place(linear(part, weight, bias).float(), target)
        for part, target in pieces
    ]
    return torch.cat(losses)
