from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from ulmfit.training.metrics import TokenLoss, accuracy, error, log_loss, macro_f1


def test_a_uniform_guess_has_its_choices_as_perplexity() -> None:
    total = TokenLoss(nll=10 * math.log(50), tokens=10, text_bytes=40, words=5)
    assert total.loss == approx(math.log(50))
    assert total.perplexity == approx(50)
    assert total.word_perplexity == approx(50**2)
    assert total.bits_per_byte == approx(math.log2(50) / 4)


@given(st.integers(1, 5), st.floats(0.01, 8))
def test_bits_per_byte_do_not_depend_on_the_cut_into_tokens(cut: int, nll: float) -> None:
    whole = TokenLoss(nll=nll, tokens=4, text_bytes=9, words=2)
    finer = TokenLoss(nll=nll, tokens=4 * cut, text_bytes=9, words=2)
    assert finer.bits_per_byte == whole.bits_per_byte
    assert finer.word_perplexity == whole.word_perplexity
    assert finer.perplexity <= whole.perplexity


def test_a_loss_too_large_is_infinite_and_one_of_nothing_is_nan() -> None:
    assert TokenLoss(nll=1e6, tokens=1).perplexity == math.inf
    assert TokenLoss(nll=math.inf, tokens=1).perplexity == math.inf
    assert math.isnan(TokenLoss(nll=math.nan, tokens=1).perplexity)
    empty = TokenLoss()
    for value in (empty.loss, empty.perplexity, empty.word_perplexity, empty.bits_per_byte):
        assert math.isnan(value)


def test_accuracy_and_error_by_hand() -> None:
    labels, predicted = np.array([0, 1, 2, 2, 1]), np.array([0, 1, 2, 1, 1])
    assert accuracy(labels, predicted) == approx(0.8)
    assert error(labels, predicted) == approx(0.2)


def test_macro_f1_by_hand_a_missed_class_counts_as_zero() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 0])
    # Class 0: precision 2/3, recall 2/3; class 1: 1/2 and 1; class 2: never predicted.
    assert macro_f1(labels, predicted) == approx((2 / 3 + 2 / 3 + 0) / 3)


def test_log_loss_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5], [0.1, 0.9], [0.25, 0.75]])
    expected = -(math.log(0.5) + math.log(0.9) + math.log(0.25)) / 3
    assert log_loss(np.array([0, 1, 0]), probabilities) == approx(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_of_a_sure_mistake_is_finite(dtype: type[np.floating]) -> None:
    probabilities = np.array([[0.0, 1.0]], dtype=dtype)
    assert log_loss(np.array([0]), probabilities) == approx(-math.log(np.finfo(dtype).eps))


def test_what_cannot_be_compared_is_refused() -> None:
    three, none = np.array([0, 1, 2]), np.array([], dtype=np.int64)
    for measure in (accuracy, error, macro_f1):
        with pytest.raises(ValueError, match="3 labels for 1 predictions"):
            measure(three, np.array([1]))
        with pytest.raises(ValueError, match="0 labels for 0 predictions"):
            measure(none, none)
