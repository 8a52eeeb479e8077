"""The linear baseline of the reports, timed: TF-IDF over words and pairs, logistic regression."""

from __future__ import annotations

import time
from typing import NamedTuple

from common import Labelled


class Predicted(NamedTuple):
    """What a baseline says of the test texts, and how long it took."""

    labels: list[str]
    seconds: float


def tfidf_logistic_regression(
    train: Labelled, texts: list[str], characters: bool = False
) -> Predicted:
    """Learn from `train` and predict the label of each of `texts`; one core, no random draw.

    `characters`: counts runs of characters in place of words.
    """
    from ulmfit.config.artefact import Task
    from ulmfit.data.answers import decisions
    from ulmfit.data.sources import Document
    from ulmfit.data.targets import targets_of
    from ulmfit.models.tfidf import TfidfModel

    began = time.perf_counter()
    task = Task(labels=tuple(sorted({*train.labels})))
    documents = [Document(text, label, "") for text, label in zip(*train, strict=True)]
    model = TfidfModel(task, characters).fit(train.texts, targets_of(documents, task))
    predicted = decisions(task, model.answers(texts))
    return Predicted(predicted, time.perf_counter() - began)
