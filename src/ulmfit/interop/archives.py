"""Archives of weights (`.tgz`), unpacked without trusting them."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path, PurePosixPath

from ulmfit.errors import ArtefactError

SUFFIXES = (".tgz", ".tar.gz", ".tar")

LARGEST_GROWTH, SLACK = 20, 64 * 2**20
"""What an archive unpacks to may be so many times its size, and so many bytes more."""


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive."""
    return path.name.endswith(SUFFIXES)


def unpack(path: Path, folder: Path) -> list[Path]:
    """Unpack the files of an archive into `folder`, without its own folders; return their paths.

    Raises `ArtefactError` if it is damaged or holds what an archive of weights does not: a path
    that leads out of it, a link, a device, two files of one name, or far more than its size.
    """
    limit = path.stat().st_size * LARGEST_GROWTH + SLACK
    unpacked: list[Path] = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                _check(path, member)
                limit -= member.size
                if limit < 0:
                    raise ArtefactError(f"{path}: unpacks to far more than its size; not unpacked")
                if member.isfile():
                    unpacked.append(_unpacked(path, archive, member, folder))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        reason = str(error).partition(":\n")[0]
        raise ArtefactError(f"{path}: a damaged archive ({reason}); get it again") from None
    return unpacked


def _check(path: Path, member: tarfile.TarInfo) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name:
        raise ArtefactError(f"{path}: '{member.name}' leads out of the archive; not unpacked")
    if not (member.isfile() or member.isdir()):
        raise ArtefactError(f"{path}: '{member.name}' is a link or a device; not unpacked")


def _unpacked(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> Path:
    target = folder / PurePosixPath(member.name).name
    content = archive.extractfile(member)
    if target.exists() or content is None:
        raise ArtefactError(f"{path}: holds two files '{target.name}'; give the weights themselves")
    with target.open("xb") as file:
        while block := content.read(1 << 20):
            file.write(block)
    return target
