"""Co-training (Blum & Mitchell 1998): words counted are a second view of the same documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import Task
from ulmfit.data.pseudo_labels import decided, surest
from ulmfit.data.sources import Document
from ulmfit.data.targets import dense, targets_of
from ulmfit.errors import DataError
from ulmfit.models.tfidf import TfidfModel
from ulmfit.text.types import Text

SUREST = 0.5
"""Share of the documents that the linear model learns from: fewer wrong labels, still many."""


def counted_answers(
    counted: Literal["words", "characters"],
    labelled: Sequence[Document],
    texts: Sequence[Text],
    answers: NDArray[np.float32],
    task: Task,
) -> NDArray[np.float32]:
    """Return what a linear model answers of `texts` that learned what classifiers answer of them.

    `answers` [documents, outputs] are those of the classifiers. The model learns from the surest
    half of them, as decided, and from the labelled documents. It errs elsewhere than they do.

    Raises `DataError` where nothing can be learned, for want of words as a rule.
    """
    truth = targets_of(labelled, task)
    kept = surest(task, answers, SUREST, truth)
    taught = [*(document.text for document in labelled), *(texts[place] for place in kept)]
    targets = np.concatenate([dense(truth), decided(task, answers[kept])])
    try:
        return TfidfModel(task, counted == "characters").fit(taught, targets).answers(texts)
    except ValueError as error:  # scikit-learn's
        raise DataError(
            f"setting 'self_training.co_training': found {counted!r}, but a linear model cannot "
            f"learn from the documents: {error}; leave it out"
        ) from None
