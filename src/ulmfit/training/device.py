"""The device and the arithmetic of a run: resolved once, kept with the run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from ulmfit.errors import ConfigError

Precision = Literal["float32", "bfloat16", "float16"]


def resolve_device(name: str | torch.device) -> torch.device:
    """Return the device called `name`; `auto` takes a GPU if there is one.

    On a GPU, float32 is float32 from then on: cuDNN would round the inputs of an LSTM's products to
    10 bits (TF32), so that a text's probabilities hang on what stands beside it.
    Raises `ConfigError` if there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"setting 'device': '{name}' cannot be used here: {reason}") from None
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return device


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Return the arithmetic that `name` means on `device`.

    Raises `ConfigError` for float16 away from a GPU, where it has no fast products, and for
    bfloat16 on a processor without it, where oneDNN's LSTM fails.
    """
    if name == "float16" and device.type != "cuda":
        raise ConfigError("setting 'precision': float16 needs a GPU; use float32 or bfloat16")
    if name == "bfloat16" and device.type == "cpu" and not _processor_has_bfloat16():
        raise ConfigError("setting 'precision': this processor has no bfloat16; use float32")
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if fast else "float32"
    if name not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"setting 'precision': found '{name}'; use auto, float32 or bfloat16")
    return name  # type: ignore[return-value]


def _processor_has_bfloat16() -> bool:
    # Without oneDNN, PyTorch computes with bfloat16 on any processor, if slowly.
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return not has_onednn or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which products are computed in `precision`.

    Weights are cast anew at each use: autocast's cache would hand a cast made without gradients
    (the early chunks of a document) to those that need them.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision), cache_enabled=False)
