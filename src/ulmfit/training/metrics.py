"""What a model is measured by: perplexity weighted by tokens, accuracy, macro F1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class TokenLoss:
    """A language model's loss, summed over tokens, never averaged over batches.

    `perplexity` depends on the tokenizer; `word_perplexity` and `bits_per_byte` do not, and
    compare models of different vocabularies. A measure over nothing is NaN; one too large
    for a float is infinite.
    """

    nll: float = 0.0
    """Sum of the negative log-likelihoods, in nats."""

    tokens: int = 0
    """Tokens scored."""

    text_bytes: int = 0
    """Bytes in UTF-8 of the text that the tokens encode."""

    words: int = 0
    """Words of that text, separated by white space."""

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood of a token, in nats."""
        return _ratio(self.nll, self.tokens)

    @property
    def perplexity(self) -> float:
        """Exponential of the mean loss of a token."""
        return _exp(self.loss)

    @property
    def word_perplexity(self) -> float:
        """Exponential of the loss of a word, whatever tokens it was cut into."""
        return _exp(_ratio(self.nll, self.words))

    @property
    def bits_per_byte(self) -> float:
        """Bits needed for a byte of the text."""
        return _ratio(self.nll / math.log(2), self.text_bytes)


def accuracy(labels: Labels, predicted: Labels) -> float:
    """Return the share of documents whose predicted class is right; both [documents]."""
    _check(labels, predicted)
    return float(np.mean(labels == predicted))


def error(labels: Labels, predicted: Labels) -> float:
    """Return the share of documents whose predicted class is wrong; both [documents]."""
    _check(labels, predicted)
    return float(np.mean(labels != predicted))


def macro_f1(labels: Labels, predicted: Labels) -> float:
    """Return the mean F1 over the classes that occur in either; both [documents].

    A class that is never predicted, or never there, counts as 0.
    """
    from sklearn.metrics import f1_score

    _check(labels, predicted)
    return float(f1_score(labels, predicted, average="macro", zero_division=0.0))


def log_loss(labels: Labels, probabilities: NDArray[np.floating[Any]]) -> float:
    """Return the mean negative log-probability of the right class, in nats.

    `labels` is [documents], `probabilities` [documents, classes]. A probability of 0 counts
    as the smallest step of its float type, so that one document cannot make it infinite.
    """
    _check(labels, probabilities)
    right = probabilities[np.arange(len(labels)), labels]
    floor = np.finfo(right.dtype).eps
    return float(-np.log(np.maximum(right, floor)).mean(dtype=np.float64))


def _ratio(total: float, count: int) -> float:
    return total / count if count else math.nan


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _check(labels: NDArray[Any], predicted: NDArray[Any]) -> None:
    if not 0 < len(labels) == len(predicted):
        raise ValueError(f"{len(labels)} labels for {len(predicted)} predictions")
