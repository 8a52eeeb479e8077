"""Opening a file of the user's: gzip, encoding, and a clear error for what is not text."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ulmfit.errors import ConfigError, DataError

_HEAD = 8192
_BROKEN = re.compile("[\udc80-\udcff]")  # how `surrogateescape` keeps a byte it cannot decode
_REMEDIES = {
    b"PAR1": "it looks like Parquet: give --reading.format parquet",
    b"\x1f\x8b": "it looks like gzip: let its name end in .gz",
    b"PK\x03\x04": "it looks like an archive or a spreadsheet: save it as .csv",
    codecs.BOM_UTF16_LE: "it looks like UTF-16: give --reading.encoding utf-16",
    codecs.BOM_UTF16_BE: "it looks like UTF-16: give --reading.encoding utf-16",
}


@contextmanager
def open_text(path: Path, encoding: str, newline: str) -> Iterator[io.TextIOWrapper]:
    """Open `path`, or what is inside it if its name ends in `.gz`, as text.

    A mark at the start that says UTF-8 (BOM) is no part of the text. Bytes that do not decode
    are kept as lone surrogates until `checked` refuses them, where the row is known.

    Raises `DataError` if the file is missing, unreadable, empty, binary or a damaged gzip file,
    `ConfigError` if the encoding is unknown.
    """
    codec = codec_of(encoding)
    with faults(path, encoding), _open_bytes(path) as raw:
        head = raw.peek(_HEAD)[:_HEAD]
        if not head:
            raise DataError(f"{path}: {_nothing(path)}")
        _refuse_binary(path, head, codec)
        yield io.TextIOWrapper(raw, encoding=codec, errors="surrogateescape", newline=newline)


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for reading at any place; a `.gz` file is unpacked to a temporary one first.

    Raises `DataError` if the file is missing, unreadable, empty or a damaged gzip file.
    """
    with faults(path), tempfile.TemporaryFile() as unpacked, _open_bytes(path) as raw:
        if not raw.peek(1):
            raise DataError(f"{path}: {_nothing(path)}")
        if isinstance(raw, gzip.GzipFile):
            shutil.copyfileobj(raw, unpacked)
            unpacked.seek(0)
            yield unpacked
        else:
            yield raw


def checked(text: str, where: str, encoding: str) -> str:
    """Return `text`, decoded by `open_text`, if all its bytes were in `encoding`.

    Surrogates encoded in UTF-8 are let through, for `UnicodeCheck` to replace or refuse.
    Raises `DataError` that names the row and the first byte that does not decode.
    """
    found = None if text.isascii() else _BROKEN.search(text)
    if found is None:
        return text
    if (whole := _with_surrogates(text, encoding)) is not None:
        return whole
    before = text[: found.start()]
    place = f"after {before[-20:]!r}" if before else "at the start"
    raise DataError(
        f"{where}: byte 0x{ord(found[0]) - 0xDC00:02x} ({place}) does not decode as "
        f"{encoding}; give the file's encoding with --reading.encoding, for example latin-1"
    )


def _with_surrogates(text: str, encoding: str) -> str | None:
    """Decode the bytes of `text` once more, encoded surrogates too; None if that fails."""
    try:
        return text.encode(encoding, "surrogateescape").decode(encoding, "surrogatepass")
    except UnicodeError:
        return None


def _open_bytes(path: Path) -> io.BufferedReader | gzip.GzipFile:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def codec_of(encoding: str) -> str:
    """Return Python's name of a text encoding, its mark at the start taken off.

    Raises `ConfigError` if it is unknown.
    """
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)  # refuses codecs that are no text encodings
    except LookupError:
        raise ConfigError(
            f"setting 'reading.encoding': unknown encoding {encoding!r}; "
            "give one that Python knows, for example utf-8, latin-1 or cp949"
        ) from None
    return "utf-8-sig" if codec == "utf-8" else codec


def _nothing(path: Path) -> str:
    """Say why there is nothing at a path, and what to do."""
    if path.is_file():
        return "the file is empty; check that it was written completely"
    return "nothing left to read; a pipe is read once only, and here more often: give a file"


def _refuse_binary(path: Path, head: bytes, codec: str) -> None:
    """NUL is a valid character: refuse it only beside broken bytes, or as a quarter of the text."""
    text = codecs.getincrementaldecoder(codec)("surrogateescape").decode(head)
    nuls = text.count("\0")
    if nuls and (4 * nuls >= len(text) or _with_surrogates(text, codec) is None):
        remedy = next(
            (remedy for magic, remedy in _REMEDIES.items() if head.startswith(magic)),
            "give a file of text, or its encoding with --reading.encoding",
        )
        raise DataError(f"{path}: a binary file, not text; {remedy}")


@contextmanager
def faults(path: Path | str, encoding: str = "") -> Iterator[None]:
    """Turn what can go wrong with the file at `path` as a whole into a `DataError`."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except gzip.BadGzipFile:
        raise DataError(
            f"{path}: not a gzip file; rename it without .gz or write it anew"
        ) from None
    except (EOFError, zlib.error):
        raise DataError(f"{path}: the gzip file is cut off or damaged; write it anew") from None
    except UnicodeError:
        raise DataError(
            f"{path}: does not decode as {encoding}; "
            "give the file's encoding with --reading.encoding, for example latin-1"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
