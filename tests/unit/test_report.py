"""Reports: their numbers against scikit-learn's, their pages against a parser."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import metrics

from ulmfit.config.artefact import Task, TaskKind
from ulmfit.data.sources import Document
from ulmfit.data.targets import targets_of
from ulmfit.models.tfidf import TfidfModel
from ulmfit.report.bootstrap import intervals, label_intervals, weighted_measures
from ulmfit.report.charts import Line, _apart, line_chart
from ulmfit.report.contents import _tables, baseline_answers, baseline_task
from ulmfit.report.observed import Observed
from ulmfit.training.scores import scores_for

LABELS = ("a", "b", "c", "never")
KINDS: tuple[TaskKind, ...] = ("single_label", "multi_label", "number")


def task_of(kind: TaskKind) -> Task:
    if kind == "number":
        return Task(kind=kind, range=(0.0, 5.0))
    return Task(kind=kind, labels=LABELS)


def drawn(kind: TaskKind, count: int = 120) -> tuple[Task, Any, np.ndarray]:
    rng = np.random.default_rng(3)
    task = task_of(kind)
    if kind == "single_label":
        truth = rng.integers(0, 3, count)
        return task, truth, rng.dirichlet([0.6] * 4, count).astype(np.float32)
    if kind == "multi_label":
        there = (rng.random((count, 4)) < [0.6, 0.3, 0.1, 0.0]).astype(np.float32)
        return task, csr_array(there), rng.random((count, 4)).astype(np.float32)
    numbers = rng.random(count) * 5
    return task, numbers, (numbers + rng.normal(0, 0.7, count))[:, None].astype(np.float32)


def observed(kind: TaskKind, misses: int = 5) -> tuple[Observed, Any, np.ndarray]:
    task, truth, answers = drawn(kind)
    found = Observed(task, misses)
    documents = [Document("word " * (i % 7), None, f"row {i}") for i in range(len(answers))]
    for start, end in ((0, 50), (50, 51), (51, 120)):
        found.add(documents[start:end], truth[start:end], answers[start:end])
    return found, truth, answers


@pytest.mark.parametrize("kind", KINDS)
def test_with_every_document_once_the_measures_are_the_scores(kind: TaskKind) -> None:
    found, truth, answers = observed(kind)
    scores = scores_for(found.task)
    scores.add(truth, answers)
    weights = np.ones((1, len(answers)))
    measured = weighted_measures(found.task, *found.joined(), found.losses, weights)
    expected = scores.results()
    expected.pop("calibration_error", None)
    assert {name: float(value[0]) for name, value in measured.items()} == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("constant", [0.1, 3.3, 1e9 + 0.1])
def test_a_constant_number_has_no_r2(constant: float) -> None:
    task, answers = Task(kind="number", range=(0.0, 2e9)), np.linspace(0, 5, 11)
    truth = np.array([constant] * 11)
    found = intervals(task, truth, answers, (answers - truth) ** 2)
    assert np.isnan(found["r2"]).all()
    truth[0] += 1  # in some draws alone is there a spread
    found = intervals(task, truth, answers, (answers - truth) ** 2)
    assert np.isfinite(found["r2"]).all()


@pytest.mark.parametrize("kind", KINDS[:2])
def test_labels_have_intervals_of_their_own(kind: TaskKind) -> None:
    found, _, _ = observed(kind)
    truth, given = found.joined()
    spread = label_intervals(truth, given)
    dense_truth, dense_given = truth.toarray(), given.toarray()
    rng = np.random.default_rng(5)
    for label, (low, high) in enumerate(spread):
        both = dense_truth[:, label], dense_given[:, label]
        assert low <= metrics.f1_score(*both, zero_division=0.0) <= high
        values = []
        for _ in range(600):
            drawn_places = rng.integers(0, len(dense_truth), len(dense_truth))
            if both[0][drawn_places].any() or both[1][drawn_places].any():
                pair = both[0][drawn_places], both[1][drawn_places]
                values.append(metrics.f1_score(*pair, zero_division=0.0))
        expected = np.percentile(values, [2.5, 97.5]) if values else [0.0, 0.0]
        assert [low, high] == pytest.approx(list(expected), abs=0.06)


@pytest.mark.parametrize("kind", KINDS[:2])
def test_the_errors_of_a_label_are_counted(kind: TaskKind) -> None:
    found, target, answers = observed(kind)
    scores = scores_for(found.task)
    scores.add(target, answers)
    rows = _tables(scores, found, *found.joined())["labels"]
    truth, given = (each.toarray().astype(bool) for each in found.joined())
    for row, there, said in zip(rows, truth.T, given.T, strict=True):
        assert (row["missed"], row["given_wrongly"]) == (
            (there & ~said).sum(),
            (said & ~there).sum(),
        )
        words = found.words[there]
        assert row["median_words"] == (np.median(words) if there.any() else None)


def test_the_baseline_has_thresholds_of_its_own_where_ours_are_fitted() -> None:
    task = Task(kind="multi_label", labels=("a", "b"), thresholds=(0.3, 0.6))
    rng = np.random.default_rng(0)
    documents = []
    for row in range(200):
        there = rng.random(2) < [0.5, 0.1]
        words = [f"word{i}" for i, is_there in enumerate(there) if is_there and rng.random() < 0.8]
        labels = tuple(label for label, is_there in zip("ab", there, strict=True) if is_there)
        documents.append(Document(f"{' '.join(words)} x{rng.integers(9)}", labels, f"row {row}"))
    found = baseline_task(task, documents, characters=False)
    assert found.thresholds not in (None, task.thresholds) and found.temperature == 1.0
    plain = replace(task, thresholds=None)
    assert baseline_task(plain, documents, characters=False) == plain
    truth = targets_of(documents, plain)
    answers = baseline_answers(plain, documents, documents, characters=False)
    f1 = []
    for each in (plain, found):
        scores = scores_for(each)
        scores.add(truth, answers)
        f1.append(scores.results()["macro_f1"])
    assert f1[1] >= f1[0] - 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_documents_repeated(kind: TaskKind) -> None:
    found, truth, answers = observed(kind)
    rng = np.random.default_rng(0)
    drawn_places = rng.integers(0, len(answers), len(answers))
    scores = scores_for(found.task)
    scores.add(truth[drawn_places], answers[drawn_places])
    weights = np.bincount(drawn_places, minlength=len(answers)).astype(float)[None]
    measured = weighted_measures(found.task, *found.joined(), found.losses, weights)
    expected = {name: value for name, value in scores.results().items() if name in measured}
    assert len(expected) >= 3
    for name, value in expected.items():
        assert float(measured[name][0]) == pytest.approx(value, rel=1e-5), name


def test_the_interval_of_an_accuracy_is_the_binomial_one() -> None:
    found, truth, answers = observed("single_label")
    spread = intervals(found.task, *found.joined(), found.losses)
    share = metrics.accuracy_score(truth, answers.argmax(1))
    deviation = np.sqrt(share * (1 - share) / len(truth))
    low, high = spread["accuracy"]
    assert low == pytest.approx(share - 1.96 * deviation, abs=0.02)
    assert high == pytest.approx(share + 1.96 * deviation, abs=0.02)
    assert spread["error"] == pytest.approx((1 - high, 1 - low))
    again = intervals(found.task, *found.joined(), found.losses)
    assert again == spread


@pytest.mark.parametrize("kind", KINDS)
def test_the_worst_documents_are_kept(kind: TaskKind) -> None:
    found, _, _ = observed(kind, misses=7)
    worst = np.argsort(-found.losses, kind="stable")[:7]
    assert [miss.document.where for miss in found.misses()] == [f"row {i}" for i in worst]
    assert [miss.loss for miss in found.misses()] == found.losses[worst].tolist()
    assert found.words.tolist() == [i % 7 for i in range(120)]
    assert observed(kind, misses=0)[0].misses() == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_baseline_learns_every_kind(kind: TaskKind) -> None:
    words = ("alpha", "beta", "gamma")
    rng = np.random.default_rng(0)
    documents = []
    for i in range(60):
        chosen = (
            [w for w in words if rng.random() < 0.5] if kind == "multi_label" else [words[i % 3]]
        )
        label: Any = tuple(chosen) if kind == "multi_label" else chosen[0]
        if kind == "number":
            label = str(1.0 + words.index(chosen[0]) / 2)
        documents.append(Document(" ".join(["the", *chosen]), label, f"row {i}"))
    named = () if kind == "number" else words
    task = Task(kind=kind, labels=named, range=(0.0, 3.0) if kind == "number" else None)
    truth = targets_of(documents, task)
    model = TfidfModel(task).fit([str(d.text) for d in documents], truth)
    answers = model.answers([str(d.text) for d in documents])
    scores = scores_for(task)
    scores.add(truth, answers)
    assert answers.shape == (60, task.outputs)
    assert scores.results()["loss"] < 0.4


def test_a_class_without_documents_has_no_probability() -> None:
    task = Task(labels=LABELS)
    model = TfidfModel(task).fit(["one", "two", "one"], np.array([0, 2, 0]))
    answers = model.answers(["one", "three"])
    np.testing.assert_allclose(answers.sum(1), 1, rtol=1e-6)
    assert (answers[:, [1, 3]] == 0).all() and answers[0].argmax() == 0


# Charts


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_chart_is_whole_and_names_its_lines() -> None:
    lines = [Line("<one>", [(0, 1), (5, 2)], marked=True), Line("flat", [(2, 1)])]
    chart = line_chart(lines, x="batch", y="loss", title='a "title"')
    parser = Tags()
    parser.feed(chart)
    assert parser.open == [] and {"<one>", "flat", "batch", "loss"} <= set(parser.text)
    assert chart.count("<circle") == 2 and "nan" not in chart
    assert "nan" not in line_chart([Line("point", [(1, 1)])], x="", y="", title="")


def test_names_do_not_lie_on_one_another() -> None:
    moved = _apart([100.0, 101.0, 50.0, 100.0])
    assert moved[2] == 50.0 and min(np.diff(sorted(moved))) >= 15.0
