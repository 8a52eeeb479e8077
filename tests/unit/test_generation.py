from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ulmfit.errors import ConfigError
from ulmfit.models.generation import next_token

NUMBERS = st.floats(-20, 20, width=32)
LOGITS = st.lists(NUMBERS, min_size=2, max_size=12).map(torch.tensor)
DRAWS = 60


def draws(
    logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, count: int = DRAWS
) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    return [next_token(logits, temperature, top_k, top_p, generator) for _ in range(count)]


@settings(deadline=None)
@given(LOGITS, st.integers(0, 12), st.floats(0.01, 1.0))
def test_temperature_zero_takes_the_likeliest(logits: Tensor, top_k: int, top_p: float) -> None:
    assert set(draws(logits, 0.0, top_k, top_p, count=3)) == {int(logits.argmax())}


@settings(max_examples=50, deadline=None)
@given(LOGITS, st.integers(1, 12), st.sampled_from([0.5, 1.0, 3.0]))
def test_top_k_draws_among_the_k_likeliest(logits: Tensor, top_k: int, temperature: float) -> None:
    order = logits.sort(descending=True).values
    smallest = order[min(top_k, len(order)) - 1]
    least = float(smallest) - 1e-9  # nearer than that, two are as likely
    assert all(float(logits[token]) >= least for token in draws(logits, temperature, top_k))


@settings(max_examples=50, deadline=None)
@given(LOGITS, st.floats(0.01, 0.999), st.sampled_from([0.5, 1.0, 3.0]))
def test_top_p_draws_among_the_likeliest_that_reach_it(
    logits: Tensor, top_p: float, temperature: float
) -> None:
    p = (logits.double() / temperature).softmax(0)
    for token in set(draws(logits, temperature, top_p=top_p)):
        likelier = float(p[p > p[token]].sum())
        assert likelier < top_p + 1e-9


@settings(max_examples=20, deadline=None)
@given(LOGITS)
@example(torch.tensor([-2.3558e-32, 0.0]))  # as likely, to the last bit
def test_one_of_top_k_or_a_tiny_top_p_is_the_likeliest(logits: Tensor) -> None:
    largest = float(logits.max())
    for token in (*draws(logits, top_k=1, count=5), *draws(logits, top_p=1e-9, count=5)):
        assert float(logits[token]) == largest


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_draws_have_the_probabilities_of_the_logits(temperature: float) -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    expected = (logits / temperature).softmax(0).numpy()
    found = np.bincount(draws(logits, temperature, count=5_000), minlength=4) / 5_000
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_top_k_and_top_p_leave_the_ratios_as_they_were() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    by_k = np.bincount(draws(logits, top_k=2, count=5_000), minlength=4) / 5_000
    np.testing.assert_allclose(by_k, [5 / 8, 3 / 8, 0, 0], atol=0.03)
    by_p = np.bincount(draws(logits, top_p=0.9, count=5_000), minlength=4) / 5_000
    np.testing.assert_allclose(by_p, [50 / 95, 30 / 95, 15 / 95, 0], atol=0.03)


def test_a_token_of_no_probability_is_never_drawn() -> None:
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 1.0])
    for options in ({}, {"top_k": 3}, {"top_p": 0.9999}, {"temperature": 1e30}):
        assert set(draws(logits, **options)) <= {1, 3}


def test_a_tiny_temperature_is_like_none() -> None:
    assert set(draws(torch.tensor([3.0, 5.0, -80.0]), temperature=1e-320)) == {1}


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(-1.0, 0, 1.0), (1.0, -1, 1.0), (1.0, 0, 0.0), (1.0, 0, 1.5)],
)
def test_wrong_settings_are_refused(temperature: float, top_k: int, top_p: float) -> None:
    with pytest.raises(ConfigError, match="a top_p above 0 and at most 1"):
        draws(torch.zeros(3), temperature, top_k, top_p)


@settings(max_examples=50, deadline=None)
@given(LOGITS, st.floats(0.01, 1.0), st.sampled_from([0.5, 1.0, 3.0]))
def test_min_p_draws_among_those_near_the_likeliest(
    logits: Tensor, min_p: float, temperature: float
) -> None:
    p = (logits.double() / temperature).softmax(0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        token = next_token(logits, temperature, 0, 1.0, generator, min_p)
        assert float(p[token]) >= min_p * float(p.max()) * (1 - 1e-6)
