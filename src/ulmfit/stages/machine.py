"""The machine of a run, settled once: device, arithmetic, threads, memory for gradients."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from ulmfit.config.model import EncoderConfig
from ulmfit.config.training import TrainingConfig
from ulmfit.errors import ConfigError, ResumeError
from ulmfit.stages.run_folder import RunFolder
from ulmfit.training import processes
from ulmfit.training.allocator import keep_freed_memory
from ulmfit.training.device import Precision, resolve_device, resolve_precision

SHARE_OF_FREE_MEMORY = 0.5
"""Of the memory free at the start, what the activations of one batch may take."""

MOST_CHUNKS = 16
"""Chunks of a document that get gradients, at most, unless more are asked for: with 70 tokens each,
more than most documents have."""

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells the limits of the container."""


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
    """Settle device, precision and threads for the whole run, resumed or not.

    Raises `ConfigError` for what cannot be had here, `ResumeError` where the run had it elsewhere.
    """
    keep_freed_memory()
    device = resolve_device(training.device)
    if device.type == "cuda" and device.index is None and processes.count() > 1:
        device = torch.device("cuda", processes.local_rank())
        torch.cuda.set_device(device)
    # The threads first: how fast bfloat16 is depends on them.
    threads = run.resolve_once("threads", lambda: training.threads or torch.get_num_threads())
    torch.set_num_threads(threads)
    precision = run.resolve_once("precision", lambda: resolve_precision(training.precision, device))
    _check_kept(run, precision, device)
    return Machine(device, precision)


def _check_kept(run: RunFolder, precision: Precision, device: torch.device) -> None:
    """Refuse the precision of a run that this machine, or this process's, does not have."""
    try:
        resolve_precision(precision, device)
    except ConfigError:
        raise ResumeError(
            f"{run.path}: the run began in {precision}, which this machine does not have; go on "
            "where it began, or discard it with --overwrite"
        ) from None


def chunks_in_memory(
    encoder: EncoderConfig, batch_size: int, bptt: int, device: torch.device
) -> int:
    """Return how many chunks of [batch_size, bptt] tokens the free memory holds for gradients.

    A power of two, from 1 to `MOST_CHUNKS`, so that what else runs here seldom changes it.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_memory()
    chunks = int(SHARE_OF_FREE_MEMORY * free / bytes_of_chunk(encoder, batch_size, bptt))
    return min(MOST_CHUNKS, 1 << (max(1, chunks).bit_length() - 1))


def bytes_of_chunk(encoder: EncoderConfig, batch_size: int, bptt: int) -> int:
    """Return what is kept for the gradients of a chunk of [batch_size, bptt] tokens, about.

    A layer keeps, in float32, its input and output, each with and without dropout, and the
    workspace of its LSTM, counted as oneDNN's, which is the largest: 7 values a feature, and 8 a
    feature of the wider of input and output.
    """
    values = sum(
        2 * below + 9 * size + 8 * max(below, size) for below, size in encoder.layer_shapes
    )
    return 4 * values * batch_size * bptt


def _free_memory() -> int:
    """Return the free memory in bytes: the machine's or, if that is less, the container's.

    Files that the container has read and nobody uses count as free: they make room.
    """
    free = int(psutil.virtual_memory().available)
    try:
        most, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        kinds = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        unused_files = int(kinds["inactive_file"])
    except (OSError, ValueError, KeyError):  # no container, or one without a limit
        return free
    return max(0, min(free, most - (used - unused_files)))
