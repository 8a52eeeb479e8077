"""Where the time of a training step goes: the loop's own steps, with a clock between their parts.

The parts are those a user can do something about: waiting for the batch (`data`), the embedding
and the LSTMs (`encoder`), what stands on them (`head`: decoder and loss, or pooling and
classifier), the update of the weights (`optimizer`). The way back through a part belongs to it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn

from ulmfit.config.training import TrainingConfig
from ulmfit.nn.products import linear
from ulmfit.training.device import Precision
from ulmfit.training.log import RunLog
from ulmfit.training.loop import Task, TrainingRun, endless_batches
from ulmfit.training.unfreezing import unfreezing_plan

PARTS = ("data", "encoder", "head", "optimizer")

WARM_UP_STEPS = 2
"""Before the clock counts: first calls allocate memory and choose kernels."""


@dataclass(frozen=True)
class StepProfile:
    """Seconds of some steps during which the same layer groups learn."""

    trainable: tuple[int, ...]
    """Indices of the layer groups."""

    steps: int

    tokens: int
    """Real tokens read."""

    seconds: dict[str, float]
    """Of each of `PARTS`."""

    @property
    def tokens_per_second(self) -> float:
        """Speed of all parts together."""
        return self.tokens / sum(self.seconds.values())

    def share(self, part: str) -> float:
        """Share of the time that `part` takes, within [0, 1]."""
        return self.seconds[part] / sum(self.seconds.values())


class Clock:
    """Seconds by the part that is entered; waits for the device at each change."""

    def __init__(self, device: torch.device) -> None:
        """Start outside of any part."""
        self.seconds: dict[str, float] = defaultdict(float)
        self._device, self._part, self._since = device, "", time.perf_counter()

    def enter(self, part: str) -> None:
        """Count what passed for the part before, and what comes for `part`."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
        now = time.perf_counter()
        self.seconds[self._part] += now - self._since
        self._part, self._since = part, now


class _TimedRun(TrainingRun):
    """The training loop's steps, timed."""

    clock: Clock

    def steps(self, trainable: tuple[int, ...], steps: int) -> StepProfile:
        """Take the first `steps` steps with the layer groups `trainable`; time them, warmed up."""
        place = replace(self.plan.at(0), trainable=trainable, step_batches=1)
        first = islice(endless_batches(self.task), WARM_UP_STEPS)
        batches = chain(first, endless_batches(self.task))
        with self._timed_parts():
            for step in range(WARM_UP_STEPS + steps):
                if step == WARM_UP_STEPS:
                    self.clock, before = Clock(self.device), self.progress.tokens
                self.clock.enter("data")
                batch = next(batches)
                self.clock.enter("encoder")
                self.train_batch(batch, place)
            self.clock.enter("")
        seconds = {part: self.clock.seconds[part] for part in PARTS}
        return StepProfile(trainable, steps, self.progress.tokens - before, seconds)

    def step(self, rate: float) -> None:
        """Take one step of the optimiser."""
        self.clock.enter("optimizer")
        super().step(rate)

    def evaluation_seconds(self) -> float:
        """Measure on the held-out data once; return how long it took, 0 if there is none."""
        began = time.perf_counter()
        self.measure()
        return time.perf_counter() - began if self.progress.history else 0.0

    @contextmanager
    def _timed_parts(self) -> Iterator[None]:
        """Have the clock told when the encoder begins and ends, forward and back."""
        self.clock = Clock(self.device)
        encoder: Any = self.task.module.encoder
        read = encoder.read

        def begins(*_: object) -> None:
            self.clock.enter("encoder")

        def timed(*given: Any, **named: Any) -> tuple[list[Tensor], object]:
            begins()
            found: tuple[list[Tensor], object] = read(*given, **named)
            self.clock.enter("head")
            if found[0][-1].requires_grad:
                found[0][-1].register_hook(begins)  # type: ignore[no-untyped-call]
            return found

        # An embedding is called before the encoder reads.
        embedding = encoder.embedding.register_forward_pre_hook(begins)
        encoder.read = timed
        try:
            yield
        finally:
            embedding.remove()
            del encoder.read


@dataclass(frozen=True)
class Profile:
    """Where the time of a stage goes."""

    phases: list[StepProfile]
    """One for each phase of unfreezing, in the order of the plan."""

    steps_of_epoch: int
    evaluation_seconds: float
    """Of one evaluation on the held-out data; 0 where nothing is held out."""

    evaluations_of_epoch: float


def profile(task: Task, config: TrainingConfig, precision: Precision, steps: int) -> Profile:
    """Train `task.module` for `steps` steps a phase of `config.unfreezing`, and time them.

    The module is spoilt.
    """
    config = replace(config, accumulation=1, keep_best=False)
    run = _TimedRun(task, config, "profile", precision, RunLog(None, quiet=True), None)
    plan = unfreezing_plan(config.unfreezing, len(run.groups), config.epochs)
    return Profile(
        phases=[run.steps(phase.trainable, steps) for phase in plan],
        steps_of_epoch=task.batch_count(0),
        evaluation_seconds=run.evaluation_seconds(),
        evaluations_of_epoch=1 / config.evaluate_every,
    )


def products_a_second(
    device: torch.device, precision: Precision, features: int, seconds: float = 0.3
) -> float:
    """Return the operations a second that products of matrices reach here: the machine's measure.

    The best of rounds of [2048, features] times [features, 4 * features], as in an LSTM's gates,
    for so many `seconds` through PyTorch's own choice of library and through ours.
    """
    dtype = getattr(torch, precision)
    left = torch.randn(2048, features, device=device, dtype=dtype)
    right = torch.randn(4 * features, features, device=device, dtype=dtype)
    quickest = min(
        _quickest(partial(product, left, right), device, seconds)
        for product in (nn.functional.linear, linear)
    )
    return 2 * 2048 * 4 * features**2 / quickest


def bytes_a_second(device: torch.device, seconds: float = 0.3) -> float:
    """Return the bytes a second that copying memory reads and writes, 64 MiB at a time."""
    source = torch.zeros(2**24, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _quickest(lambda: target.copy_(source), device, seconds)


def _quickest(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return the seconds of the quickest of many calls of `work`, for so many `seconds`."""
    clock, quickest = Clock(device), float("inf")
    began = time.perf_counter()
    for number in range(1000):
        if number > 3 and time.perf_counter() - began > seconds:
            break
        clock.seconds.clear()
        clock.enter("work")
        work()
        clock.enter("")
        quickest = min(quickest, clock.seconds["work"])
    return quickest
