"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ulmfit.errors import DataError


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open `path` for writing; it takes its name, and replaces another file, at the end only.

    After an error inside the context nothing is left behind. Raises `DataError` if a file cannot
    be made there.
    """
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
    finally:
        partial.unlink(missing_ok=True)
