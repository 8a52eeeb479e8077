"""Weights to stored tensors and back: float32, float16, or int8 with a scale a row.

Only matrices are stored smaller. Vectors, and with them biases and batch norm, stay float32;
integers stay as they are. Whatever the storage, what is read back is float32.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ulmfit.config.artefact import Storage
from ulmfit.errors import ArtefactError

_SCALE = ".scale"
_LARGEST_FLOAT16 = torch.finfo(torch.float16).max


def weights_file(tensors: Mapping[str, Tensor], storage: Storage) -> Callable[[Path], None]:
    """Return what writes `tensors` as a safetensors file to the path it is given.

    In `int8` a matrix [rows, columns] becomes int8 [rows, columns] and float32 [rows, 1] under
    `NAME.scale`, their product within half a scale of the matrix; `float16` rounds matrices.

    Raises `ArtefactError` that names the tensor if a weight is not finite, or too large for
    float16.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stored.update(as_stored(name, tensor.detach().cpu().contiguous(), storage))
    return partial(_write, stored)


def _write(tensors: Mapping[str, Tensor], path: Path) -> None:
    path.touch()
    permissions = path.stat().st_mode
    path.unlink()
    try:
        save_file(dict(tensors), path)
        path.chmod(permissions)  # safetensors lets nobody else read it
    except SafetensorError as error:  # which hides what the system said
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from None


def as_stored(name: str, tensor: Tensor, storage: Storage) -> dict[str, Tensor]:
    """Return what is stored of the weight called `name`: itself or, in int8, it and its scale.

    Raises `ArtefactError` if it is not finite, or too large for float16.
    """
    if not tensor.is_floating_point():
        return {name: tensor}
    tensor = tensor.to(torch.float32)
    if not is_finite(tensor):
        raise ArtefactError(
            f"weight '{name}': holds NaN or infinite values, so it is not stored; "
            "train again with a lower learning rate"
        )
    if tensor.ndim != 2 or storage == "float32":
        return {name: tensor}
    if storage == "float16":
        return {name: _to_float16(name, tensor)}
    quantized, scale = quantize(tensor)
    return {name: quantized, name + _SCALE: scale}


def is_finite(tensor: Tensor) -> bool:
    """Tell whether all numbers of `tensor` are finite, without a copy of it."""
    return tensor.numel() == 0 or bool(torch.stack(torch.aminmax(tensor)).isfinite().all())


def _to_float16(name: str, matrix: Tensor) -> Tensor:
    if (matrix.abs() > _LARGEST_FLOAT16).any():
        raise ArtefactError(
            f"weight '{name}': {matrix.abs().max():g} is above {_LARGEST_FLOAT16:g}, the largest "
            "float16; store it as float32"
        )
    return matrix.to(torch.float16)


def quantize(matrix: Tensor, most: int = 127) -> tuple[Tensor, Tensor]:
    """Round `matrix` float32 [rows, columns] to int8 in [-most, most], each row by its own scale.

    Returns int8 [rows, columns] and the positive float32 scales [rows, 1].
    """
    largest = torch.zeros(len(matrix), 1) if matrix.numel() == 0 else matrix.abs().amax(1, True)
    # The smallest normal number keeps a row of zeros from a division by zero.
    scale = (largest / most).clamp_min(torch.finfo(torch.float32).tiny)
    return (matrix / scale).round().to(torch.int8), scale


def restore(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file: float32, or integers as stored.

    Raises `ArtefactError` if it cannot be read, or scales do not fit.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path}: cannot be read ({error}); get it again") from None
    return {
        name: _restored(path, name, tensor, stored.get(name + _SCALE))
        for name, tensor in stored.items()
        if not _is_scale(name, stored)
    }


def _is_scale(name: str, stored: Mapping[str, Tensor]) -> bool:
    scaled = stored.get(name.removesuffix(_SCALE))
    return name.endswith(_SCALE) and scaled is not None and scaled.dtype == torch.int8


def _restored(path: Path, name: str, tensor: Tensor, scale: Tensor | None) -> Tensor:
    if tensor.dtype == torch.int8 and scale is not None:
        if scale.shape != (*tensor.shape[:1], 1):
            raise ArtefactError(
                f"{path}: '{name}{_SCALE}' is {list(scale.shape)}, expected "
                f"{[*tensor.shape[:1], 1]}; get it again"
            )
        return tensor.to(torch.float32) * scale
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor


@torch.no_grad()
def load_into(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    """Copy those of `tensors` that are named `PREFIX.NAME` into the state `NAME` of `module`.

    Raises `ArtefactError` that lists every tensor missing, not wanted, or of the wrong shape;
    the module is then unchanged.
    """
    start = f"{prefix}." if prefix else ""
    own = {start + name: tensor for name, tensor in module.state_dict().items()}
    given = {name: tensor for name, tensor in tensors.items() if name.startswith(start)}
    faults = [f"missing '{name}'" for name in own if name not in given]
    faults += [f"not expected '{name}'" for name in given if name not in own]
    faults += [
        f"'{name}' is {list(given[name].shape)}, expected {list(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    if faults:
        raise ArtefactError(
            f"weights do not fit the configuration: {'; '.join(faults)}; get the model again"
        )
    for name, tensor in own.items():
        tensor.copy_(given[name])


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return `tensors` with every name behind `prefix` and a dot."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
