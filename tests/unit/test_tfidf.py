"""The linear model over counted words: what is bounded, and what it answers then."""

from __future__ import annotations

import numpy as np
import pytest

from ulmfit.config.artefact import Task
from ulmfit.models import tfidf
from ulmfit.models.tfidf import TfidfModel

TEXTS = ["red apple tree", "red apple", "blue sky", "blue sky above", "old house", "old house here"]
TASK = Task(labels=("colour", "place", "sky"))
TRUTH = np.array([0, 0, 2, 2, 1, 1])


def test_of_many_labels_the_commonest_words_alone_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tfidf, "MOST_WEIGHTS", 3 * 6)
    model = TfidfModel(TASK).fit(TEXTS, TRUTH)
    counted, linear = model.model
    once = {"tree", "apple tree", "above", "sky above", "here", "house here"}
    assert len(counted.vocabulary_) == 6
    assert not once & set(counted.vocabulary_)
    assert linear.coef_.size == 3 * 6
    assert model.answers(TEXTS).argmax(1).tolist() == TRUTH.tolist()


def test_fewer_words_than_the_bound_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {}
    for most in (tfidf.MOST_WEIGHTS, 3 * 1000):
        monkeypatch.setattr(tfidf, "MOST_WEIGHTS", most)
        model = TfidfModel(TASK).fit(TEXTS, TRUTH)
        counted[most] = model.model[0].vocabulary_, model.answers(TEXTS)
    (some, answers), (others, same) = counted.values()
    assert some == others and len(some) == 15
    np.testing.assert_array_equal(answers, same)


def test_a_number_has_the_whole_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfidf, "MOST_WEIGHTS", 4)
    model = TfidfModel(Task(kind="number", range=(0.0, 3.0))).fit(TEXTS, TRUTH.astype(float))
    assert len(model.model[0].vocabulary_) == 4
    assert model.answers(TEXTS).shape == (6, 1)
