"""The folder a model is: `config.json`, `model.safetensors`, `tokenizer.json` and `README.md`.

A classifier in ONNX has a graph for each member, `NAME.onnx`, in place of the weights.

`config.json` records the size and the hash of every other file but the card, and ends with a hash
of itself; a folder that is not whole, or that was altered, is refused. A folder is replaced by
renaming, so that a command killed at any moment leaves the old one or the new one.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from ulmfit.atomic import flush_folder
from ulmfit.config.artefact import FORMAT_VERSION, ArtefactConfig, FileRecord, Kind
from ulmfit.config.settings import from_dict, to_dict
from ulmfit.errors import ArtefactError, BusyError, ConfigError

CONFIG, WEIGHTS, TOKENIZER, CARD = "config.json", "model.safetensors", "tokenizer.json", "README.md"
REQUIRED: dict[Kind, tuple[str, ...]] = {
    "tokenizer": (TOKENIZER,),
    "language_model": (TOKENIZER, WEIGHTS),
    "text_classifier": (TOKENIZER, WEIGHTS),
    "onnx_classifier": (TOKENIZER,),
}
SHIPPED = Path(__file__).resolve().parents[1] / "pretrained"

_AGAIN = "get or make the folder again"
_PATIENCE = 60.0

MOST_LOADS = 3
"""How often a folder is loaded that is replaced meanwhile."""

Loaded = TypeVar("Loaded")


# Reading


def read_config(folder: str | Path) -> ArtefactConfig:
    """Return the configuration of the model in `folder`, once every file of it is known good.

    Raises `ArtefactError` that names the file if `config.json` or a file it records is missing,
    truncated or altered, or if the format version is unknown. The card may be missing or edited.
    """
    folder = _whole(folder)
    values = _read_json(folder / CONFIG)
    if (version := values["format_version"]) != FORMAT_VERSION:
        raise ArtefactError(
            f"{folder / CONFIG}: format version {version!r}, this ulmfit reads {FORMAT_VERSION}; "
            "upgrade ulmfit"
        )
    if _render(values) != (folder / CONFIG).read_bytes():
        raise ArtefactError(f"{folder / CONFIG}: altered since it was written; {_AGAIN}")
    del values["sha256"]
    try:
        config = from_dict(ArtefactConfig, values, str(folder / CONFIG))
    except ConfigError as error:
        raise ArtefactError(f"{error}; upgrade ulmfit, or {_AGAIN}") from None
    thresholds, labels = (config.task.thresholds, config.task.labels) if config.task else (None, ())
    if thresholds is not None and len(thresholds) != len(labels):
        raise ArtefactError(
            f"{folder / CONFIG}: {len(thresholds)} thresholds for {len(labels)} labels; {_AGAIN}"
        )
    graphs = config.members if config.kind == "onnx_classifier" else ()
    named = {f"{member.prefix}.onnx" for member in graphs}
    for name in sorted({*REQUIRED[config.kind], *config.files, *named}):
        _check_file(folder, name, config.files.get(name))
    return config


def load_whole(folder: Path, load: Callable[[ArtefactConfig], Loaded]) -> Loaded:
    """Return what `load` makes of the files in `folder`, given its configuration.

    All is loaded again if the folder was replaced meanwhile, so that nothing is of two models.

    Raises `ArtefactError` as `read_config` does, `BusyError` if it is replaced each time.
    """
    for _ in range(MOST_LOADS):
        before = _content(folder / CONFIG)
        try:
            loaded = load(read_config(folder))
        except (ArtefactError, OSError):
            if _content(folder / CONFIG) == before:
                raise
        else:
            if _content(folder / CONFIG) == before:
                return loaded
    raise BusyError(f"{folder}: replaced again and again; load it once that has ended")


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ArtefactError(f"{path}: missing; a model folder has one; {_AGAIN}")
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ArtefactError(f"{path}: truncated or altered, not JSON; {_AGAIN}") from None
    if not isinstance(values, dict) or "format_version" not in values:
        raise ArtefactError(f"{path}: not the configuration of an ulmfit model; {_AGAIN}")
    return values


def _check_file(folder: Path, name: str, record: FileRecord | None) -> None:
    path = folder / name
    if record is None or Path(name).name != name:
        raise ArtefactError(f"{folder / CONFIG}: no valid record of the file '{name}'; {_AGAIN}")
    if not path.is_file():
        raise ArtefactError(f"{path}: missing; {_AGAIN}")
    if (size := path.stat().st_size) != record.bytes:
        raise ArtefactError(
            f"{path}: truncated or altered: {size} bytes, recorded {record.bytes}; {_AGAIN}"
        )
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
            raise ArtefactError(f"{path}: altered: its hash is not the recorded one; {_AGAIN}")


def _render(values: Mapping[str, Any]) -> bytes:
    """The one way to write a configuration, its own hash last: equal bytes mean unaltered."""
    rest = {name: value for name, value in values.items() if name != "sha256"}
    digest = hashlib.sha256(_json(rest)).hexdigest()
    return _json({**rest, "sha256": digest})


def _json(values: Mapping[str, Any]) -> bytes:
    # A lone surrogate, as in an undecodable file name, is written as its JSON escape.
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


# Writing

Content = bytes | Callable[[Path], None]
"""What is in a file, or what writes it."""


def write_folder(
    folder: str | Path,
    config: ArtefactConfig,
    files: Mapping[str, Content],
    card: str,
    overwrite: bool = False,
) -> None:
    """Write the model as `folder`: whole, or not at all.

    `files` gives each file's content, or what writes it to a path; their sizes and hashes take
    the place of `config.files`. Numbers in `config.run` that are not finite become null. With
    `overwrite` a model folder that is already there is replaced.

    Raises `ArtefactError` if `folder` is there and may not be replaced: without `overwrite`, or
    when it is not a model folder or holds anything else; and if the system refuses to write it, for
    lack of space or permission. Raises `BusyError` if another process is writing it.
    """
    folder = Path(folder).resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            recover(folder)
            check_replaceable(folder, overwrite)
            _write_whole(folder, config, files, card)
    except OSError as error:
        raise ArtefactError(
            f"{folder}: cannot be written: {error}; make room or choose another folder"
        ) from error


def _write_whole(
    folder: Path, config: ArtefactConfig, files: Mapping[str, Content], card: str
) -> None:
    """Write the model beside `folder`, then give it its name."""
    partial = beside(folder, "partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _fill(partial, config, files, card)
        swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fill(folder: Path, config: ArtefactConfig, files: Mapping[str, Content], card: str) -> None:
    records = {name: _write_file(folder / name, files[name]) for name in sorted(files)}
    _write_file(folder / CARD, card.encode("utf-8", "replace"))
    values = to_dict(replace(config, files=records))
    finite = json.loads(json.dumps(values), parse_constant=lambda _: None)
    _write_file(folder / CONFIG, _render(finite))
    read_config(folder)
    flush_folder(folder)


def _write_file(path: Path, content: Content) -> FileRecord:
    """Write `content` to `path` and to the disk itself."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(bytes=path.stat().st_size, sha256=digest)


def check_replaceable(folder: Path, overwrite: bool) -> None:
    """Raise `ArtefactError` if `write_folder` would refuse `folder`."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise ArtefactError(f"{folder}: exists already; choose another output or overwrite it")
    try:
        values = _read_json(folder / CONFIG)
    except ArtefactError:
        raise ArtefactError(
            f"{folder}: not a model folder, so it is not overwritten; choose another output"
        ) from None
    files = values.get("files")
    known = {CONFIG, CARD, WEIGHTS, TOKENIZER, *(files if isinstance(files, dict) else ())}
    if strangers := sorted({path.name for path in folder.iterdir()} - known):
        raise ArtefactError(
            f"{folder}: holds '{strangers[0]}', which is not the model's, so it is not "
            "overwritten; move that file away or choose another output"
        )


# Replacing: the old folder steps aside, the new one takes its name, the old one goes.


def beside(folder: Path, suffix: str) -> Path:
    """Return a hidden path beside `folder`, for what is not it yet or no more."""
    return folder.parent / f".{folder.name}.{suffix}"


def _aside(folder: Path) -> Path:
    return beside(folder, "replaced")


def swap(partial: Path, folder: Path) -> None:
    """Give `partial` the name of `folder`, in place of what stands there."""
    if folder.exists():
        os.replace(folder, _aside(folder))
    os.replace(partial, folder)
    flush_folder(folder.parent)
    shutil.rmtree(_aside(folder), ignore_errors=True)


def recover(folder: Path) -> None:
    """Finish what a killed `swap` began. Call with the lock held."""
    if not folder.exists() and _aside(folder).exists():
        os.replace(_aside(folder), folder)
    shutil.rmtree(_aside(folder), ignore_errors=True)


def _whole(folder: str | Path) -> Path:
    """Return the path of an existing folder, called back if a killed command left it aside."""
    path = Path(folder)
    if not path.exists() and _aside(path.resolve()).exists():
        with _locked(path.resolve()):
            recover(path.resolve())
    if not path.exists():
        raise ArtefactError(f"{path}: no such model folder; {_names()}")
    if not path.is_dir():
        raise ArtefactError(f"{path}: is a file; give the folder of a model")
    return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        with FileLock(beside(folder, "lock"), timeout=_PATIENCE):
            yield
    except Timeout:
        raise BusyError(f"{folder}: another process is writing it; try again later") from None


# Finding


def shipped() -> tuple[str, ...]:
    """Return the names of the models that come with this package, sorted."""
    return tuple(sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIG}")))


def kind_of(folder: Path) -> Kind | None:
    """Return what `config.json` says that `folder` holds, checked or not; None if it says nothing.

    Raises `ArtefactError` if there is no such file.
    """
    kind: Kind | None = _read_json(_whole(folder) / CONFIG).get("kind")
    return kind


def resolve(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of the model called `name`; `read_config` checks what is in it.

    `name` is the name of a shipped model, a folder, or `OWNER/NAME` on the Hugging Face hub, of
    which `revision` picks a branch, a tag or a commit; tried in this order. Only the files of a
    model are downloaded.

    Raises `ArtefactError` if there is no such model, naming the nearest shipped one.
    """
    if revision is None and name in shipped():
        return SHIPPED / name
    path = Path(name)
    if revision is None and (os.path.exists(path) or os.path.exists(_aside(path.resolve()))):
        return _whole(path)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name)):
        return _download(str(name), revision)
    if revision is not None:
        raise ArtefactError(f"{name}: only a model on the hub, OWNER/NAME, has revisions")
    raise ArtefactError(f"{name}: no such model folder; {_names(str(name))}")


def _names(name: str | None = None) -> str:
    nearest = difflib.get_close_matches(name or "", shipped(), n=1)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return f"{hint}shipped models: {', '.join(shipped()) or 'none'}; or OWNER/NAME on the hub"


def _download(name: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise ArtefactError(
            f"{name}: no such folder here, and the hub cannot be asked without the package "
            "huggingface_hub; check the path, or install it"
        ) from None

    patterns = [CONFIG, WEIGHTS, "*.onnx", TOKENIZER, CARD]
    try:
        found = snapshot_download(
            name, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"]
        )
        return Path(found)
    except Exception as error:  # the errors of the hub and of its network have no common base
        reason = " ".join(str(error).split())[:200]
        raise ArtefactError(
            f"{name}: no such folder here, and not to be had from the hub: {reason}; {_names(name)}"
        ) from None
