from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from ulmfit.models import word_vectors as module
from ulmfit.models.word_vectors import neighbour_counts, positive_pmi, word_vectors


@pytest.mark.parametrize("block", [500, 499, 37, 3, 1])
def test_neighbours_are_counted_by_nearness(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_TOKENS", block)
    tokens = np.random.default_rng(0).integers(12, size=500).astype(np.uint16)
    contexts = np.array([3, 0, 7])
    expected: defaultdict[tuple[int, int], float] = defaultdict(float)
    for place, word in enumerate(tokens.tolist()):
        for other in range(max(0, place - 4), min(len(tokens), place + 5)):
            if other != place and tokens[other] in contexts:
                column = contexts.tolist().index(tokens[other])
                expected[word, column] += 1 / abs(other - place)
    table = np.zeros((12, 3))
    for cell, count in expected.items():
        table[cell] = count
    np.testing.assert_allclose(neighbour_counts(tokens, 12, contexts), table, rtol=1e-5)


def test_positive_pmi_is_its_formula() -> None:
    counts = torch.tensor([[4.0, 1.0], [0.0, 5.0], [0.0, 0.0]])
    smoothed = [4.0**0.75, 6.0**0.75]
    expected = torch.zeros(3, 2)
    for i in range(2):
        for j in range(2):
            if counts[i, j] > 0:
                share = float(counts[i, j] / counts[i].sum())
                expected[i, j] = max(0.0, math.log(share / (smoothed[j] / sum(smoothed))))
    torch.testing.assert_close(positive_pmi(counts.clone()), expected)


def test_words_in_like_company_get_like_vectors() -> None:
    rng = np.random.default_rng(0)
    # Words 4 to 9 stand among 20 to 29, words 10 to 15 among 30 to 39.
    texts = []
    for _ in range(4_000):
        kind = rng.integers(2)
        company = rng.integers(20 + 10 * kind, 30 + 10 * kind, size=4)
        texts += [*company[:2], rng.integers(4 + 6 * kind, 10 + 6 * kind), *company[2:]]
    torch.manual_seed(0)
    vectors = word_vectors(np.array(texts, dtype=np.uint16), 40, 8)
    assert vectors.shape == (40, 8)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(40))
    likeness = vectors @ vectors.T
    assert likeness[4:10, 4:10].mean() > likeness[4:10, 10:16].mean() + 0.5


@pytest.mark.parametrize("features", [3, 60])
def test_few_words_and_many_features(features: int) -> None:
    vectors = word_vectors(np.array([5, 6, 7, 5], dtype=np.uint16), 10, features)
    assert vectors.shape == (10, features) and bool(vectors.isfinite().all())


def test_no_more_is_counted_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(0).integers(20, size=4_000).astype(np.uint16)
    monkeypatch.setattr(module, "COUNTED_TOKENS", 1_000)
    torch.manual_seed(0)
    first = word_vectors(tokens, 20, 4)
    tokens[1_000:] = 3
    torch.manual_seed(0)
    assert torch.equal(word_vectors(tokens, 20, 4), first)
