"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ulmfit.atomic import NO_ROOM
from ulmfit.errors import ConfigError, DataError


def named_output(output: str, *suffixes: str) -> Path:
    """Return the path of a setting `output`; raises `ConfigError` if its ending is another."""
    if Path(output).suffix not in suffixes:
        raise ConfigError(
            f"setting 'output': found '{output}'; let its name end in {' or '.join(suffixes)}"
        )
    return Path(output)


def check_not_read(output: Path | None, *inputs: str | None) -> None:
    """Raise `ConfigError` if `output`, where there is one, is one of the files that are read."""
    if output is None or not output.exists():
        return
    for name in inputs:
        if name is not None and os.path.exists(name) and output.samefile(name):
            raise ConfigError(
                f"setting 'output': {output} would be written over {name}, which is read; give "
                "another name"
            )


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open `path` for writing; it takes its name, and replaces another file, at the end only.

    After an error inside the context nothing is left behind. A link stays one, and what is no
    file, such as a device or a pipe, is written to as it is. Raises `DataError` if a file cannot
    be made there, or if the disk is full.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    path = path.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        file = partial.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written: {error.strerror}; choose another --output"
        ) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DataError(
            f"{path}: cannot be written: {error.strerror}; make room, or choose another --output"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
