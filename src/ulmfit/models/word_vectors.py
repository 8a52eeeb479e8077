"""Word vectors from the company that words keep, for a language model to begin with.

A language model that sees a word a few hundred times has little to place it by; counting all pairs
of neighbours in 10^8 tokens takes a minute. The counts, as positive pointwise mutual information,
are factored by a truncated SVD (Levy, Goldberg & Dagan 2015, sections 2.2 and 3.2): words in like
company get like vectors.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ulmfit.data.token_store import count_ids

WINDOW = 4
"""Tokens on each side that count as neighbours; one at distance d counts 1 / d."""

CONTEXTS = 8192
"""So many of the most frequent words count as neighbours: it bounds the memory."""

SMOOTHING = 0.75
"""Power of the neighbours' frequencies (Levy et al. 2015, section 3.2)."""

COUNTED_TOKENS = 100_000_000
"""Tokens that are counted at most."""

BLOCK_TOKENS = 4_000_000
"""Tokens counted at a time."""


SCALE = 0.5
"""Root mean square of an embedding's entries at the start, near that of a trained one. Chosen by
the loss after 350,000 tokens: smaller ones take far longer to be used (`benchmarks/LOG.md`)."""


def counted_weights(
    tokens: NDArray[np.integer], frequencies: NDArray[np.int64], features: int
) -> dict[str, Tensor]:
    """Return what the counts of a text tell of a language model's weights, by their names.

    The embedding [vocab, features] and the decoder's bias [vocab], the logarithm of each word's
    share. `tokens` [n] are the ids of all texts, `frequencies` [vocab] how often each occurs.
    """
    shares = torch.from_numpy(frequencies + 1.0)
    vectors = word_vectors(tokens, len(frequencies), features)
    return {
        "encoder.embedding.weight": vectors * SCALE * features**0.5,
        "head.bias": (shares / shares.sum()).log().float(),
    }


def word_vectors(tokens: NDArray[np.integer], vocab_size: int, features: int) -> Tensor:
    """Return a vector of length 1 for each word, [vocab_size, features], by its neighbours.

    `tokens` [n] are the ids of all texts, one behind the other. A word without neighbours, and
    features beyond the number of words, are drawn at random.
    """
    tokens = tokens[:COUNTED_TOKENS]
    frequencies = count_ids(tokens, vocab_size)
    contexts = np.argsort(-frequencies, kind="stable")[:CONTEXTS]
    scores = positive_pmi(torch.from_numpy(neighbour_counts(tokens, vocab_size, contexts)))
    rank = min(features, *scores.shape)
    left, strengths, _ = torch.svd_lowrank(scores, q=min(rank + 44, *scores.shape), niter=3)
    vectors = 1e-3 * torch.randn(vocab_size, features)
    vectors[:, :rank] += left[:, :rank] * strengths[:rank].sqrt()
    return torch.nn.functional.normalize(vectors, dim=1)


def neighbour_counts(
    tokens: NDArray[np.integer], vocab_size: int, contexts: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Count the neighbours of each word: [vocab_size, contexts], near ones more than far ones."""
    column = np.full(vocab_size, -1, dtype=np.int64)
    column[contexts] = np.arange(len(contexts))
    counts = np.zeros(vocab_size * len(contexts), dtype=np.float32)
    for begin in range(0, len(tokens), BLOCK_TOKENS):
        block = tokens[begin : begin + BLOCK_TOKENS + WINDOW].astype(np.int64)
        for distance in range(1, WINDOW + 1):
            left, right = block[:-distance][:BLOCK_TOKENS], block[distance:][:BLOCK_TOKENS]
            for word, neighbour in ((left, right), (right, left)):
                places = word * len(contexts) + column[neighbour]
                cells, times = np.unique(places[column[neighbour] >= 0], return_counts=True)
                counts[cells] += times.astype(np.float32) / distance
    return counts.reshape(vocab_size, len(contexts))


def positive_pmi(counts: Tensor) -> Tensor:
    """Turn counts [words, contexts] into max(0, log p(c|w) / p(c)), in their own memory.

    The neighbours' probabilities are smoothed; a word without neighbours gets zeros.
    """
    totals = counts.sum(1, keepdim=True).clamp(min=1.0)
    expected = counts.sum(0) ** SMOOTHING
    expected = (expected / expected.sum()).clamp(min=1e-12)
    return counts.div_(totals).div_(expected).clamp_(min=1.0).log_()
