"""The range test for learning rates (Smith 2017, section 3.3): raise the rate, watch the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from ulmfit.config.training import TrainingConfig
from ulmfit.errors import TrainingError
from ulmfit.training.device import Precision, autocast
from ulmfit.training.log import RunLog
from ulmfit.training.loop import Task, TrainingRun, endless_batches
from ulmfit.training.optimizers import set_trainable

SMOOTHING = 0.9
"""Of the running mean of the losses."""

DIVERGED = 4.0
"""The test ends when the smoothed loss is so many times the lowest."""


@dataclass(frozen=True)
class RateTest:
    """Rates tried, in rising order, and the smoothed loss before each step."""

    rates: list[float]
    losses: list[float]

    @property
    def steepest(self) -> float:
        """The rate at which the loss falls fastest, over the logarithm of the rate."""
        falls = [after - before for before, after in pairwise(self.losses)]
        return self.rates[falls.index(min(falls))]

    @property
    def tenth_of_lowest(self) -> float:
        """A tenth of the rate with the lowest loss: the largest one that is safe, by experience."""
        return self.rates[self.losses.index(min(self.losses))] / 10


def find_rates(
    task: Task,
    config: TrainingConfig,
    *,
    lowest: float,
    highest: float,
    steps: int,
    last_group_alone: bool,
    precision: Precision = "float32",
) -> RateTest:
    """Train `task.module` for up to `steps` batches, the rate rising from `lowest` to `highest`.

    The rate is that of the last layer group; the lower ones have theirs by the discriminative
    factor. Each step is one of training: gradients are clipped, and a window's rate goes by its
    length. The module is spoilt. It ends early when the loss is no longer finite, or diverges.
    """
    run = TrainingRun(task, config, "the range test", precision, RunLog(None, quiet=True), None)
    groups = len(run.groups)
    set_trainable(run.optimizer, [groups - 1] if last_group_alone else list(range(groups)))
    mean = 0.0
    rates: list[float] = []
    losses: list[float] = []
    for step, batch in zip(range(steps), endless_batches(task), strict=False):
        rate = lowest * (highest / lowest) ** (step / max(steps - 1, 1))
        task.module.train()
        with autocast(precision, run.device):
            found = task.loss(batch)
        mean = SMOOTHING * mean + (1 - SMOOTHING) * float(found.loss.detach())
        smoothed = mean / (1 - SMOOTHING ** (step + 1))
        if not math.isfinite(smoothed) or smoothed > DIVERGED * min([*losses, math.inf]):
            break
        rates.append(rate)
        losses.append(smoothed)
        run.scaler.scale(found.loss).backward()  # type: ignore[no-untyped-call]
        try:
            run.step(rate * found.rate_scale)
        except TrainingError:  # no finite gradient any more
            break
    return RateTest(rates, losses)
