"""Pickles of others, read as plain values: nothing in them can run.

A pickle is a program for a small machine, and may ask for any function by its name. Here names are
looked up in a short list of what a file of weights or words needs, and any other is refused. This
is the only module that reads pickles.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from ulmfit.errors import ArtefactError

LARGEST = 256 * 2**20
"""Bytes of a pickle, at most: the weights stand beside it in every format read here."""

REFUSED = ("EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEXT_BUFFER", "READONLY_BUFFER")
"""Instructions that no file of weights or words has."""

Names = Mapping[tuple[str, str], Any]
"""What stands for a name, by module and name."""


class PickledList(list[Any]):
    """A list of fastcore (`L`), which pickles its items as an attribute."""

    def __setstate__(self, state: Any) -> None:
        """Take up the items."""
        self[:] = state["items"]


CONTAINERS: Names = {
    ("collections", "OrderedDict"): OrderedDict,
    ("fastcore.foundation", "L"): PickledList,
    ("fastai2.core.foundation", "L"): PickledList,
}
"""Containers that are no built-in type of the machine."""


def load_plain(
    file: BinaryIO,
    where: str,
    names: Names = CONTAINERS,
    pointed_to: Callable[[Any], Any] | None = None,
) -> Any:
    """Return the value of the pickle at the place of `file`, and stop right behind it.

    Lists, tuples, dictionaries, strings, numbers, and what `names` has. `pointed_to` gives what a
    persistent id stands for, by which PyTorch's files point to their weights.

    Raises `ArtefactError` that begins with `where` if the pickle is damaged, too large, or asks
    for anything else.
    """
    content = _pickle_at(file, where)
    try:
        return _Unpickler(content, names, pointed_to).load()
    except _CodeError as error:
        raise ArtefactError(
            f"{where}: the pickle asks for {error}, which is neither a tensor nor plain data; "
            "it was not run: do not trust this file"
        ) from None
    except Exception as error:  # a damaged pickle may raise anything
        raise ArtefactError(f"{where}: {_damaged(error)}") from None


class _CodeError(Exception):
    """A pickle asks for what it may not have."""


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, content: bytes, names: Names, pointed_to: Callable[[Any], Any] | None
    ) -> None:
        super().__init__(io.BytesIO(content))
        self._names, self._pointed_to = names, pointed_to

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._names:
            raise _CodeError(f"'{module}.{name}'")
        return self._names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        if self._pointed_to is None:
            raise _CodeError("what stands outside of it")
        return self._pointed_to(pid)


def _pickle_at(file: BinaryIO, where: str) -> bytes:
    """Return the bytes of the pickle at the place of `file`, its instructions looked through.

    The machine makes room for as many memories as an instruction numbers: more than a pickle has
    bytes would be an attack on the memory of the computer.
    """
    start = file.tell()
    reader = _Limited(file)
    try:
        # It reads, and reads lines, and asks no more of a file.
        for instruction, argument, _ in pickletools.genops(reader):  # type: ignore[arg-type]
            if instruction.name in REFUSED:
                raise ValueError(f"instruction {instruction.name}")
            if instruction.name.endswith("PUT") and (argument or 0) > reader.bytes_read:
                raise ValueError(f"{argument} memories")
    except Exception as error:  # pickletools, too, may raise anything
        raise ArtefactError(f"{where}: {_damaged(error)}") from None
    file.seek(start)
    return file.read(reader.bytes_read)


class _Limited:
    """A file of which no more than `LARGEST` bytes can be read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes_read = 0

    def read(self, size: int) -> bytes:
        return self._counted(self._file.read(min(size, LARGEST)), size)

    def readline(self) -> bytes:
        return self._counted(self._file.readline(LARGEST), 0)

    def _counted(self, content: bytes, size: int) -> bytes:
        self.bytes_read += len(content)
        if max(self.bytes_read, size) >= LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        return content


def _damaged(error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"not a pickle, or a damaged one ({reason}); get the file again"
