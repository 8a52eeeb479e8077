"""Files of data sets on the Hugging Face hub, by name: `hf://datasets/OWNER/NAME@REVISION/PATH`.

They are downloaded once, into the hub's own cache, which knows the SHA-256 of each large file; a
file that does not match it is refused.
"""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from ulmfit.errors import DataError

SCHEME = "hf://"
_NAME = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^/]+))?/([^/].*[^/]|[^/])")


def is_on_hub(path: str) -> bool:
    """Tell whether `path` names files on the hub."""
    return path.startswith(SCHEME)


@cache
def hub_files(name: str) -> tuple[Path, ...]:
    """Return the local copies of the files that `name` stands for, sorted.

    The path in `name` may be a pattern (`*`, which stands for folders too, `?`, `[...]`);
    `@REVISION` is a branch, a tag or a commit, a `/` in it written as `%2F`, and `main` where it is
    left out.

    Raises `DataError` if the name is wrong, the hub does not have it, or a file was altered.
    """
    *_, pattern = _parts(name)
    folder = _snapshot(name)
    files = sorted(  # as the hub's own library matches them
        path
        for path in folder.rglob("*")
        if path.is_file() and fnmatch(path.relative_to(folder).as_posix(), pattern)
    )
    if not files:
        raise DataError(f"{name}: the data set has no file of this name or pattern")
    for file in files:
        _check(name, file)
    return tuple(files)


def as_found(name: str) -> str:
    """Return `name` with the commit that it stood for in place of the revision."""
    repository, _, pattern = _parts(name)
    return f"{SCHEME}datasets/{repository}@{_snapshot(name).name}/{pattern}"


def _parts(name: str) -> tuple[str, str | None, str]:
    """Return the repository, the revision, if it is given, and the path or pattern."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise DataError(f"{name}: not a name on the hub; write hf://datasets/OWNER/NAME/PATH")
    repository, revision, pattern = found.groups()
    return repository, revision and unquote(revision), pattern


@cache
def _snapshot(name: str) -> Path:
    """Download the files and return the folder they are in, which is called by its commit."""
    from huggingface_hub import snapshot_download

    repository, revision, pattern = _parts(name)
    try:
        folder = snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=[pattern]
        )
    except Exception as error:  # the errors of the hub and of its network have no common base
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{name}: not to be had from the hub: {reason}; check name and network, or give a file"
        ) from None
    return Path(folder)


def _check(name: str, file: Path) -> None:
    """Refuse a large file whose content is not what the hub's cache calls it by."""
    expected = file.resolve().name
    if re.fullmatch("[0-9a-f]{64}", expected) is None:
        return  # a small file, or a cache without links
    with file.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != expected:
            raise DataError(
                f"{name}: {file.name} does not match its SHA-256; remove {file.resolve()} and "
                "download it again"
            )
