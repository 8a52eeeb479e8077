"""TF-IDF over words or runs of characters, and a linear model on it: what counting is worth."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import Task
from ulmfit.data.targets import Targets, dense
from ulmfit.text.types import Text, columns_of

WORDS: Mapping[str, Any] = {"ngram_range": (1, 2)}
"""Words and pairs of words."""

CHARACTERS: Mapping[str, Any] = {"ngram_range": (1, 4), "analyzer": "char_wb"}
"""Runs of up to four characters within words: for languages that put words together, or apart by no
space."""

INVERSE_REGULARIZATION = 30.0
"""Logistic regression's C. Words counted once a document weigh little beside the penalty, and
C = 1 loses several points with few labels."""

MOST_WEIGHTS = 20_000_000
"""Of the linear model: where labels are many, the commonest of what is counted alone. The optimiser
holds twenty times as many numbers."""


class TfidfModel:
    """A classifier without a language model; one core, no random draw.

    The baseline of reports, and the second view of co-training. Columns of a text are joined.
    """

    def __init__(self, task: Task, characters: bool = False) -> None:
        """Choose what is counted, and the linear model for a task.

        Logistic regression, one for each label if there may be several, or ridge for a number.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.pipeline import make_pipeline

        self.task = task
        linear: Any = LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=1000)
        if task.kind == "multi_label":
            linear = OneVsRestClassifier(linear)
        elif task.kind == "number":
            linear = Ridge(alpha=1 / INVERSE_REGULARIZATION)
        counted = CHARACTERS if characters else WORDS
        most = MOST_WEIGHTS // task.outputs
        vectorizer = TfidfVectorizer(**counted, sublinear_tf=True, max_features=most)
        self.model: Any = make_pipeline(vectorizer, linear)

    def fit(self, texts: Iterable[Text], truth: Targets) -> TfidfModel:
        """Learn from texts and what is true of them (`data.targets`).

        Raises `ValueError`, scikit-learn's, for too few documents or labels, or for no words.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Label .* is present in all", UserWarning)
            self.model.fit(map(_plain, texts), dense(truth))
        return self

    def answers(self, texts: Iterable[Text]) -> NDArray[np.float32]:
        """Return what `TextClassifier.predict_proba` would: [texts, outputs]."""
        plain = map(_plain, texts)
        if self.task.kind == "number":
            return np.asarray(self.model.predict(plain), dtype=np.float32)[:, None]
        found = self.model.predict_proba(plain)
        answers = np.zeros((len(found), len(self.task.labels)), dtype=np.float32)
        if self.task.kind == "multi_label":
            answers[:] = found[:, -answers.shape[1] :]  # of a single label, [absent, there]
        else:
            answers[:, self.model[-1].classes_] = found  # those that there were documents of
        return answers


def _plain(text: Text) -> str:
    return "\n".join(columns_of(text))
