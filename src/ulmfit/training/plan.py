"""Which layer groups train, at which place of which cycle, for every batch of a run.

A pure function of the batch's number: a run that goes on from a checkpoint needs only that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from ulmfit.config.training import TrainingConfig
from ulmfit.training.unfreezing import Phase, unfreezing_plan


@dataclass(frozen=True)
class Place:
    """Where a batch stands in a run."""

    epoch: int
    """Pass over the data, from 0."""

    batch: int
    """Batch of that pass, from 0."""

    trainable: tuple[int, ...]
    """Layer groups that train."""

    cycle_step: int
    """Optimiser step of the current cycle, from 0."""

    cycle_steps: int
    """Optimiser steps of the current cycle."""

    step_batches: int
    """Batches whose gradients make up the step: fewer than asked for at a cycle's end."""


class TrainingPlan:
    """The run's batches, cut into epochs, phases of unfreezing, and cycles of the schedule."""

    def __init__(
        self, config: TrainingConfig, groups: int, batch_count: Callable[[int], int]
    ) -> None:
        """Lay out `config.epochs` epochs; `batch_count(epoch)` is the number of its batches."""
        self.accumulation = config.accumulation
        self._epoch_starts = [0]
        for epoch in range(ceil(config.epochs)):
            self._epoch_starts.append(self._epoch_starts[-1] + batch_count(epoch))
        self.batches = max(1, self._batch_at(config.epochs))
        self._phases = unfreezing_plan(config.unfreezing, groups, config.epochs)
        self._phase_starts = self._starts_of(self._phases)
        self._evaluations = self._evaluation_ends(config)

    def at(self, index: int) -> Place:
        """Return the place of batch `index` of the run, in [0, batches)."""
        epoch = bisect_right(self._epoch_starts, index) - 1
        phase = bisect_right(self._phase_starts, index) - 1
        begin, end = self._cycle(phase)
        step = (index - begin) // self.accumulation
        return Place(
            epoch=epoch,
            batch=index - self._epoch_starts[epoch],
            trainable=self._phases[phase].trainable,
            cycle_step=step,
            cycle_steps=ceil((end - begin) / self.accumulation),
            step_batches=min(self.accumulation, end - begin - step * self.accumulation),
        )

    def ends_step(self, index: int) -> bool:
        """Tell whether the optimiser steps after batch `index` (a cycle never shares a step)."""
        begin, end = self._cycle(bisect_right(self._phase_starts, index) - 1)
        return (index - begin + 1) % self.accumulation == 0 or index + 1 == end

    def is_evaluated_after(self, index: int) -> bool:
        """Tell whether the model is evaluated after batch `index`."""
        return index + 1 in self._evaluations

    def _batch_at(self, epochs: float) -> int:
        """Return the number of batches in the first `epochs` epochs, rounded down."""
        whole = min(int(epochs), len(self._epoch_starts) - 1)
        start = self._epoch_starts[whole]
        if whole + 1 == len(self._epoch_starts):
            return start
        return start + int((epochs - whole) * (self._epoch_starts[whole + 1] - start) + 1e-9)

    def _starts_of(self, phases: tuple[Phase, ...]) -> list[int]:
        starts, passed = [], 0.0
        for phase in phases:
            starts.append(self._batch_at(passed))
            passed += phase.epochs
        return starts

    def _cycle(self, phase: int) -> tuple[int, int]:
        """Return the first and the end batch of the cycle that holds `phase`."""
        first, end = phase, phase + 1
        while first > 0 and not self._phases[first].restarts:
            first -= 1
        while end < len(self._phases) and not self._phases[end].restarts:
            end += 1
        last = self._phase_starts[end] if end < len(self._phases) else self.batches
        return self._phase_starts[first], last

    def _evaluation_ends(self, config: TrainingConfig) -> set[int]:
        count = int(config.epochs / config.evaluate_every + 1e-9)
        ends = {self._batch_at(config.evaluate_every * (k + 1)) for k in range(count)}
        return {end for end in ends if end > 0} | {self.batches}
