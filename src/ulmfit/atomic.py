"""Files that a killed process leaves as they were, or whole."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What the system says when a disk takes no more, whichever file it was."""


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Replace `path` at once: a reader finds the old content or the new, after a power cut too."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def flush_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk; only POSIX opens a folder for this."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
