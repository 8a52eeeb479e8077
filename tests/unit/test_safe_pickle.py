from __future__ import annotations

import collections
import io
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulmfit.errors import ArtefactError
from ulmfit.interop import safe_pickle
from ulmfit.interop.safe_pickle import load_plain

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


def load(content: bytes) -> Any:
    return load_plain(io.BytesIO(content), "words.pkl")


@given(plain, st.integers(0, 5))
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    assert load(pickle.dumps(value, protocol)) == value


def test_an_ordered_dictionary_keeps_its_order() -> None:
    value = collections.OrderedDict([("b", 1), ("a", 2)])
    assert list(load(pickle.dumps(value)).items()) == [("b", 1), ("a", 2)]


@pytest.mark.parametrize("protocol", range(6))
def test_a_list_of_fastcore_is_a_list(monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    class L:
        def __init__(self) -> None:
            self.items = ["xxunk", "the"]

    L.__module__, L.__qualname__ = "fastcore.foundation", "L"
    module = types.ModuleType("fastcore.foundation")
    module.L = L  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fastcore", types.ModuleType("fastcore"))
    monkeypatch.setitem(sys.modules, "fastcore.foundation", module)
    content = pickle.dumps(L(), protocol)
    if protocol < 2:  # rebuilt by a function that could rebuild anything
        with pytest.raises(ArtefactError, match=r"asks for 'copy_reg\._reconstructor'"):
            load(content)
    else:
        assert load(content) == ["xxunk", "the"]


def test_labels_of_fastai_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The `CategoryMap` of a classifier's `dls.vocab`: its items, and their numbers."""

    class CategoryMap:
        def __init__(self) -> None:
            self.items, self.sort, self.o2i = ["neg", "pos"], True, {"neg": 0, "pos": 1}

    CategoryMap.__module__, CategoryMap.__qualname__ = "fastai.data.transforms", "CategoryMap"
    for name in ("fastai", "fastai.data", "fastai.data.transforms"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["fastai.data.transforms"].CategoryMap = CategoryMap  # type: ignore[attr-defined]
    assert load(pickle.dumps([["xxunk", "the"], CategoryMap()])) == [
        ["xxunk", "the"],
        ["neg", "pos"],
    ]


def test_several_pickles_are_read_one_behind_the_other() -> None:
    file = io.BytesIO(pickle.dumps([1]) + pickle.dumps({"a": 2}) + b"rest")
    assert load_plain(file, "f") == [1]
    assert load_plain(file, "f") == {"a": 2}
    assert file.read() == b"rest"


class Runs:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "ran"
    content = pickle.dumps({"a": [Runs(os.mkdir, str(mark))]}, protocol)
    with pytest.raises(ArtefactError) as caught:
        load(content)
    assert str(caught.value) == (
        "words.pkl: the pickle asks for 'posix.mkdir', which is neither a tensor nor plain data; "
        "it was not run: do not trust this file"
    )
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93.", "builtins.exec"),
        (b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", "OrderedDict.__init__"),
        (b"ccollections\ndefaultdict\n.", "collections.defaultdict"),
        (b"cnumpy.core.multiarray\n_reconstruct\n.", "numpy.core.multiarray._reconstruct"),
    ],
)
def test_any_other_name_is_refused(content: bytes, name: str) -> None:
    with pytest.raises(ArtefactError, match=f"asks for '.*{name}'"):
        load(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it ends too soon"),
        (b"no pickle", "no instruction or memory 110"),
        (pickle.dumps(["a" * 100])[:-20], "it ends too soon"),
        (b"(ios\nsystem\n.", "no instruction or memory 105"),
        (b"\x82\x01.", "no instruction or memory 130"),
        (b"\x96" + (2**40).to_bytes(8, "little"), "no instruction or memory 150"),
        (b"\x80\x04h\x05.", "Memo value not found"),
        (b"0.", "pop from empty|unpickling stack underflow"),
        (b"\x80\x02ccollections\nOrderedDict\n(K\x01tR.", "not iterable"),
        (b"\x80\x02cfastcore.foundation\nL\n)\x81}b.", "items"),
    ],
)
def test_what_is_damaged_is_told(content: bytes, reason: str) -> None:
    with pytest.raises(ArtefactError, match=reason) as caught:
        load(content)
    message = str(caught.value)
    assert message.startswith("words.pkl: not a pickle, or a damaged one (")
    assert message.endswith("); get the file again") and "\n" not in message


TUPLES = b")" + b"2\x86" * 40  # (t, t), forty deep: 2**40 steps to be hashed


@pytest.mark.parametrize(
    "content",
    [
        b"}" + TUPLES + b"K\x01s.",
        b"}(" + TUPLES + b"K\x01u.",
        b"(" + TUPLES + b"K\x01d.",
        b"ccollections\nOrderedDict\n(](" + TUPLES + b"K\x01\x86etR.",
    ],
    ids=["one", "several", "made", "called"],
)
def test_keys_that_take_for_ever_are_refused(content: bytes) -> None:
    with pytest.raises(ArtefactError, match="asks for a key of the type 'tuple'"):
        load(content)


@pytest.mark.parametrize("key", [b"\x8a\x08" + (2**61 - 1).to_bytes(8, "little"), b"G" + b"@" * 8])
def test_numbers_that_may_share_a_hash_are_no_keys(key: bytes) -> None:
    with pytest.raises(ArtefactError, match=r"asks for a (number as|key of the type 'float')"):
        load(b"\x80\x02}" + key + b"K\x01s.")


@pytest.mark.parametrize(
    "copy",
    [
        b"cfastcore.foundation\nL\nh\x00\x85R0",
        b"cfastcore.foundation\nL\n)\x81}X\x05\x00\x00\x00itemsh\x00sb0",
    ],
    ids=["called", "attributes"],
)
def test_copies_of_a_list_are_counted(monkeypatch: pytest.MonkeyPatch, copy: bytes) -> None:
    monkeypatch.setattr(safe_pickle, "MOST_READS", 20_000)
    whole = b"\x80\x02](" + b"K\x01" * 2000 + b"eq\x00"
    load(whole + copy + b".")
    with pytest.raises(ArtefactError, match="or 20,000 pieces"):
        load(whole + copy * 10 + b".")


@pytest.mark.parametrize("content", [b"\x8f(" + TUPLES + b"\x90.", b"(" + TUPLES + b"\x91."])
def test_sets_are_refused(content: bytes) -> None:
    with pytest.raises(ArtefactError, match="no instruction or memory"):
        load(content)


@pytest.mark.parametrize("content", [b"]r\xff\xff\xff\x7f.", b"]p999999999\n."])
def test_a_far_memory_takes_no_room(content: bytes) -> None:
    assert load(content) == []


@pytest.mark.parametrize("target", [b"K\x01", b"cfastcore.foundation\nL\n", b"]"])
def test_attributes_are_set_on_nothing(target: bytes) -> None:
    with pytest.raises(ArtefactError, match=r"asks for attributes of '(int|type|list)'"):
        load(b"\x80\x02" + target + b"}X\x01\x00\x00\x00aK\x01sb.")


def test_attributes_of_a_dictionary_are_passed_over() -> None:
    found = collections.OrderedDict(a=1)
    found.__dict__["get"] = 5
    assert load(pickle.dumps(found)).get("a") == 1


def test_what_stands_outside_is_refused() -> None:
    with pytest.raises(ArtefactError, match="points to what stands outside of it"):
        load(b"\x80\x02X\x01\x00\x00\x00aQ.")


def test_a_pickle_of_too_many_pieces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_pickle, "MOST_READS", 100)
    with pytest.raises(ArtefactError, match="or 100 pieces"):
        load(b"]" * 101 + b".")


def test_a_pickle_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_pickle, "LARGEST", 1000)
    assert load(pickle.dumps("a" * 900)) == "a" * 900
    for content in (
        pickle.dumps(["a"] * 2000),
        pickle.dumps("a" * 2000),
        b"\x8e" + (2**40).to_bytes(8, "little"),
    ):
        with pytest.raises(ArtefactError, match="more than 1,000 bytes"):
            load(content)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_load_or_be_refused(content: bytes) -> None:
    try:
        load(content)
    except ArtefactError as error:
        assert "\n" not in str(error)
