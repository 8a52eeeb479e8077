"""The working folder of a run: its lock, its settings, its checkpoints, its finished parts.

`OUTPUT.run` stands beside the artefact to be. A part (the forward language model, the backward
classifier) leaves `PART.checkpoint` while it trains and `PART.finished` when it is done; the
artefact is made of the finished parts, and then the folder goes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from ulmfit.config.settings import to_dict
from ulmfit.config.stages import OutputConfig
from ulmfit.errors import ArtefactError, BusyError, ResumeError, UlmfitError
from ulmfit.training.checkpoint import load_checkpoint, save_checkpoint
from ulmfit.training.log import RunLog

WAYS_OF_CALLING = ("resume", "overwrite", "cache")
"""Settings that say how to run, not what: they may differ when a run is resumed."""


class RunFolder:
    """The working folder beside `config.output`; a context manager that holds its lock."""

    def __init__(self, config: OutputConfig, quiet: bool = False) -> None:
        """Prepare the working folder of a run with the settings `config`."""
        self.config = config
        self.output = Path(config.output)
        self.path = self.output.with_name(self.output.name + ".run")
        self._lock = FileLock(self.output.with_name(self.output.name + ".lock"))
        self.log = RunLog(self.path / "log.jsonl", quiet)

    def __enter__(self) -> RunFolder:
        """Take the lock and check that nothing of value stands in the way.

        Raises `BusyError` if another process works on the output, `ArtefactError` if there is an
        artefact already, `ResumeError` if the interrupted run there is another one.
        """
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise BusyError(
                f"{self.output}: another process is writing it; wait for it or choose another "
                "--output"
            ) from None
        except OSError as error:
            raise ArtefactError(
                f"{self.output}: cannot be written: {error.strerror}; choose another --output"
            ) from None
        try:
            self._enter()
        except UlmfitError:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, UlmfitError):
            raise ArtefactError(
                f"{self.output}: cannot be written: {error}; free some space or choose another "
                "--output, then go on with --resume"
            ) from None

    def checkpoint(self, part: str) -> Path:
        """Return the path of the checkpoint of a part that is being trained."""
        return self.path / f"{part}.checkpoint"

    def finish(self, part: str, tensors: Mapping[str, Tensor], results: dict[str, Any]) -> None:
        """Keep the weights and results of a finished part and drop its checkpoint."""
        save_checkpoint(self.path / f"{part}.finished", dict(tensors), results)
        self.checkpoint(part).unlink(missing_ok=True)

    def finished(self, part: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the weights and results of a part, or None if it is not finished."""
        path = self.path / f"{part}.finished"
        return load_checkpoint(path) if path.exists() else None

    def resolve_once(self, name: str, value: Any) -> Any:
        """Return the value kept under `name`; the first time, keep `value`.

        For what depends on the machine (threads, free memory), so that a resumed run keeps it.
        """
        path = self.path / "resolved.json"
        values = json.loads(path.read_text()) if path.exists() else {}
        if name not in values:
            values[name] = value
            _write_atomically(path, values)
        return values[name]

    def remove(self) -> None:
        """Remove the working folder: the artefact stands."""
        shutil.rmtree(self.path)

    def _enter(self) -> None:
        if self.output.exists() and not self.config.overwrite:
            raise ArtefactError(
                f"{self.output}: exists already; choose another --output or replace it with "
                "--overwrite"
            )
        settings = self.path / "settings.json"
        wanted = _what(self.config)
        if settings.exists() and self.config.resume:
            _refuse_difference(json.loads(settings.read_text()), wanted, self.path)
            return
        if settings.exists() and not self.config.overwrite:
            raise ResumeError(
                f"{self.path}: holds an interrupted run; go on with --resume or discard it with "
                "--overwrite"
            )
        if self.path.exists():
            shutil.rmtree(self.path)
        try:
            self.path.mkdir(parents=True)
            _write_atomically(settings, wanted)
        except OSError as error:
            raise ArtefactError(
                f"{self.path}: cannot be written: {error.strerror}; choose another --output"
            ) from None
        if self.config.resume:
            self.log.say(f"{self.path}: there is nothing to resume; starting from the beginning")


def _what(config: OutputConfig) -> dict[str, Any]:
    """Return the settings that decide what the run makes, with the name of their class."""
    values = {k: v for k, v in to_dict(config).items() if k not in WAYS_OF_CALLING}
    return {"command": type(config).__name__, **values}


def _refuse_difference(kept: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    before, now = _flatten(kept), _flatten(wanted)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ResumeError(
                f"{path}: the interrupted run has {name} = {before.get(name)!r}, this one "
                f"{now.get(name)!r}; resume with the same settings or discard it with --overwrite"
            )


def _flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    return {
        name: value
        for key, inner in values.items()
        for name, value in _flatten(inner, f"{prefix}.{key}" if prefix else key).items()
    }


def _write_atomically(path: Path, values: dict[str, Any]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(values, indent=2), encoding="utf-8")
    os.replace(temporary, path)
