"""What a run says while it goes on: JSON lines for programs, a progress bar for people."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import rich.console
from rich.progress import BarColumn, Progress, TextColumn

from ulmfit.text.printable import printable


class Console(rich.console.Console):
    """A terminal or a pipe whose reader may go: what is said then is lost, and nothing else."""

    def on_broken_pipe(self) -> None:
        """Say nothing from here on; rich would end the process."""
        self.quiet = True


class RunLog:
    """A log of JSON lines that can be cut back to a checkpoint, with lines for people on stderr."""

    def __init__(self, path: Path | None, quiet: bool = False) -> None:
        """Append to the file at `path` (none: nothing is written); `quiet` shows nothing."""
        self.path = path
        self.console = Console(stderr=True, quiet=quiet, highlight=False, emoji=False)

    def write(self, event: str, **values: Any) -> None:
        """Append one event with its values and the time; NaN and infinities become null."""
        if self.path is not None:
            line = json.dumps({"event": event, "time": round(time.time(), 3), **values})
            finite = json.loads(line, parse_constant=lambda _: None)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite) + "\n")

    def say(self, message: str) -> None:
        """Show a line to the person who waits."""
        self.console.print(printable(message), markup=False, soft_wrap=True)

    def warn(self, message: str | None) -> None:
        """Show and write a message that is not to be missed, if there is one."""
        if message:
            self.say(f"warning: {message}")
            self.write("warning", message=message)

    def size(self) -> int:
        """Return the number of bytes written so far."""
        return self.path.stat().st_size if self.path is not None and self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget what was written after the first `size` bytes: the steps that are done again."""
        if self.path is not None and self.size() > size:
            with self.path.open("r+b") as file:
                file.truncate(size)

    def mend(self) -> None:
        """Forget a last line that was not written whole, as on a full disk."""
        if self.path is not None and self.path.exists():
            self.cut(self.path.read_bytes().rfind(b"\n") + 1)


class ProgressBar:
    """A bar with speed and time left on a terminal; now and then a line elsewhere."""

    SECONDS_BETWEEN_LINES = 30.0

    def __init__(self, log: RunLog, title: str, total: int) -> None:
        """Show the progress of `total` batches of the part named `title`."""
        self._log, self._title, self._total = log, title, total
        self._bar: Progress | None = None
        self._last_line = time.monotonic()
        if log.console.is_terminal and not log.console.quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}  {task.fields[note]}"),
                console=log.console,
                transient=True,
            )

    def __enter__(self) -> ProgressBar:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, note: str, seconds_left: float) -> None:
        """Show that `done` batches are done; `note` says how it goes."""
        note = f"{note}  {seconds_left / 60:.1f} min left"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
        elif time.monotonic() - self._last_line > self.SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._log.say(f"{self._title}: {done}/{self._total}  {note}")
