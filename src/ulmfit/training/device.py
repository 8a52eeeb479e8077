"""The device and the arithmetic of a run: resolved once, kept with the run."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Literal

import torch
from torch import nn

from ulmfit.errors import ConfigError

Precision = Literal["float32", "bfloat16", "float16"]

WORTH_IT = 0.8
"""Time that bfloat16 may take on a CPU, as a share of float32's, to be chosen."""


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

    `auto` is bfloat16 where it is fast, which is tried on a CPU that has it, else float32.

    Raises `ConfigError` for float16 away from a GPU, where it has no fast products, and for
    bfloat16 on a processor without it, where oneDNN's LSTM fails.
    """
    if name == "float16" and device.type != "cuda":
        raise ConfigError("setting 'precision': float16 needs a GPU; use float32 or bfloat16")
    if name == "bfloat16" and device.type == "cpu" and not _processor_has_bfloat16():
        raise ConfigError("setting 'precision': this processor has no bfloat16; use float32")
    if name == "auto":
        return "bfloat16" if _bfloat16_is_fast(device) else "float32"
    if name not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"setting 'precision': found '{name}'; use auto, float32 or bfloat16")
    return name  # type: ignore[return-value]


def _bfloat16_is_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _processor_has_bfloat16() and bfloat16_is_faster_here()


@cache
def bfloat16_is_faster_here() -> bool:
    """Tell whether the CPU trains an LSTM faster in bfloat16 than in float32, tried once.

    A tenth of a second: the quickest of some steps, in turns. Processors that can compute with
    bfloat16 but have no instructions for it are slower with it; where PyTorch fails, it is not.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            quickest = _quickest_steps(nn.LSTM(256, 256), torch.randn(35, 32, 256))
    except RuntimeError:
        return False
    return quickest["bfloat16"] < WORTH_IT * quickest["float32"]


def _quickest_steps(layer: nn.LSTM, inputs: torch.Tensor) -> dict[Precision, float]:
    """Return the seconds of the quickest of five training steps in either precision."""
    quickest: dict[Precision, float] = {"float32": float("inf"), "bfloat16": float("inf")}
    for _ in range(5):
        for precision in quickest:
            began = time.perf_counter()
            with autocast(precision, inputs.device):
                outputs, _state = layer(inputs)
            outputs.float().sum().backward()
            quickest[precision] = min(quickest[precision], time.perf_counter() - began)
    return quickest


def _processor_has_bfloat16() -> bool:
    # Without oneDNN, PyTorch computes with bfloat16 on any processor, if slowly.
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return not has_onednn or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(
    precision: Precision, device: torch.device, *, cast_once: bool = False
) -> AbstractContextManager[object]:
    """Return the context in which products are computed in `precision`.

    In training weights are cast anew at each use: autocast's cache would hand a cast made without
    gradients (the early chunks of a document) to those that need them. `cast_once` is for reading.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision), cache_enabled=cast_once)
