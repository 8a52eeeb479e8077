from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ulmfit.config.model import Dropout, EncoderConfig
from ulmfit.models import reading
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.models.reading import encode_documents, pool_documents, score_documents

Ids = NDArray[np.int64]
LENGTHS = [1, 2, 3, 6, 7, 8, 13, 14, 15, 29, 2, 1, 40]


@pytest.fixture(scope="module")
def network() -> LanguageModelNetwork:
    torch.manual_seed(0)
    config = EncoderConfig(vocab_size=50, embedding_size=6, hidden_size=9, layers=2)
    network = LanguageModelNetwork(config, Dropout())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return network


@pytest.fixture(scope="module")
def documents() -> list[Ids]:
    rng = np.random.default_rng(0)
    return [np.concatenate([[2], rng.integers(4, 50, n - 1)]) for n in LENGTHS]


def token_by_token(network: LanguageModelNetwork, ids: Ids) -> tuple[NDArray[np.float64], float]:
    """Outputs [tokens, features] and negative log-likelihood: LSTM equations in float64."""
    encoder = network.encoder
    embedding = encoder.embedding.weight.detach().double().numpy()
    bias = network.head.bias.detach().double().numpy()
    layers = [[p.detach().double().numpy() for p in layer.parameters()] for layer in encoder.layers]
    state = [(np.zeros(w.shape[1]), np.zeros(w.shape[1])) for _, w, _, _ in layers]
    outputs: list[NDArray[np.float64]] = []
    nll = 0.0
    for place, token in enumerate(ids):
        if place:
            scores = embedding @ outputs[-1] + bias
            nll += float(np.log(np.exp(scores).sum()) - scores[token])
        x = embedding[token]
        for i, (w, u, b, c) in enumerate(layers):
            hidden, cell = state[i]
            gates = np.split(w @ x + u @ hidden + b + c, 4)
            sigmoid = [1 / (1 + np.exp(-gate)) for gate in gates]
            cell = sigmoid[1] * cell + sigmoid[0] * np.tanh(gates[2])
            x = sigmoid[3] * np.tanh(cell)
            state[i] = (x, cell)
        outputs.append(x)
    return np.array(outputs), nll


def test_scores_equal_those_of_reading_token_by_token(
    network: LanguageModelNetwork, documents: Sequence[Ids]
) -> None:
    expected = [token_by_token(network, ids)[1] for ids in documents]
    np.testing.assert_allclose(score_documents(network, documents), expected, rtol=1e-5)
    assert expected[0] == 0.0


@pytest.mark.parametrize("budget", [1, 20, 90, 10_000])
def test_a_score_does_not_depend_on_the_neighbours(
    network: LanguageModelNetwork, documents: Sequence[Ids], budget: int
) -> None:
    alone = [score_documents(network, [ids])[0] for ids in documents]
    found = score_documents(network, documents, token_budget=budget)
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)


def test_a_score_does_not_depend_on_the_pieces_that_logits_are_made_in(
    network: LanguageModelNetwork, documents: Sequence[Ids], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = score_documents(network, documents)
    for rows in (1, 3):
        monkeypatch.setattr(reading, "PIECE_ROWS", rows)
        found = score_documents(network, documents)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_score_does_not_depend_on_the_length_of_a_chunk(
    network: LanguageModelNetwork, documents: Sequence[Ids], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = score_documents(network, documents)
    for chunk_tokens in (2, 5, 13):
        monkeypatch.setattr("ulmfit.models.reading.CHUNK_TOKENS", chunk_tokens)
        found = score_documents(network, documents)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk_tokens", [1, 40, 10_000])
def test_vectors_are_the_last_the_largest_and_the_mean_output(
    network: LanguageModelNetwork,
    documents: Sequence[Ids],
    chunk_tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ulmfit.models.reading.CHUNK_TOKENS", chunk_tokens)
    outputs = [token_by_token(network, ids)[0] for ids in documents]
    expected = [np.concatenate([o[-1], o.max(0), o.mean(0)]) for o in outputs]
    found = encode_documents(network.encoder, documents)
    assert found.dtype == np.float32 and found.shape == (len(documents), 18)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("chunk_tokens", [1, 40, 10_000])
@pytest.mark.parametrize("budget", [1, 20, 90, 10_000])
def test_vectors_do_not_depend_on_the_neighbours(
    network: LanguageModelNetwork,
    documents: Sequence[Ids],
    budget: int,
    chunk_tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ulmfit.models.reading.CHUNK_TOKENS", chunk_tokens)
    alone = [encode_documents(network.encoder, [ids])[0] for ids in documents]
    found = encode_documents(network.encoder, documents, token_budget=budget)
    np.testing.assert_allclose(found, alone, atol=1e-6)


def test_no_documents_give_nothing(network: LanguageModelNetwork) -> None:
    assert score_documents(network, []).shape == (0,)
    assert encode_documents(network.encoder, []).shape == (0, 18)


def test_reading_leaves_no_gradients_and_no_dropout(
    network: LanguageModelNetwork, documents: Sequence[Ids]
) -> None:
    network.train()
    first = score_documents(network, documents)
    network.train()
    np.testing.assert_array_equal(first, score_documents(network, documents))
    network.train()
    second = encode_documents(network.encoder, documents)
    np.testing.assert_array_equal(second, encode_documents(network.encoder, documents))
    for _, pooled in pool_documents(network.encoder, documents):
        assert not pooled.requires_grad
    assert torch.is_grad_enabled()
