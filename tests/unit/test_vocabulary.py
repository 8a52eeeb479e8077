from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ulmfit.errors import ArtefactError
from ulmfit.interop.vocabulary import moved_rows, our_words, read_vocabulary, rows_of

WORDS = ["xxunk", "xxpad", "xxbos", "xxeos", "xxmaj", "the", "\n", "été"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("itos.pkl", pickle.dumps(WORDS)),
        ("vocab.json", json.dumps(WORDS).encode()),
        ("marked.txt", "\n".join(WORDS).replace("\n\n", "\n\\n", 1).encode("utf-8-sig")),
        ("words.txt", "\n".join(WORDS).replace("\n\n", "\n\\n", 1).encode() + b"\n"),
    ],
)
def test_words_come_in_the_order_of_their_rows(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_vocabulary(tmp_path / name) == (WORDS, [])


def test_a_pair_is_words_and_labels(tmp_path: Path) -> None:
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps([WORDS, ["neg", "pos"]]))
    assert read_vocabulary(tmp_path / "vocab.pkl") == (WORDS, ["neg", "pos"])
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps([WORDS, [0, 1]]))
    assert read_vocabulary(tmp_path / "vocab.pkl") == (WORDS, ["0", "1"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.pkl", pickle.dumps({"the": 1}), "not a list of words; give a vocabulary: a pickled"),
        ("v.pkl", pickle.dumps(["the", 3]), "not a list of words; give a vocabulary"),
        ("v.json", b'{"the": 1}', "not a list of words; give a vocabulary"),
        ("v.json", b'["the"', "not a list of words .*delimiter.*; give another file"),
        ("v.txt", b"caf\xe9", "not a list of words .*decode.*; give another file"),
        ("v.json", b'[["the", "a"], null]', "not a list of words; give a vocabulary"),
        ("v.json", b'[["the", "a"], [0.5]]', "not a list of words; give a vocabulary"),
        ("v.json", b'[["the", "a"], "neg"]', "not a list of words; give a vocabulary"),
        ("v.pkl", b"", "not a pickle, or a damaged one"),
        ("v.pkl", pickle.dumps(["a", "the", "b", "the"]), "'the' stands in it twice, as words 1 a"),
    ],
)
def test_other_content_is_told(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtefactError, match=message) as caught:
        read_vocabulary(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"none\.pkl: cannot be read: No such file"):
        read_vocabulary(tmp_path / "none.pkl")


def test_fillers_may_repeat_and_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text(json.dumps([*WORDS, "xxfake", "xxfake"]))
    words, _ = read_vocabulary(tmp_path / "v.json")
    assert words[-2:] == ["xxfake", "xxfake"]
    assert "xxfake" not in our_words(words)


def test_our_words_begin_with_our_special_tokens() -> None:
    assert our_words(WORDS) == [
        "<pad>", "<unk>", "<bos>", "<fld>", "xxeos", "xxmaj", "the", "\n", "été",
    ]  # fmt: skip
    of_2018 = ["_unk_", "_pad_", "the", "t_up", "tk_rep", "xbos"]
    assert our_words(of_2018) == ["<pad>", "<unk>", "<bos>", "<fld>", "the", "xxup", "xxrep"]


def test_rows_are_found_by_word() -> None:
    rows = rows_of(our_words(WORDS), WORDS)
    assert rows.tolist() == [1, 0, 2, -1, 3, 4, 5, 6, 7]
    assert rows_of(WORDS, our_words(WORDS)).tolist() == [1, 0, 2, 4, 5, 6, 7, 8]
    assert rows_of(["THE", "the"], WORDS).tolist() == [-1, 5]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("shape", [(3, 2), (3,)])
def test_unknown_words_get_the_mean(shape: tuple[int, ...], size: int) -> None:
    values = torch.arange(float(np.prod(shape))).view(shape)
    moved = moved_rows(torch.split(values, size), np.array([2, -1, 0]))
    assert torch.equal(moved[0], values[2]) and torch.equal(moved[2], values[0])
    assert torch.equal(moved[1], values.mean(0))
