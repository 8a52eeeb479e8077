from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulmfit.config.data import ReadingConfig, ValidationConfig
from ulmfit.data.sources import Document, read_documents
from ulmfit.data.splits import check_trainable, label_ids, label_names, split_labelled
from ulmfit.errors import ConfigError, DataError

READING = ReadingConfig()


def documents(labels: list[str]) -> list[Document]:
    return [Document(f"text {i}", label, f"a.csv, row {i + 1}") for i, label in enumerate(labels)]


def split(
    labels: list[str], fraction: float, seed: int = 0
) -> tuple[list[Document], list[Document]]:
    return split_labelled(documents(labels), ValidationConfig(fraction=fraction), READING, seed)


# --- by fraction ----------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from("aaaabbc") | st.text(max_size=2), max_size=80),
    st.floats(0.0, 1.0, exclude_max=True),
    st.integers(0, 2**40),
)
def test_by_fraction(labels: list[str], fraction: float, seed: int) -> None:
    train, valid = split(labels, fraction, seed)
    everything = documents(labels)
    counts, held = Counter(labels), Counter(d.label for d in valid)
    order = {d: i for i, d in enumerate(everything)}
    assert sorted(train + valid, key=order.__getitem__) == everything
    assert all(part == sorted(part, key=order.__getitem__) for part in (train, valid))
    assert set(label_names(train)) == set(labels)
    for label, count in counts.items():
        expected = 0.0 if count == 1 else count * fraction
        assert abs(held[label] - expected) < 1.0 + 1e-9
    if not fraction:
        assert not valid
    elif any(count > 1 for count in counts.values()):
        assert valid


def test_the_share_is_the_fraction_of_the_whole() -> None:
    labels = [str(i % 77) for i in range(10 * 77 // 2)]  # five of each
    train, valid = split(labels, 0.1)
    assert (len(train), len(valid)) == (385 - 38, 38)
    assert len(split(["a", "b"] * 50, 0.1)[1]) == 10
    assert len(split(["a", "a", "b", "b"], 0.1)[1]) == 1


def test_documents_of_one_label_are_held_out_equally_often() -> None:
    times = Counter(
        d.where for seed in range(2000) for d in split(["a"] * 6 + ["b"] * 4, 0.2, seed)[1]
    )
    # One of each label a draw; a binomial count of 2000 at 1/4 deviates by 19: five of these.
    for row in range(1, 11):
        assert abs(times[f"a.csv, row {row}"] - (2000 / 6 if row <= 6 else 2000 / 4)) < 97


def test_the_seed_decides() -> None:
    labels = ["a", "b"] * 50
    assert split(labels, 0.3, 1) == split(labels, 0.3, 1)
    assert split(labels, 0.3, 1) != split(labels, 0.3, 2)


# --- by file, by column ---------------------------------------------------------------------


def test_by_file(tmp_path: Path) -> None:
    path = tmp_path / "valid.csv"
    path.write_text("text,label\nv,x\n")
    train, valid = split_labelled(
        documents(["x", "y"]), ValidationConfig(path=str(path)), READING, 0
    )
    assert train == documents(["x", "y"])
    assert valid == [Document("v", "x", f"{path}, row 1")]


def test_by_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    values = ["1", "True", "YES", "valid", "validation", "0", "false", "No", " train", "training"]
    path.write_text("text,label,part\n" + "".join(f"{i},x,{v}\n" for i, v in enumerate(values)))
    labelled = list(read_documents(path, READING, labelled=True, extra_column="part"))
    train, valid = split_labelled(labelled, ValidationConfig(column="part"), READING, 0)
    assert [d.text for d in valid] == list("01234")
    assert [d.text for d in train] == list("56789")


@pytest.mark.parametrize("value", ["test", None])
def test_message_for_a_value_of_the_column(value: str | None) -> None:
    held = [Document("a", "x", "a.csv, row 1", value)]
    with pytest.raises(DataError) as caught:
        split_labelled(held, ValidationConfig(column="part"), READING, 0)
    assert str(caught.value) == (
        f"a.csv, row 1: column 'part' holds {value!r}; "
        "write 1, true, yes, valid or validation for validation rows, "
        "0, false, no, train or training for the others"
    )


def test_message_for_a_file_and_a_column() -> None:
    with pytest.raises(ConfigError) as caught:
        split_labelled([], ValidationConfig(path="a.csv", column="part"), READING, 0)
    assert str(caught.value) == (
        "settings 'validation.path' and 'validation.column' exclude each other; give one"
    )


# --- labels ---------------------------------------------------------------------------------


def test_names_and_ids() -> None:
    labelled = documents(["b", "10", "9", "b"])
    names = label_names(labelled)
    assert names == ("10", "9", "b")
    ids = label_ids(labelled, names)
    assert ids.dtype == np.int64
    assert ids.tolist() == [2, 0, 1, 2]
    assert label_ids([], names).shape == (0,)


def test_weights_of_nothing_are_refused() -> None:
    train = [replace(document, weight=0.0) for document in documents(["a", "b"])]
    with pytest.raises(DataError, match="all other training documents have the weight 0"):
        check_trainable(train, [], ("a", "b"))


def test_check_trainable_accepts_what_can_be_trained() -> None:
    train, valid = documents(["a", "b"]), documents(["b"])
    check_trainable(train, valid, label_names(train))
    check_trainable(train, [], label_names(train))


def test_messages_for_what_cannot_be_trained() -> None:
    one, two = documents(["pos", "pos"]), documents(["pos", "neg"])
    cases = [
        ([], [], "no documents to train on; give labelled documents of two classes or more"),
        (one, [], "a.csv, row 1: this and all other training documents have the label 'pos'; "
                  "give documents of two classes or more"),
        (two, documents(["neg", "pso"]),
         "a.csv, row 2: label 'pso' is not among the 2 of training (the nearest: 'pos'); "
         "correct it, or give training documents with it"),
        (two, [Document("a", None, "b.csv, row 7")],
         "b.csv, row 7: no label; read the documents with their labels"),
    ]  # fmt: skip
    for train, valid, message in cases:
        with pytest.raises(DataError) as caught:
            check_trainable(train, valid, label_names(train))
        assert str(caught.value) == message
