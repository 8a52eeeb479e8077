"""Temperatures and thresholds against a search over all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn import metrics

from ulmfit.config.artefact import Task, TaskKind
from ulmfit.data.answers import given_labels, tempered
from ulmfit.training.calibration import ThresholdMetric, fit_temperature, fit_thresholds

LABELS = ("a", "b", "c")


def drawn(kind: TaskKind, temperature: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth drawn from probabilities, and the same probabilities made too sharp or too flat."""
    rng = np.random.default_rng(0)
    if kind == "single_label":
        stated = rng.dirichlet([0.7] * 3, count)
        true = tempered(kind, stated, temperature)
        return (true.cumsum(1) > rng.random((count, 1))).argmax(1), stated
    stated = rng.random((count, 3))
    return (rng.random((count, 3)) < tempered(kind, stated, temperature)).astype(float), stated


@pytest.mark.parametrize("kind", ["single_label", "multi_label"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_the_draw_is_found(kind: TaskKind, temperature: float) -> None:
    truth, stated = drawn(kind, temperature, 6000)
    targets = truth if kind == "single_label" else csr_array(truth)
    found = fit_temperature(Task(kind=kind, labels=LABELS), targets, stated.astype(np.float32))
    assert found == pytest.approx(temperature, rel=0.08)


@pytest.mark.parametrize("kind", ["single_label", "multi_label"])
@pytest.mark.parametrize("right", [True, False])
def test_a_few_documents_make_no_probability_certain(kind: TaskKind, right: bool) -> None:
    stated = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    classes = np.array([0, 1] if right else [2, 0])
    truth = classes if kind == "single_label" else csr_array(np.eye(3)[classes])
    found = fit_temperature(Task(kind=kind, labels=LABELS), truth, stated)
    after = tempered(kind, stated, found)
    assert 0.05 < found <= 20.0 + 1e-6
    assert after.max() < 0.96


def search(there: np.ndarray, answers: np.ndarray, metric: str) -> float:
    """The best value of a metric over every threshold that decides otherwise than another."""
    values = []
    for threshold in [*answers, 2.0]:
        decided = answers >= threshold
        if metric == "accuracy":
            values.append(metrics.accuracy_score(there, decided))
        else:
            beta = float(metric[1:])
            values.append(metrics.fbeta_score(there, decided, beta=beta, zero_division=0.0))
    return float(max(values))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=30),
    st.sampled_from(["f1", "f2", "f0.5", "accuracy"]),
)
def test_no_threshold_is_better(rows: list[tuple[bool, int]], metric: ThresholdMetric) -> None:
    there = np.array([each for each, _ in rows])
    answers = np.array([value / 20 for _, value in rows], dtype=np.float32)
    assume(0 < there.sum() < len(there))
    (threshold,) = fit_thresholds(
        csr_array(there[:, None].astype(np.float32)), answers[:, None], metric, 1
    )
    assert 0 <= threshold < 1.00001
    decided = answers >= np.float32(threshold)
    if metric == "accuracy":
        value = metrics.accuracy_score(there, decided)
    else:
        value = metrics.fbeta_score(there, decided, beta=float(metric[1:]), zero_division=0.0)
    assert value == pytest.approx(search(there, answers, metric))


def test_a_threshold_parts_neighbours_of_float32() -> None:
    """Half way between them there is no number: rounded to even, it may be the lower one."""
    low = np.float32(0.7)
    answers = np.full(20, low, dtype=np.float32)
    for _ in range(2):  # one of the two is even
        answers[:10] = np.nextafter(low, np.float32(1))
        answers[10:] = low
        there = (np.arange(20) < 10).astype(np.float32)[:, None]
        (found,) = fit_thresholds(csr_array(there), answers[:, None], "f1", 5)
        task = Task(kind="multi_label", labels=("a",), thresholds=(found,))
        assert given_labels(task, answers[:, None])[:, 0].tolist() == [True] * 10 + [False] * 10
        low = np.nextafter(low, np.float32(1))


def test_rare_labels_keep_a_half_and_ties_are_near_it() -> None:
    there = np.zeros((20, 4))
    there[:10, 0], there[:4, 1], there[:, 2] = 1, 1, 1
    answers = np.linspace(1, 0, 20)[:, None].repeat(4, axis=1)
    found = fit_thresholds(csr_array(there), answers, "f1", 5)
    assert found[1:] == (0.5, 0.5, 0.5)
    assert answers[9, 0] > found[0] > answers[10, 0]
