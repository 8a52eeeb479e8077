"""The products of matrices that PyTorch would give to the slower of its two libraries.

On a processor, PyTorch multiplies float32 matrices with MKL, which gives processors that are not
Intel's an older path: half the speed or less of oneDNN, which PyTorch has for its LSTM. The sums
are of the same terms in another order. See `benchmarks/LOG.md`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

HAS_ONEDNN = (
    platform.machine().lower() in ("x86_64", "amd64")
    and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and hasattr(torch.ops.mkldnn._linear_pointwise, "binary")
    and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    and hasattr(torch.ops.mkldnn, "_reorder_mkldnn_rnn_layer_weight")
)
"""Whether float32 goes through oneDNN here. What its own compiler (`torch.compile`) calls is the
only door that PyTorch leaves to it."""

_HAS_BFLOAT16 = HAS_ONEDNN and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
DTYPES = (torch.float32, torch.bfloat16) if _HAS_BFLOAT16 else (torch.float32,)
"""What oneDNN multiplies on this processor."""

_HAS_AMX = (
    _HAS_BFLOAT16
    and hasattr(torch.cpu, "_is_amx_tile_supported")
    and bool(torch.cpu._is_amx_tile_supported())
)
LSTM_ROWS = 16
"""With AMX, oneDNN's LSTM is fastest in bfloat16 with multiples of so many rows. It shares them out
in equal parts: 61 rows, which have none, took it five times as long as 64 (`benchmarks/LOG.md`)."""


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `inputs` [rows, features] @ `weight` [outputs, features].T + `bias` [outputs].

    As `torch.nn.functional.linear`, of which it differs by rounding alone; without gradients.
    """
    if is_for_onednn(inputs) and inputs.numel():  # oneDNN refuses to add up nothing
        return _by_onednn(inputs, weight, bias)
    return F.linear(inputs, weight, bias)


def prepared_linear(
    weight: Tensor, rows: int, bias: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """Return `linear` by `weight` [outputs, features] and `bias`, of about `rows` rows at a time.

    The matrix is laid out once, not at each product: with few rows that is half of the time.
    """
    if not is_for_onednn(weight):
        return lambda inputs: F.linear(inputs, weight, bias)
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
    return lambda inputs: _by_onednn(inputs, laid_out, bias)


def prepared_sum(weight: Tensor, rows: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what adds to a product by `weight` its second argument [rows, outputs].

    Otherwise as `prepared_linear`. The sum is made where the product is, and rounded once.
    """
    if not is_for_onednn(weight):
        return lambda inputs, added: torch.addmm(added, inputs, weight.T)
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
    return lambda inputs, added: _added_by_onednn(inputs, laid_out, added)


def spare_rows(inputs: Tensor) -> int:
    """Return how many rows to add to `inputs` [rows, ...] for oneDNN's LSTM to be at its fastest.

    None, or as many as make a multiple of `LSTM_ROWS`; up to one of these, any number will do.
    """
    many = _HAS_AMX and len(inputs) > LSTM_ROWS
    if many and dtype_of_products(inputs) == torch.bfloat16 and is_for_onednn(inputs):
        return -len(inputs) % LSTM_ROWS
    return 0


def dtype_of_products(values: Tensor) -> torch.dtype:
    """Return the dtype of autocast, where it is on; else that of `values`."""
    device = values.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else values.dtype


def is_for_onednn(values: Tensor) -> bool:
    """Tell whether oneDNN is to multiply what is where `values` are, of their dtype."""
    switched_on = HAS_ONEDNN and bool(torch.backends.mkldnn.enabled)
    return switched_on and values.device.type == "cpu" and values.dtype in DTYPES


def _by_onednn(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return product


def _added_by_onednn(inputs: Tensor, weight: Tensor, added: Tensor) -> Tensor:
    total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(inputs, added, weight, None, "add")
    return total
