"""Checkpoints: tensors and JSON values in one safetensors file, whole at any moment, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ulmfit.atomic import flush_folder
from ulmfit.errors import ResumeError, UlmfitError


def save_checkpoint(
    path: str | Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """Write `tensors` and `state` to `path`; whoever reads it finds the old file or the new.

    The tensors may be on any device, of any dtype, views of one another. `state` is JSON
    values, NaN and infinities included, and stays below 100 MB (safetensors' header).
    The file is written under a temporary name beside it, flushed to the disk, then renamed.

    Raises `UlmfitError` if the file cannot be written; an old one at `path` is kept.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    own = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    text = json.dumps({"state": state, "sha256": _digest(own, state)})
    try:
        save_file(own, temporary, metadata={"state": text})
        _flush(temporary)
        os.replace(temporary, path)
        flush_folder(path.parent)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise UlmfitError(
            f"{path}: cannot write the checkpoint: {error}; make room or mend the folder, "
            "then resume from the last one"
        ) from error


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, on the CPU, and the state that `save_checkpoint` wrote.

    A file that another process replaces in the middle of the reading is read again.

    Raises `ResumeError` if there is no file, or if it is not whole and unaltered.
    """
    path = Path(path)
    if not path.is_file():
        raise ResumeError(f"{path}: there is no checkpoint to resume; start the run without resume")
    while True:
        version = _version(path)
        try:
            return _read(path)
        except ResumeError:
            # safetensors opens a path twice: the header may be of one file, the data of the next.
            if _version(path) == version:
                raise


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the generators of a run on `device`: `cpu`, and `cuda` on a GPU."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the generators of a run on `device` to what `random_state` returned.

    The state of a GPU is passed over where `device` is none.
    """
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the file once; raises `ResumeError` if what was read does not match its hash."""
    try:
        with safe_open(path, framework="pt") as file:
            # Copies, so that nothing maps a file which the next checkpoint replaces.
            names = file.keys()
            tensors = {name: file.get_tensor(name).clone() for name in names}
            stored = json.loads((file.metadata() or {})["state"])
        state: dict[str, Any] = stored["state"]
        whole = stored["sha256"] == _digest(tensors, state)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ResumeError(_damaged(path, str(error))) from None
    if not whole:
        raise ResumeError(_damaged(path, "its content does not match its hash"))
    return tensors, state


def _version(path: Path) -> tuple[int, int]:
    """Tell the file at `path` from the one that replaces it."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _digest(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
    """Hash the state, and the names, types, shapes and bytes of contiguous CPU tensors."""
    digest = hashlib.sha256(json.dumps(state).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _damaged(path: Path, reason: str) -> str:
    return f"{path}: the checkpoint is damaged: {reason}; start the run anew with overwrite"


def _flush(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
