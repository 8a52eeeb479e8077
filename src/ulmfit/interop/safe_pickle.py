"""Pickles of others, read as plain values: nothing in them can run.

A pickle is a program for a small machine, and may ask for any function by its name. Here names are
looked up in a short list of what a file of weights or words needs, and any other is refused. This
is the only module that reads pickles.
"""

from __future__ import annotations

import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, BinaryIO, ClassVar

from ulmfit.errors import ArtefactError

LARGEST = 64 * 2**20
"""Bytes of a pickle, at most: the weights stand beside it in every format read here."""

MOST_READS = 8 * 2**20
"""How often a pickle is read from, at most: once or twice an instruction, and a word takes two or
three of them."""

REFUSED = (
    pickle.EXT1,
    pickle.EXT2,
    pickle.EXT4,
    pickle.INST,
    pickle.OBJ,
    pickle.BYTEARRAY8,
    pickle.NEXT_BUFFER,
    pickle.READONLY_BUFFER,
    pickle.EMPTY_SET,
    pickle.ADDITEMS,
    pickle.FROZENSET,
)
"""Instructions that no file of weights or words has."""

Names = Mapping[tuple[str, str], Any]
"""What stands for a name, by module and name."""


class PickledList(list[Any]):
    """A list of fastcore (`L`), or of fastai's labels, which pickles its items as an attribute."""


class Ignored:
    """A value that is not wanted, such as a number of NumPy in an optimiser."""

    def __init__(self, *_: Any) -> None:
        pass


CONTAINERS: Names = {
    ("collections", "OrderedDict"): OrderedDict,
    ("fastcore.foundation", "L"): PickledList,
    ("fastai2.core.foundation", "L"): PickledList,
    ("fastai.data.transforms", "CategoryMap"): PickledList,
    ("fastai2.data.transforms", "CategoryMap"): PickledList,
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
    try:
        return _Unpickler(_Limited(file), names, pointed_to).load()
    except _CodeError as error:
        raise ArtefactError(
            f"{where}: the pickle asks for {error}, which is neither a tensor nor plain data; "
            "it was not run: do not trust this file"
        ) from None
    except Exception as error:  # a damaged pickle may raise anything
        raise ArtefactError(f"{where}: {_damaged(error)}") from None


class _CodeError(Exception):
    """A pickle asks for what it may not have."""


class _Limited:
    """A file that can be read only so far and so often: it reads, and reads lines."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._bytes, self._reads = LARGEST, MOST_READS

    def read(self, size: int) -> bytes:
        if size > self._bytes:
            raise ValueError(f"more than {LARGEST:,} bytes")
        return self._counted(self._file.read(size))

    def readline(self) -> bytes:
        line = self._counted(self._file.readline(self._bytes + 1))
        if not line.endswith(b"\n"):
            raise EOFError
        return line

    def count(self, pieces: int) -> None:
        """Count what one instruction makes of so many pieces."""
        self._reads -= pieces
        if self._bytes < 0 or self._reads < 0:
            raise ValueError(f"more than {LARGEST:,} bytes, or {MOST_READS:,} pieces")

    def _counted(self, content: bytes) -> bytes:
        self._bytes -= len(content)
        self.count(1)
        return content


_Machine: Any = pickle._Unpickler  # of which typeshed knows little


class _Unpickler(_Machine):  # type: ignore[misc]
    """The machine in Python, of which every instruction can be replaced."""

    def __init__(
        self, file: _Limited, names: Names, pointed_to: Callable[[Any], Any] | None
    ) -> None:
        super().__init__(file)
        self._file, self._names, self._pointed_to = file, names, pointed_to

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._names:
            raise _CodeError(f"'{module}.{name}'")
        return self._names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        if self._pointed_to is None:
            raise ValueError("it points to what stands outside of it")
        return self._pointed_to(pid)

    def load_build(self) -> None:
        """Of all values, a list of fastcore alone has attributes that are wanted: its items.

        The machine would set any attribute of anything, functions and classes included.
        """
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, PickledList):
            self._file.count(len(state["items"]))
            target[:] = state["items"]
        elif not isinstance(target, OrderedDict | Ignored):  # PyTorch's attributes are not needed
            raise _CodeError(f"attributes of '{type(target).__name__}'")

    def load_reduce(self) -> None:
        """Call what a name stands for; a dictionary may be made from pairs."""
        function, arguments = self.stack[-2:]
        self._file.count(sum(len(each) for each in arguments if isinstance(each, Sized)))
        if function is OrderedDict:
            _check_keys(pair[0] for pairs in arguments for pair in pairs)
        super().load_reduce()

    def load_setitem(self) -> None:
        """Put a value into a dictionary."""
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        """Put several into it."""
        _check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self) -> None:
        """Make a dictionary of what is there."""
        _check_keys(self.stack[::2])
        super().load_dict()

    def load_frame(self) -> None:
        """Frames are for speed: their length is passed over, so that every read is counted."""
        self.read(8)

    dispatch: ClassVar = {
        code: carry_out
        for code, carry_out in _Machine.dispatch.items()
        if bytes([code]) not in REFUSED
    } | {
        pickle.BUILD[0]: load_build,
        pickle.REDUCE[0]: load_reduce,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.FRAME[0]: load_frame,
    }


def _check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys but words and whole numbers.

    Tuples in tuples take for ever to be found again, and so do many numbers of one hash.
    """
    for key in keys:
        if type(key) not in (str, bytes, int, bool, type(None)):
            raise _CodeError(f"a key of the type '{type(key).__name__}'")
        if type(key) is int and abs(key) >= sys.hash_info.modulus:
            raise _CodeError("a number as large as its hash as a key")


def _damaged(error: Exception) -> str:
    if isinstance(error, EOFError):
        reason = "it ends too soon"
    elif isinstance(error, KeyError):
        reason = f"no instruction or memory {error}"
    else:
        reason = " ".join(str(error).split()) or type(error).__name__
    return f"not a pickle, or a damaged one ({reason}); get the file again"
