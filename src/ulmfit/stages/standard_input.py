"""Text from standard input, kept with the run: it is read more than once, and when resumed."""

from __future__ import annotations

import os
import shutil
import sys

from ulmfit.errors import ConfigError, DataError
from ulmfit.stages.run_folder import STANDARD_INPUT, TEMPORARY, RunFolder
from ulmfit.training import processes

NAME = "-"
"""What stands for standard input among the files of text."""


def with_standard_input(run: RunFolder, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files `texts`, with standard input written to a file of the run in place of `-`.

    Raises `ConfigError` for several processes, which have no standard input, `DataError` if it is
    closed.
    """
    if NAME not in texts:
        return texts
    if processes.count() > 1:
        raise ConfigError("setting 'texts': '-' is for one process; give files to several")
    kept = run.path / STANDARD_INPUT
    if not kept.exists():
        if sys.stdin is None:
            raise DataError("standard input: closed; give text, or files in place of '-'")
        run.log.say("reading standard input")
        temporary = kept.with_name(kept.name + TEMPORARY)
        with temporary.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        os.replace(temporary, kept)
    return tuple(str(kept) if text == NAME else text for text in texts)
