"""What labels ask for, and what is learned of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.preprocessing import MultiLabelBinarizer

from ulmfit.config.artefact import Task
from ulmfit.data.sources import Document
from ulmfit.data.targets import alike_labels, dense, kind_of, label_counts, make_task, targets_of
from ulmfit.errors import ConfigError, DataError


def documents(labels: Sequence[str | tuple[str, ...]]) -> list[Document]:
    return [Document(f"text {i}", label, f"a.csv, row {i + 1}") for i, label in enumerate(labels)]


def refusal(labels: Sequence[str | tuple[str, ...]], kind: str, **options: object) -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        make_task(documents(labels), kind, **options)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["a", "b"], "single_label"),
        (["1", "5", "2"], "single_label"),
        (["1", "5", "2.5"], "number"),
        (["1", "5", "x2.5"], "single_label"),
        (["1.5", "nan", "inf"], "single_label"),
        ([("a",), ("b",)], "multi_label"),
        ([(), ()], "multi_label"),
        ([], "single_label"),
    ],
)
def test_kinds(labels: Sequence[str], kind: str) -> None:
    assert kind_of(documents(labels)) == kind


def test_a_class_a_document() -> None:
    labelled = documents(["b", "10", "9", "b"])
    task = make_task(labelled, "single_label")
    assert task == Task(labels=("10", "9", "b"))
    targets = targets_of(labelled, task)
    assert dense(targets).dtype == np.int64
    assert dense(targets).tolist() == [2, 0, 1, 2]
    assert label_counts(targets, 3).tolist() == [1, 1, 2]
    assert targets_of([], task).shape == (0,)


@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True), min_size=1, max_size=20))
def test_several_labels_are_as_scikit_learn_has_them(labels: list[list[str]]) -> None:
    labels = [["a"], *labels]
    labelled = documents([tuple(names) for names in labels])
    task = make_task(labelled, "multi_label")
    binarizer = MultiLabelBinarizer()
    expected = binarizer.fit_transform(labels)
    assert task.labels == tuple(binarizer.classes_)
    targets = targets_of(labelled, task)
    assert isinstance(targets, csr_array)
    np.testing.assert_array_equal(dense(targets), expected)
    np.testing.assert_array_equal(dense(targets[np.array([0])]), expected[:1])
    assert label_counts(targets, len(task.labels)).tolist() == expected.sum(0).tolist()


def test_lists_of_one_label_can_be_classes() -> None:
    task = make_task(documents([("a",), ("b",)]), "single_label")
    assert task.labels == ("a", "b")
    assert "row 2: 2 labels where one is expected; give one, or train with" in refusal(
        [("a",), ("a", "b")], "single_label"
    )


def test_numbers_and_their_range() -> None:
    labelled = documents(["1", "3.5", "5"])
    task = make_task(labelled, "number")
    assert (task.kind, task.labels, task.outputs) == ("number", (), 1)
    assert task.range == pytest.approx((0.8, 5.2))
    assert dense(targets_of(labelled, task)).tolist() == [1.0, 3.5, 5.0]
    assert make_task(labelled, "number", (0.0, 10.0)).range == (0.0, 10.0)


def test_what_cannot_be_learned_is_refused() -> None:
    first = "a.csv, row 1: this and all other training documents have "
    assert refusal([], "single_label").startswith("no documents to train on; give labelled")
    assert refusal(["pos"] * 2, "single_label") == (
        f"{first}the label 'pos'; give documents of two classes or more"
    )
    assert refusal([(), ()], "multi_label") == (
        f"{first}no label; give documents of one label or more"
    )
    assert refusal(["2", "2.0"], "number") == (
        f"{first}the number 2; give documents of different ones"
    )
    assert refusal(["2", "two"], "number") == (
        "a.csv, row 2: found the label 'two' where a number is expected; write a number, or train "
        "with --classifier.task single_label"
    )
    assert refusal(["1e308", "-1e308"], "number") == (
        "a.csv, row 1: this and all other training documents have numbers from -1e+308 to 1e+308, "
        "too far apart; give smaller ones"
    )
    near = "too near to each other for their size; subtract 1700000000.0 from all"
    assert near in refusal(["1700000000", "1700000000.5"], "number")
    assert "too near to each other" in refusal(["1e9"], "number", bounds=(1e9 - 1, 1e9 + 1))
    stamps = documents(["1700000000", "1700900000"])  # ten days, in seconds
    assert make_task(stamps, "number").kind == "number"
    assert "a.csv, row 2: 7 is out of the range [1.0, 5.0]" in refusal(
        ["2", "7"], "number", bounds=(1.0, 5.0)
    )
    assert "'classifier.range': found [5.0, 1.0]; give the lowest number first" in refusal(
        ["2", "7"], "number", bounds=(5.0, 1.0)
    )
    assert "'classifier.range': found [0.0, 1.0], but the labels are names" in refusal(
        ["a", "b"], "single_label", bounds=(0.0, 1.0)
    )
    weightless = [replace(document, weight=0.0) for document in documents(["a", "b"])]
    with pytest.raises(DataError, match="all other training documents have the weight 0"):
        make_task(weightless, "single_label")


def test_a_label_that_training_has_not_is_refused() -> None:
    task = Task(labels=("neg", "pos"))
    with pytest.raises(DataError) as caught:
        targets_of(documents(["neg", "pso"]), task)
    assert str(caught.value) == (
        "a.csv, row 2: label 'pso' is not among the 2 of training (the nearest: 'pos'); "
        "correct it, or give training documents with it"
    )
    with pytest.raises(DataError) as caught:
        targets_of([Document("a", None, "b.csv, row 7")], task)
    assert str(caught.value) == "b.csv, row 7: no label; read the documents with their labels"


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (("Business", "Sports"), None),
        (("Sports", "Sports ", "b", "sports"), "'Sports', 'Sports ', 'sports'; each is"),
        (("A b", "A  b", "c", "C"), "'A b', 'A  b'; 'c', 'C'; each is"),
    ],
)
def test_labels_written_almost_alike_are_told(labels: tuple[str, ...], found: str | None) -> None:
    said = alike_labels(Task(labels=labels))
    assert said is None if found is None else found in str(said)
