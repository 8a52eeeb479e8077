from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulmfit.config.data import ReadingConfig, ValidationConfig
from ulmfit.data.sources import Document, read_documents
from ulmfit.data.splits import split_labelled
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
    assert {d.label for d in train} == set(labels)
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


# --- of several labels, of numbers ----------------------------------------------------------


@given(
    st.lists(st.sets(st.sampled_from("abcde")).map(lambda s: tuple(sorted(s))), max_size=60),
    st.floats(0.0, 1.0, exclude_max=True),
    st.integers(0, 2**40),
)
def test_of_several_labels_each_has_a_document_to_train_on(
    labels: list[tuple[str, ...]], fraction: float, seed: int
) -> None:
    everything = [Document(f"text {i}", label, f"row {i}") for i, label in enumerate(labels)]
    validation = ValidationConfig(fraction=fraction)
    train, valid = split_labelled(everything, validation, READING, seed, None, "multi_label")
    order = {d: i for i, d in enumerate(everything)}
    assert sorted(train + valid, key=order.__getitem__) == everything
    names = {name for several in labels for name in several}
    assert {name for d in train for name in d.label or ()} == names
    assert len(valid) <= round(len(labels) * fraction) + 1


def test_the_rarest_label_is_held_out_as_often_as_the_others() -> None:
    labels = [("a", "b") if i % 10 == 0 else ("a",) for i in range(200)]
    everything = [Document("", label, f"row {i}") for i, label in enumerate(labels)]
    for seed in range(20):
        validation = ValidationConfig(fraction=0.1)
        _, valid = split_labelled(everything, validation, READING, seed, None, "multi_label")
        assert Counter(d.label for d in valid) == {("a",): 18, ("a", "b"): 2}


def test_numbers_are_drawn_whatever_they_are() -> None:
    everything = documents([str(i / 7) for i in range(50)])
    validation = ValidationConfig(fraction=0.2)
    train, valid = split_labelled(everything, validation, READING, 0, None, "number")
    assert (len(train), len(valid)) == (40, 10)
