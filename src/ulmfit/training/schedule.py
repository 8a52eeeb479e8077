"""How the learning rate moves: over the steps of a cycle, and from layer group to layer group.

Pure functions of the step. A multiplier is the share of the largest rate that a step is
taken with; it is in (0, 1], and 1 where the rate peaks.
"""

from __future__ import annotations

import math

from ulmfit.config.training import ScheduleConfig

ONE_CYCLE_START = 25.0
"""How much smaller than the largest rate one-cycle begins (fastai: `div`)."""

ONE_CYCLE_END = 25e4
"""How much smaller than the largest rate one-cycle ends (fastai 1: `div` x 10^4)."""


def rate_multiplier(config: ScheduleConfig, step: int, steps: int) -> float:
    """Return the multiplier of `step`, counted from 0, in a cycle of `steps`.

    Raises `ValueError` unless 0 <= step < steps.
    """
    match config.name:
        case "slanted_triangular":
            return slanted_triangular(step, steps, config.cut_frac, config.ratio)
        case "one_cycle":
            return one_cycle(step, steps, config.cut_frac)
        case "cosine":
            return cosine(step, steps, config.ratio)
        case "flat_cosine":
            return flat_cosine(step, steps, config.cut_frac, config.ratio)
        case "warm_restarts":
            return warm_restarts(step, steps, config.cycles, config.ratio)
        case "constant":
            return constant(step, steps)


def slanted_triangular(step: int, steps: int, cut_frac: float = 0.1, ratio: float = 32.0) -> float:
    """Rise to 1 within `cut_frac` of the steps, then fall slowly; in [1/ratio, 1].

    Howard & Ruder 2018, section 3.2, equation 3. The paper's formula divides by zero where
    `steps * cut_frac` is below 1 and turns negative where it is far from whole; here `cut`
    is at least 1 and `p` stays within [0, 1].
    """
    _check(step, steps)
    cut = max(1, math.floor(steps * cut_frac))
    p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / cut_frac - 1))
    return (1 + min(1.0, max(0.0, p)) * (ratio - 1)) / ratio


def one_cycle(step: int, steps: int, cut_frac: float = 0.25) -> float:
    """Rise by a half cosine from 1/25 to 1 within `cut_frac` of the steps, fall to 1/250,000.

    Smith 2018 as fastai has it; only the rate moves, not the momentum.
    """
    place = _place(step, steps)
    if place < cut_frac:
        return _half_cosine(1 / ONE_CYCLE_START, 1.0, place / cut_frac)
    return _half_cosine(1.0, 1 / ONE_CYCLE_END, (place - cut_frac) / (1 - cut_frac))


def cosine(step: int, steps: int, ratio: float = 32.0) -> float:
    """Fall by a half cosine from 1 to 1/ratio (Loshchilov & Hutter 2017, one cycle)."""
    return _half_cosine(1.0, 1 / ratio, _place(step, steps))


def flat_cosine(step: int, steps: int, flat_frac: float = 0.75, ratio: float = 32.0) -> float:
    """Stay at 1 for `flat_frac` of the steps, then fall by a half cosine to 1/ratio (fastai)."""
    place = _place(step, steps)
    return _half_cosine(1.0, 1 / ratio, max(0.0, place - flat_frac) / (1 - flat_frac))


def warm_restarts(step: int, steps: int, cycles: int = 3, ratio: float = 32.0) -> float:
    """Fall by a half cosine from 1 to 1/ratio, `cycles` times, each twice as long as the last.

    SGDR, Loshchilov & Hutter 2017, with T_mult = 2.
    """
    place = _place(step, steps) * (2**cycles - 1)  # in lengths of the first cosine
    cycle = min(cycles - 1, math.floor(math.log2(place + 1)))
    return _half_cosine(1.0, 1 / ratio, (place + 1) / 2**cycle - 1)


def constant(step: int, steps: int) -> float:
    """Stay at 1."""
    _check(step, steps)
    return 1.0


def discriminative_rates(rate: float, groups: int, factor: float = 2.6) -> list[float]:
    """Return the rate of each of `groups` layer groups, lowest first; the last has `rate`.

    Howard & Ruder 2018, section 3.2: eta(l-1) = eta(l) / factor.
    """
    return [rate / factor ** (groups - 1 - group) for group in range(groups)]


def _half_cosine(start: float, end: float, place: float) -> float:
    """Go from `start` to `end` along half a cosine as `place` goes from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * place)) / 2


def _place(step: int, steps: int) -> float:
    """Return how far into the cycle `step` begins, in [0, 1)."""
    _check(step, steps)
    return step / steps


def _check(step: int, steps: int) -> None:
    if not 0 <= step < steps:
        raise ValueError(f"step {step} is outside a cycle of {steps} steps")
