"""The working folder of a run: its lock, its settings, its checkpoints, its finished parts.

`OUTPUT.run` stands beside the artefact to be. A part (the forward language model, the backward
classifier) leaves `PART.checkpoint` while it trains and `PART.finished` when it is done; the
artefact is made of the finished parts, and then the folder goes; the log stays, as
`OUTPUT.log.jsonl`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from torch import Tensor

from ulmfit.atomic import NO_ROOM, write_json
from ulmfit.config.settings import default_values, to_dict
from ulmfit.config.stages import OutputConfig
from ulmfit.errors import ArtefactError, BusyError, ResumeError, UlmfitError
from ulmfit.models.folder import check_replaceable
from ulmfit.stages.curves import draw_run
from ulmfit.training import processes
from ulmfit.training.checkpoint import load_checkpoint, save_checkpoint
from ulmfit.training.log import RunLog

WAYS_OF_CALLING = ("resume", "overwrite", "output", "cache")
INTERVALS = (".checkpoint_minutes", ".checkpoint_steps")
"""Settings that say how to run, not what: they may differ when a run is resumed."""

SETTINGS, RESOLVED, LOG, TOKENIZER = "settings.json", "resolved.json", "log.jsonl", "tokenizer.json"
STANDARD_INPUT = "standard-input.txt"
CHECKPOINT, FINISHED, TEMPORARY = ".checkpoint", ".finished", ".tmp"
INTERRUPTIONS = (KeyboardInterrupt, OSError, SafetensorError)
"""What ends a run that would not end the next time: safetensors' is a full disk's too."""

SAVING = "the artefact is being written"
"""Kept with what the run resolved, from when it writes its artefact on."""


class RunFolder:
    """The working folder beside `config.output`; a context manager that holds its lock.

    Of several processes that train one model, the first has the folder; the others are told what
    is in it, and say and write nothing.
    """

    def __init__(self, config: OutputConfig, quiet: bool = False) -> None:
        """Prepare the working folder of a run with the settings `config`."""
        self.config = config
        self.output = Path(config.output)
        self.path = self.output.parent / f"{self.output.name}.run"
        self.overwrite = config.overwrite
        """Whether what stands at `output` may be replaced."""
        # Left in place: where a lock file goes, two processes can hold what they think is one.
        self._lock = FileLock(self.output.parent / f".{self.output.name}.run.lock")
        first = processes.is_first()
        self.log = RunLog(self.path / LOG if first else None, quiet or not first)

    def __enter__(self) -> RunFolder:
        """Take the lock and check that nothing of value stands in the way.

        Raises `BusyError` if another process works on the output, `ArtefactError` if it is taken
        or cannot be written, `ResumeError` if the interrupted run there is another one.
        """
        if not processes.is_first():
            return self
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
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Release the lock; a folder that holds nothing to go on from goes.

        Raises `ArtefactError` in place of an `OSError` about the files of the run.
        """
        if not processes.is_first():
            return
        spared = self._has_learned() if self._aside.exists() else self._can_go_on(error)
        if error is not None and not spared:
            shutil.rmtree(self.path, ignore_errors=True)
            if self._aside.exists():
                os.replace(self._aside, self.path)
        elif self._aside.exists():
            shutil.rmtree(self._aside, ignore_errors=True)
        self._lock.release()
        refused = _refused(error)
        if refused is not None and self._is_of_this_run(refused):
            raise ArtefactError(
                f"{self.output}: cannot be written: {refused}; make room for it, then go on with "
                "--resume"
            ) from None

    def checkpoint(self, part: str) -> Path:
        """Return the path of the checkpoint of a part that is being trained."""
        return self.path / f"{part}{CHECKPOINT}"

    def began(self, part: str) -> bool:
        """Tell whether the run has trained a part, to its end or to a checkpoint."""
        places = self.checkpoint(part), self.path / f"{part}{FINISHED}"
        return bool(processes.agreed(lambda: any(place.exists() for place in places)))

    def finish(self, part: str, tensors: Mapping[str, Tensor], results: dict[str, Any]) -> None:
        """Keep the weights and results of a finished part and drop its checkpoint."""
        if processes.is_first():
            save_checkpoint(self.path / f"{part}{FINISHED}", dict(tensors), results)
            self.checkpoint(part).unlink(missing_ok=True)

    def finished(self, part: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the weights and results of a part, or None if it is not finished."""
        path = self.path / f"{part}{FINISHED}"
        return processes.tensors_from_first(
            lambda: load_checkpoint(path) if path.exists() else None
        )

    def resolve_once(self, name: str, resolve: Callable[[], Any]) -> Any:
        """Return the value kept under `name`; the first time, keep what `resolve` gives.

        For what depends on the machine (threads, free memory), so that a resumed run keeps it, and
        all processes have it alike.
        """
        return processes.agreed(lambda: self._resolve(name, resolve))

    def _resolve(self, name: str, resolve: Callable[[], Any]) -> Any:
        path = self.path / RESOLVED
        values = _read_json(path)
        if name not in values:
            values[name] = resolve()
            write_json(path, values)
        return values[name]

    def check_unchanged(self, name: str, fingerprint: str) -> None:
        """Check that what the run is made of, called `name`, is what it was when it began.

        Raises `ResumeError` if it was changed since.
        """
        if self.resolve_once(f"fingerprint of the {name}", lambda: fingerprint) != fingerprint:
            raise ResumeError(
                f"{self.path}: the {name} is not what it was when the run began; put it back, or "
                "discard the run with --overwrite"
            )

    def may_replace(self) -> bool:
        """Tell, just before the artefact is written, whether it may replace one at the output.

        From then on this run's own may stand there, if it is killed.

        Raises `ArtefactError` if something has come to stand there that may not be replaced.
        """
        if processes.is_first():
            check_replaceable(self.output, self.overwrite)
            self._resolve(SAVING, lambda: True)
        return self.overwrite

    def close(self) -> None:
        """Keep the log and its picture beside the artefact, and remove the working folder.

        The artefact stands: a log or a picture that cannot be written there is only told.
        """
        if processes.is_first():
            log = self.output.with_name(f"{self.output.name}.{LOG}")
            try:
                if self.log.size():
                    os.replace(self.path / LOG, log)
                    draw_run(log, self.output.with_name(f"{self.output.name}.curves.png"))
            except (OSError, UlmfitError) as error:
                self.log.say(f"warning: {log} and its picture cannot be kept: {error}")
            self.remove()
        processes.wait()

    def remove(self) -> None:
        """Remove the working folder."""
        # Without its settings, what a kill leaves of the folder is not taken for a run.
        (self.path / SETTINGS).unlink(missing_ok=True)
        shutil.rmtree(self.path)

    @property
    def _aside(self) -> Path:
        """Where a run that is to be discarded waits until there is more of the new one."""
        return self.path.with_name(f".{self.path.name}.aside")

    def _enter(self) -> None:
        if self._aside.exists():  # a kill left both
            if self.path.exists() and not self._has_learned():
                shutil.rmtree(self.path)
            if not self.path.exists():
                os.replace(self._aside, self.path)
            shutil.rmtree(self._aside, ignore_errors=True)
        settings, wanted = self.path / SETTINGS, _what(self.config)
        goes_on = settings.exists() and self.config.resume
        if goes_on:
            kept = _read_json(settings)
            # A setting that is newer than the run has its default in it.
            newer = wanted.keys() - kept.keys()
            defaults = _flatten(default_values(type(self.config)))
            kept |= {name: defaults[name] for name in newer & defaults.keys()}
            _refuse_difference(kept, wanted, self.path)
            # What stands at the output by then, this run made just before it was killed.
            self.overwrite |= SAVING in _read_json(self.path / RESOLVED)
        check_replaceable(self.output, self.overwrite)
        if goes_on:
            self.log.mend()
            return
        if settings.exists() and not self.config.overwrite:
            raise ResumeError(
                f"{self.path}: holds an interrupted run; go on with --resume or discard it with "
                "--overwrite"
            )
        try:
            self._begin(settings, wanted)
        except OSError as error:
            raise ArtefactError(
                f"{self.path}: cannot be written: {error.strerror}; choose another --output"
            ) from None
        if self.config.resume:
            self.log.say(f"{self.path}: there is nothing to resume; starting from the beginning")

    def _begin(self, settings: Path, wanted: dict[str, Any]) -> None:
        """Make the folder anew."""
        if self.path.exists():
            if strangers := sorted(p.name for p in self.path.iterdir() if not _is_of_a_run(p)):
                raise ArtefactError(
                    f"{self.path}: is the run's folder but holds '{strangers[0]}', which no run "
                    "left; move it away or choose another --output"
                )
            os.replace(self.path, self._aside)
        self.path.mkdir(parents=True)
        write_json(settings, wanted)

    def _can_go_on(self, error: BaseException | None) -> bool:
        """Tell whether there is anything that `--resume` would spare.

        Of a run that was interrupted, or had no room, for whatever file, a tokenizer that was
        trained and what was read from standard input too; of one that failed, they would be as
        wrong the next time.
        """
        causes = error, getattr(error, "__cause__", None)
        stopped = any(isinstance(each, INTERRUPTIONS) for each in causes)
        given = (TOKENIZER, STANDARD_INPUT) if stopped else ()
        return self._has_learned() or any((self.path / name).exists() for name in given)

    def _has_learned(self) -> bool:
        """Tell whether the run has trained a part, or some of one."""
        return any(path.suffix in (CHECKPOINT, FINISHED) for path in self.path.glob("*"))

    def _is_of_this_run(self, error: OSError) -> bool:
        """Tell whether `error` is a full disk, or about a file of the run or of the artefact."""
        if error.errno in NO_ROOM:
            return True
        own = self.output.resolve()
        ours = (f"{own}{os.sep}", f"{own}.", f"{own.parent / f'.{own.name}'}.")
        names = [name for name in (error.filename, error.filename2) if isinstance(name, str)]
        return any(f"{Path(name).resolve()}{os.sep}".startswith(ours) for name in names)


def _refused(error: BaseException | None) -> OSError | None:
    """Return what the system refused, if that is what `error` is about."""
    refused = error.__cause__ if isinstance(error, ArtefactError) else error
    return refused if isinstance(refused, OSError) else None


def _what(config: OutputConfig) -> dict[str, Any]:
    """Return the settings that decide what the run makes, with the name of their class."""
    values = _flatten({"command": type(config).__name__, **to_dict(config)})
    return {
        name: value
        for name, value in values.items()
        if name not in WAYS_OF_CALLING and not name.endswith(INTERVALS)
    }


def _read_json(path: Path) -> dict[str, Any]:
    """Return what a file of the run holds, nothing if it is not there."""
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ResumeError(f"{path}: damaged, not JSON; discard the run with --overwrite")
    return values


def _is_of_a_run(path: Path) -> bool:
    """Tell whether a run, whole or half removed, can have left a file of this name."""
    known = path.name in (SETTINGS, RESOLVED, LOG, TOKENIZER, STANDARD_INPUT)
    return known or path.suffix in (CHECKPOINT, FINISHED, TEMPORARY)


def _refuse_difference(kept: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    for name in dict.fromkeys([*kept, *wanted]):
        if kept.get(name) != wanted.get(name):
            raise ResumeError(
                f"{path}: the interrupted run has {name} = {kept.get(name)!r}, this one "
                f"{wanted.get(name)!r}; resume with the same settings, or discard it with "
                "--overwrite"
            )


def _flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    return {
        name: value
        for key, inner in values.items()
        for name, value in _flatten(inner, f"{prefix}.{key}" if prefix else key).items()
    }
