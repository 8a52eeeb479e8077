"""Scores gathered in blocks equal scikit-learn's over the whole."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import metrics

from ulmfit.config.artefact import Task
from ulmfit.training.reliability import Reliability, coverage_curve
from ulmfit.training.scores import Scores, scores_for

LABELS = ("a", "b", "c", "never")
CUTS = (0, 7, 8, 60, 100)


def gathered(task: Task, truth: np.ndarray | csr_array, answers: np.ndarray) -> Scores:
    scores = scores_for(task)
    for start, end in pairwise(CUTS):
        scores.add(truth[start:end], answers[start:end])
    assert scores.documents == CUTS[-1]
    return scores


def calibration_error(stated: np.ndarray, right: np.ndarray) -> float:
    """As Guo et al. 2017, equation 3, has it, bin by bin."""
    places = np.minimum(np.floor(stated * 15), 14)
    gaps = [
        abs(right[places == place].mean() - stated[places == place].mean())
        * np.mean(places == place)
        for place in set(places)
    ]
    return float(sum(gaps))


def check_labels(scores: Scores, columns: Any) -> None:
    rows = scores.tables()["labels"]
    assert [row["label"] for row in rows] == list(LABELS)
    for row, expected in zip(rows, zip(*columns, strict=True), strict=True):
        assert list(row) == ["label", "precision", "recall", "f1", "support"]
        assert list(row.values())[1:] == pytest.approx(list(expected))


def test_one_label_a_document() -> None:
    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 3, 100), rng.dirichlet([0.5] * 4, 100)
    scores, decided = gathered(Task(labels=LABELS), truth, answers), answers.argmax(1)
    assert scores.results() == pytest.approx(
        {
            "loss": metrics.log_loss(truth, answers, labels=range(4)),
            "accuracy": metrics.accuracy_score(truth, decided),
            "error": 1 - metrics.accuracy_score(truth, decided),
            "macro_f1": metrics.f1_score(truth, decided, average="macro"),
            "calibration_error": calibration_error(answers.max(1), decided == truth),
        }
    )
    columns = metrics.precision_recall_fscore_support(
        truth, decided, labels=range(4), zero_division=0.0
    )
    check_labels(scores, columns)
    assert scores.tables()["coverage"] == coverage_curve(answers.max(1), decided == truth)


@pytest.mark.parametrize("thresholds", [None, (0.3, 0.5, 0.7, 0.9)])
def test_several_labels_a_document(thresholds: tuple[float, ...] | None) -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random((100, 4)) < [0.6, 0.3, 0.1, 0.0]).astype(np.float32)
    answers = rng.random((100, 4)).astype(np.float32)
    task = Task(kind="multi_label", labels=LABELS, thresholds=thresholds)
    scores = gathered(task, csr_array(truth), answers)
    decided = (answers >= np.array(thresholds or [0.5] * 4)).astype(int)
    assert scores.results() == pytest.approx(
        {
            "loss": np.mean(
                [metrics.log_loss(truth[:, i], answers[:, i], labels=[0, 1]) for i in range(4)]
            ),
            "micro_f1": metrics.f1_score(truth, decided, average="micro"),
            "macro_f1": metrics.f1_score(truth, decided, average="macro", zero_division=0.0),
            "accuracy": metrics.accuracy_score(truth, decided),
            "error": 1 - metrics.accuracy_score(truth, decided),
            "calibration_error": calibration_error(answers.ravel(), truth.ravel() > 0),
        },
        rel=1e-5,
    )
    columns = metrics.precision_recall_fscore_support(truth, decided, zero_division=0.0)
    check_labels(scores, columns)


def test_numbers() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(3, 1, 100)
    answers = (truth + rng.normal(0, 0.5, 100))[:, None].astype(np.float32)
    scores = gathered(Task(kind="number", range=(0, 6)), truth, answers)
    assert scores.results() == pytest.approx(
        {
            "loss": metrics.mean_squared_error(truth, answers),
            "root_mean_square_error": metrics.root_mean_squared_error(truth, answers),
            "mean_absolute_error": metrics.mean_absolute_error(truth, answers),
            "r2": metrics.r2_score(truth, answers),
        },
        rel=1e-5,
    )
    assert scores.tables() == {}


def test_the_spread_of_one_number_is_none() -> None:
    scores = scores_for(Task(kind="number", range=(0, 6)))
    scores.add(np.array([2.0]), np.array([[2.5]]))
    assert np.isnan(scores.results()["r2"])


def test_a_constant_has_no_spread_though_it_be_rounded() -> None:
    scores = scores_for(Task(kind="number", range=(0, 6)))
    scores.add(np.full(11, 0.1), np.linspace(0.0, 0.4, 11)[:, None])
    assert np.isnan(scores.results()["r2"])


def test_bins_of_reliability() -> None:
    reliability = Reliability()
    assert np.isnan(reliability.error) and reliability.bins() == []
    reliability.add(np.array([0.0, 1.0]), np.array([False, True]))
    reliability.add(np.array([[0.05]]), np.array([[True]]))
    first, last = reliability.bins()
    assert first == {
        "from": 0.0, "to": 1 / 15, "count": 2, "stated": pytest.approx(0.025), "right": 0.5
    }  # fmt: skip
    assert (last["from"], last["to"], last["count"]) == (14 / 15, 1.0, 1)
    assert reliability.error == pytest.approx((1 - 0.05) / 3)


def test_what_abstaining_leaves() -> None:
    stated, right = np.array([0.4, 0.6, 0.8, 0.9]), np.array([False, True, False, True])
    points = coverage_curve(stated, right)
    assert [point["abstain_below"] for point in points] == [
        *(0.0, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)  # none is left at 0.95
    ]
    assert [points[place] for place in (0, 1, 8)] == [
        {"abstain_below": 0.0, "coverage": 1.0, "accuracy": 0.5},
        {"abstain_below": 0.5, "coverage": 0.75, "accuracy": pytest.approx(2 / 3)},
        {"abstain_below": 0.85, "coverage": 0.25, "accuracy": 1.0},
    ]
