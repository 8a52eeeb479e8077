from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ulmfit.errors import ArtefactError
from ulmfit.interop import torch_files
from ulmfit.interop.torch_files import Storage, StoredTensor, read_torch_file

ARCHIVE, LEGACY = True, False
LAYOUTS = pytest.mark.parametrize("layout", [ARCHIVE, LEGACY], ids=["archive", "legacy"])


def save(path: Path, value: Any, layout: bool) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=layout)
    return path


def read(value: Any) -> Any:
    """The value with its tensors read."""
    if isinstance(value, dict):
        return {name: read(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [read(inner) for inner in value]
    return value.read() if isinstance(value, StoredTensor) else value


def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    matrix = torch.randn(6, 4)
    return {
        "matrix": matrix,
        "transposed": matrix.T,
        "part": matrix[2:5, 1:3],
        "row": matrix[3],
        "empty": torch.empty(0, 3),
        "number": torch.tensor(3, dtype=torch.int64),
        "parameter": nn.Parameter(torch.randn(2, 2)),
        **{
            str(dtype): torch.arange(5).to(dtype)
            for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.int16,
                          torch.int8, torch.uint8, torch.bool)
        },
    }  # fmt: skip


@LAYOUTS
def test_an_optimizer_with_numbers_of_numpy_is_no_hindrance(tmp_path: Path, layout: bool) -> None:
    """As fastai's schedules leave them."""
    hypers = [{"lr": np.float64(0.1), "mom": np.float32(0.9)}]
    value = {"model": {"a": torch.ones(2)}, "opt": {"hypers": hypers, "state": [{}]}}
    found = read_torch_file(save(tmp_path / "w.pth", value, layout))
    torch.testing.assert_close(read(found["model"])["a"], torch.ones(2))


def test_a_tensor_of_too_many_axes_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", {"a": torch.ones([1] * 65)}, ARCHIVE)
    with pytest.raises(ArtefactError, match="a tensor without weights"):
        read_torch_file(path)


@LAYOUTS
def test_every_tensor_comes_back(tmp_path: Path, layout: bool) -> None:
    found = read_torch_file(save(tmp_path / "w.pth", tensors(), layout))
    for name, tensor in tensors().items():
        assert found[name].shape == tensor.shape, name
        assert found[name].read().dtype == tensor.dtype, name
        assert torch.equal(found[name].read(), tensor), name


@LAYOUTS
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_blocks_are_the_rows(
    tmp_path: Path, layout: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_files, "BLOCK_NUMBERS", size)
    found = read_torch_file(save(tmp_path / "w.pth", tensors(), layout))
    for name, tensor in tensors().items():
        if tensor.ndim and tensor.numel():
            blocks = list(found[name].blocks())
            assert torch.equal(torch.cat(blocks), tensor), name
            assert all(block.numel() <= max(size, tensor[:1].numel()) for block in blocks), name


@LAYOUTS
def test_plain_values_and_nested_ones_come_back(tmp_path: Path, layout: bool) -> None:
    value = {"model": OrderedDict(a=torch.ones(2)), "opt": {"hypers": [{"lr": 0.1}], "step": 3}}
    found = read(read_torch_file(save(tmp_path / "w.pth", value, layout)))
    assert torch.equal(found["model"]["a"], torch.ones(2))
    assert found["opt"] == value["opt"]


@LAYOUTS
def test_what_is_not_asked_for_is_not_read(
    tmp_path: Path, layout: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    before = Storage.pieces

    def counted(self: Storage, size: int) -> Iterator[Tensor]:
        asked.append(self.key)
        return before(self, size)

    monkeypatch.setattr(Storage, "pieces", counted)
    found = read_torch_file(save(tmp_path / "w.pth", tensors(), layout))
    assert asked == []
    found["matrix"].read()
    assert len(asked) == 1


class Runs:
    """Pickles as a call."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@LAYOUTS
def test_code_is_refused_and_does_not_run(tmp_path: Path, layout: bool) -> None:
    value = {"a": torch.ones(2), "b": Runs(tmp_path / "ran")}
    path = save(tmp_path / "w.pth", value, layout)
    with pytest.raises(ArtefactError, match=r"w\.pth: the pickle asks for 'posix\.mkdir'"):
        read_torch_file(path)
    assert not (tmp_path / "ran").exists()


@LAYOUTS
def test_a_whole_module_is_refused(tmp_path: Path, layout: bool) -> None:
    path = save(tmp_path / "learner.pkl", nn.Linear(2, 2), layout)
    with pytest.raises(ArtefactError, match=r"asks for 'torch\.nn\.modules\.linear\.Linear'"):
        read_torch_file(path)


@LAYOUTS
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_told(tmp_path: Path, layout: bool, share: float) -> None:
    path = save(tmp_path / "w.pth", tensors(), layout)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ArtefactError, match=r"w\.pth: .*; get the file again") as caught:
        read(read_torch_file(path))
    assert "\n" not in str(caught.value)


def test_an_altered_weight_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", {"a": torch.full((50,), 3.0)}, ARCHIVE)
    content = path.read_bytes()
    place = content.index(struct.pack("<50f", *[3.0] * 50))
    path.write_bytes(content[: place + 8] + b"\x01" + content[place + 9 :])
    with pytest.raises(ArtefactError, match=r"w\.pth: weights 0 are altered; get the file again"):
        read(read_torch_file(path))


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None], **how: Any) -> Path:
    """The archive with each entry as `change(name, content)` has it."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, content in entries.items():
            if (changed := change(name, content)) is not None:
                archive.writestr(name, changed)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, c: None if n.endswith("data/0") else c, "weights 0 are missing"),
        (lambda n, c: c[:-4] if n.endswith("data/0") else c, "weights 0 have 4 bytes, which is"),
        (lambda n, c: b"big" if n.endswith("byteorder") else c, "big-endian machine"),
        (lambda n, c: None if n.endswith("data.pkl") else c, "an archive, but not of PyTorch"),
        (lambda n, c: c[:30] if n.endswith("data.pkl") else c, "not a pickle, or a damaged one"),
    ],
)
def test_a_changed_archive_is_told(tmp_path: Path, change: Any, message: str) -> None:
    path = save(tmp_path / "w.pth", {"a": torch.ones(2)}, ARCHIVE)
    with pytest.raises(ArtefactError, match=message):
        read(read_torch_file(rewritten(path, change)))


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", {"a": torch.zeros(100_000)}, ARCHIVE)
    rewritten(path, lambda _, content: content, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ArtefactError, match=r"is compressed, which PyTorch never does; not read"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("offset", "shape", "stride", "reason"),
    [
        (0, (3, 4), (4, 1), "reaches beyond its weights"),
        (8, (2,), (1,), "reaches beyond its weights"),
        (0, (-1,), (1,), "of no possible shape"),
        (-4, (2,), (1,), "of no possible shape"),
        (0, (2.0,), (1,), "of no possible shape"),
        (0, (2, 2), (1,), "without weights"),
        (0, (10**30,), (1,), "reaches beyond its weights"),
        (0, (10**6, 10**6), (0, 0), "larger than its weights"),
        (0, (0, 10**30), (0, 0), "larger than its weights"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(
    tmp_path: Path, offset: Any, shape: Any, stride: Any, reason: str
) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            storage = torch.ones(9)._typed_storage()  # type: ignore[no-untyped-call]
            return torch._utils._rebuild_tensor_v2, (storage, offset, shape, stride, False, {})

    path = save(tmp_path / "w.pth", {"a": Bad()}, ARCHIVE)
    with pytest.raises(ArtefactError, match=reason):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a pickle"),
        (b"\x89PNG\r\n\x1a\n", "not a pickle"),
        (pickle.dumps({"a": 1}), "a pickle, but not of PyTorch"),
        (b"PK\x03\x04 and no more", "a damaged archive"),
    ],
)
def test_other_files_are_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ArtefactError, match=rf"w\.pth: {message}"):
        read_torch_file(tmp_path / "w.pth")


def test_an_order_of_weights_that_takes_for_ever_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", {}, LEGACY)
    tuples = b")" + b"2\x86" * 40  # (t, t), forty deep: 2**40 steps to be hashed
    content = path.read_bytes()
    empty = pickle.dumps([], protocol=2)
    assert content.endswith(empty)
    path.write_bytes(content.removesuffix(empty) + b"\x80\x02](" + tuples + b"e.")
    with pytest.raises(ArtefactError, match="does not say in which order its weights stand"):
        read_torch_file(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"none\.pth: cannot be read: No such file"):
        read_torch_file(tmp_path / "none.pth")
