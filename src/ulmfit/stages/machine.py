"""The machine of a run, settled once: device, arithmetic, threads, memory for gradients."""

from __future__ import annotations

from typing import NamedTuple

import psutil
import torch

from ulmfit.config.model import EncoderConfig
from ulmfit.config.training import TrainingConfig
from ulmfit.stages.run_folder import RunFolder
from ulmfit.training import processes
from ulmfit.training.allocator import keep_freed_memory
from ulmfit.training.device import Precision, resolve_device, resolve_precision

SHARE_OF_FREE_MEMORY = 0.5
"""Of the memory free at the start, what the activations of one batch may take."""


class Machine(NamedTuple):
    """What a run computes on, and how."""

    device: torch.device
    precision: Precision

    def record(self) -> dict[str, str | int]:
        """Return what belongs in the run's record."""
        return {
            "precision": self.precision,
            "device": self.device.type,
            "processes": processes.count(),
        }


def resolve_machine(run: RunFolder, training: TrainingConfig) -> Machine:
    """Settle device, precision and threads for the whole run, resumed or not."""
    keep_freed_memory()
    device = resolve_device(training.device)
    if device.type == "cuda" and device.index is None and processes.count() > 1:
        device = torch.device("cuda", processes.local_rank())
        torch.cuda.set_device(device)
    precision = run.resolve_once("precision", resolve_precision(training.precision, device))
    torch.set_num_threads(run.resolve_once("threads", training.threads or torch.get_num_threads()))
    return Machine(device, precision)


def chunks_in_memory(
    encoder: EncoderConfig, batch_size: int, bptt: int, device: torch.device
) -> int:
    """Return how many chunks of [batch_size, bptt] tokens the free memory holds for gradients.

    At least 1. A layer keeps, in float32, its input and output, each with and without dropout,
    and the workspace of its LSTM, counted as oneDNN's, which is the largest: 7 values a feature,
    and 8 a feature of the wider of input and output.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_memory()
    sizes = [encoder.hidden_size] * (encoder.layers - 1) + [encoder.embedding_size]
    inputs = [encoder.embedding_size, *sizes[:-1]]
    values = sum(
        2 * below + 9 * size + 8 * max(below, size)
        for below, size in zip(inputs, sizes, strict=True)
    )
    return max(1, int(SHARE_OF_FREE_MEMORY * free / (4 * values * batch_size * bptt)))


def _free_memory() -> int:
    return int(psutil.virtual_memory().available)
