"""Files that `torch.save` wrote, read without running anything that is in them.

Two layouts: an archive in the zip format (PyTorch 1.6 and later) and, before it, pickles one behind
the other, followed by the weights. A tensor is returned as a `StoredTensor`, whose weights are read
when they are asked for: what nobody asks for, such as the state of an optimiser, costs nothing.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from ulmfit.errors import ArtefactError
from ulmfit.interop.safe_pickle import CONTAINERS, Ignored, Names, load_plain

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The number that the older layout opens with."""

BLOCK_NUMBERS = 4 * 2**20
"""Numbers that are read at a time."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, struct.error, RuntimeError)
"""What `zipfile` raises for an archive that it cannot read; `RuntimeError`: an encrypted one."""

_EMPTY_ROOM = 2**16
"""What the sizes of a tensor may come to, more than its numbers: of an empty one, one is 0."""

_LOCAL_HEADER = b"PK\x03\x04"
_AGAIN = "get the file again"


class Place(NamedTuple):
    """Where weights stand in a file."""

    begin: int
    size: int
    """Bytes."""
    crc: int | None
    """Their CRC-32, where the layout keeps one."""


@dataclass(frozen=True)
class Storage:
    """Numbers of one type in a file; several tensors may share them."""

    path: Path
    key: str
    dtype: torch.dtype
    count: int
    place: Callable[[str], Place]
    """Finds them by their key."""

    def pieces(self, size: int) -> Iterator[Tensor]:
        """Yield the numbers, `size` at a time.

        Raises `ArtefactError` if they are not whole: before the first, or after the last.
        """
        begin, found, crc = self.place(self.key)
        if self.count * self.dtype.itemsize != found:
            raise ArtefactError(
                f"{self.path}: weights {self.key} have {found:,} bytes, which is not what the "
                f"pickle says; {_AGAIN}"
            )
        if begin + found > self.path.stat().st_size:
            raise ArtefactError(f"{self.path}: truncated within weights {self.key}; {_AGAIN}")
        read_crc = 0
        with self.path.open("rb") as file:
            file.seek(begin)
            for start in range(0, self.count, size):
                piece = torch.empty(min(size, self.count - start), dtype=self.dtype)
                view = piece.view(torch.uint8).numpy().data
                file.readinto(view)
                read_crc = zlib.crc32(view, read_crc)
                yield piece
        if crc is not None and read_crc != crc:
            raise ArtefactError(f"{self.path}: weights {self.key} are altered; {_AGAIN}")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file, not read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self) -> Tensor:
        """Return the tensor, on the CPU. Raises `ArtefactError` if its weights are not whole."""
        pieces = list(self.storage.pieces(max(1, self.storage.count)))
        numbers = pieces[0] if pieces else torch.empty(0, dtype=self.storage.dtype)
        return numbers.as_strided(self.shape, self.stride, self.offset)

    def blocks(self) -> Iterator[Tensor]:
        """Yield the tensor some rows at a time: about `BLOCK_NUMBERS` numbers, at least a row.

        So a tensor that has its storage to itself is never in memory as a whole.
        """
        width = math.prod(self.shape[1:])
        rows = max(1, BLOCK_NUMBERS // max(1, width))
        row_by_row = torch.empty(self.shape, device="meta").stride() == self.stride
        if self.storage.count != math.prod(self.shape) or not row_by_row:
            yield from torch.split(self.read(), rows)
            return
        for piece in self.storage.pieces(rows * max(1, width)):
            yield piece.view(-1, *self.shape[1:])


def read_torch_file(path: Path) -> Any:
    """Return what is in the file: dictionaries, lists, strings, numbers, and `StoredTensor`.

    Raises `ArtefactError` if it is damaged, of neither layout, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            is_archive = file.read(4) == _LOCAL_HEADER
            file.seek(0)
            return _read_archive(path, file) if is_archive else _read_legacy(path, file)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None


# The two layouts


def _read_archive(path: Path, file: BinaryIO) -> Any:
    try:
        archive = zipfile.ZipFile(file)
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ArtefactError(f"{path}: an archive, but not of PyTorch; give a file of weights")
        _refuse_compressed(path, archive)
        folder = pickles[0].removesuffix("data.pkl")
        order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in entries else b""
        program = archive.read(pickles[0])
    except _DAMAGED as error:
        raise ArtefactError(f"{path}: a damaged archive ({error}); {_AGAIN}") from None
    _refuse_big_endian(path, order == b"big")

    def place(key: str) -> Place:
        entry = entries.get(f"{folder}data/{key}")
        if entry is None:
            raise ArtefactError(f"{path}: weights {key} are missing; {_AGAIN}")
        with path.open("rb") as again:
            again.seek(entry.header_offset)
            header = again.read(30)
        if len(header) < 30 or not header.startswith(_LOCAL_HEADER):
            raise ArtefactError(f"{path}: a damaged archive (no header); {_AGAIN}")
        begin = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        return Place(begin, entry.file_size, entry.CRC)

    pointed_to = _storages(path, place)
    return load_plain(io.BytesIO(program), str(path), NAMES, pointed_to)


def _refuse_compressed(path: Path, archive: zipfile.ZipFile) -> None:
    """A compressed entry may be a bomb, and PyTorch writes none."""
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise ArtefactError(
                f"{path}: '{entry.filename}' is compressed, which PyTorch never does; not read"
            )


def _read_legacy(path: Path, file: BinaryIO) -> Any:
    where = str(path)
    if load_plain(file, where) != LEGACY_MAGIC:
        raise ArtefactError(f"{path}: a pickle, but not of PyTorch; give a file of weights")
    load_plain(file, where)  # the version of the layout
    machine = load_plain(file, where)
    _refuse_big_endian(path, isinstance(machine, dict) and not machine.get("little_endian", True))
    places: dict[str, Place] = {}

    def place(key: str) -> Place:
        if key not in places:
            raise ArtefactError(f"{path}: weights {key} are missing; {_AGAIN}")
        return places[key]

    item_bytes: dict[str, int] = {}
    storages = _storages(path, place)

    def pointed_to(pointer: Any) -> Storage:
        storage = storages(pointer)
        item_bytes[storage.key] = storage.dtype.itemsize
        return storage

    value = load_plain(file, where, NAMES, pointed_to)
    keys = load_plain(file, where)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ArtefactError(f"{path}: does not say in which order its weights stand; {_AGAIN}")
    end = path.stat().st_size
    for key in keys:
        count = file.read(8)
        if len(count) < 8 or key not in item_bytes:
            raise ArtefactError(f"{path}: truncated before weights {key}; {_AGAIN}")
        size = max(0, struct.unpack("<q", count)[0]) * item_bytes[key]
        if size > end - file.tell():
            raise ArtefactError(f"{path}: truncated within weights {key}; {_AGAIN}")
        places[key] = Place(file.tell(), size, None)
        file.seek(size, io.SEEK_CUR)
    return value


def _refuse_big_endian(path: Path, found: bool) -> None:
    if found:
        raise ArtefactError(f"{path}: written on a big-endian machine; save it anew on another")


# What the pickle's names and pointers stand for


def _storages(path: Path, place: Callable[[str], Place]) -> Callable[[Any], Storage]:
    """Return what turns a pickle's pointer into the numbers it points to."""

    def pointed_to(pointer: Any) -> Storage:
        kind, dtype, key, _, count, *view = pointer
        named = kind == "storage" and isinstance(dtype, torch.dtype) and isinstance(key, str)
        if not named or type(count) is not int:
            raise ValueError("a pointer to no weights")
        if any(part is not None for part in view):
            raise ValueError("a view of weights, from before PyTorch 0.4")
        return Storage(path, key, dtype, count, place)

    return pointed_to


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    """Stand for `torch._utils._rebuild_tensor_v2`: check the numbers, and keep them."""
    if not isinstance(storage, Storage) or not len(shape) == len(stride) <= MOST_AXES:
        raise ValueError("a tensor without weights")
    if not all(type(number) is int and number >= 0 for number in (offset, *shape, *stride)):
        raise ValueError("a tensor of no possible shape")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage.count:
        raise ValueError("a tensor that reaches beyond its weights")
    if math.prod(max(1, size) for size in shape) > max(_EMPTY_ROOM, storage.count):
        raise ValueError("a tensor that is larger than its weights")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride))


_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

MOST_AXES = 64
"""Of a tensor, as PyTorch has it."""

_OF_NUMPY = [
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
]
"""What a number of NumPy is made of: fastai's optimisers hold rates and momenta as such."""

NAMES: Names = {
    **CONTAINERS,
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
    ("torch._utils", "_rebuild_tensor"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **dict.fromkeys(_OF_NUMPY, Ignored),
}
"""All that a file of weights may ask for."""
