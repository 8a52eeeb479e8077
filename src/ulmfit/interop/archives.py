"""Archives of weights (`.tgz`), unpacked without trusting them."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from ulmfit.atomic import NO_ROOM
from ulmfit.errors import ArtefactError

SUFFIXES = (".tgz", ".tar.gz", ".tar")

LARGEST_GROWTH, SLACK = 20, 64 * 2**20
"""What an archive unpacks to may be so many times its size, and so many bytes more."""

MOST_FILES = 1000
"""Files and folders in an archive."""

BLOCK_BYTES = 2**20
"""Read at a time; a name in the archive is no longer."""

_GZIP = b"\x1f\x8b"


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive."""
    return path.name.endswith(SUFFIXES)


def unpack(path: Path, folder: Path) -> list[Path]:
    """Unpack the files of an archive into `folder`, without its own folders; return their paths.

    Hidden files are left out, such as those that macOS adds to every other.

    Raises `ArtefactError` if it is damaged or holds what an archive of weights does not: a path
    that leads out of it, a link, a device, two files of one name, or far more than its size.
    """
    limit = path.stat().st_size * LARGEST_GROWTH + SLACK
    unpacked: list[Path] = []
    try:
        with _opened(path) as content, _tar(content, limit) as archive:
            for count, member in enumerate(archive):
                _check(path, member)
                limit -= member.size
                if limit < 0 or count == MOST_FILES:
                    raise ArtefactError(f"{path}: unpacks to far more than its size; not unpacked")
                if member.isfile() and not PurePosixPath(member.name).name.startswith("."):
                    unpacked.append(_unpacked(path, archive, member, folder))
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            reason = f"no room in {folder} to unpack it: {error.strerror}"
            raise ArtefactError(f"{path}: {reason}; make room") from None
        reason = str(error).partition(":\n")[0]
        raise ArtefactError(f"{path}: a damaged archive ({reason}); get it again") from None
    return unpacked


def _opened(path: Path) -> BinaryIO:
    """Open an archive, compressed by gzip or not."""
    with path.open("rb") as file:
        compressed = file.read(len(_GZIP)) == _GZIP
    return cast(BinaryIO, gzip.open(path)) if compressed else path.open("rb")


def _tar(content: BinaryIO, limit: int) -> tarfile.TarFile:
    return tarfile.open(fileobj=cast(BinaryIO, _Blocks(content, limit)), mode="r:")


class _Blocks:
    """A file that is read a block at a time, and no more of it than `limit` bytes.

    `tarfile` reads a name of any length at once, and a map of holes to its end.
    """

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        self._left = limit

    def read(self, size: int) -> bytes:
        if size > BLOCK_BYTES:
            raise tarfile.ReadError(f"a name of {size:,} bytes")
        found = self._read(size)
        self._left -= len(found)
        if self._left < 0:
            raise tarfile.ReadError("far more in it than its size")
        return found


def _check(path: Path, member: tarfile.TarInfo) -> None:
    if member.size < 0:
        raise tarfile.ReadError(f"'{member.name}' of {member.size:,} bytes")
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        raise ArtefactError(f"{path}: '{member.name}' leads out of the archive; not unpacked")
    if not (member.isfile() or member.isdir()):
        raise ArtefactError(f"{path}: '{member.name}' is a link or a device; not unpacked")


def _unpacked(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> Path:
    target = folder / PurePosixPath(member.name).name
    content = archive.extractfile(member)
    if target.exists() or content is None:
        raise ArtefactError(f"{path}: holds two files '{target.name}'; give the weights themselves")
    with target.open("xb") as file:
        while block := content.read(BLOCK_BYTES):
            file.write(block)
    return target
