"""The linear baseline: TF-IDF over words and pairs of words, logistic regression."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from common import Labelled

NGRAMS = (1, 2)
INVERSE_REGULARIZATION = 30.0
"""Logistic regression's C. Words counted once a document weigh little beside the penalty, and
C = 1 loses several points with few labels."""


class Predicted(NamedTuple):
    """What a baseline says of the test texts, and how long it took."""

    labels: list[str]
    seconds: float


def tfidf_logistic_regression(train: Labelled, texts: list[str]) -> Predicted:
    """Learn from `train` and predict the label of each of `texts`; one core, no random draw."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    began = time.perf_counter()
    model: Any = make_pipeline(
        TfidfVectorizer(ngram_range=NGRAMS, sublinear_tf=True),
        LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=1000),
    )
    model.fit(train.texts, train.labels)
    predicted = np.asarray(model.predict(texts)).tolist()
    return Predicted(predicted, time.perf_counter() - began)
