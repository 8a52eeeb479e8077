from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from ulmfit.config.training import ScheduleConfig
from ulmfit.training.schedule import (
    constant,
    cosine,
    discriminative_rates,
    flat_cosine,
    one_cycle,
    rate_multiplier,
    slanted_triangular,
    warm_restarts,
)


def bare_formula(t: int, steps: int, cut_frac: float, ratio: float) -> tuple[float, float] | None:
    """Equation 3 of the paper as printed: p and eta / eta_max, where they are defined."""
    cut = math.floor(steps * cut_frac)
    if cut == 0:
        return None
    p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
    return p, (1 + p * (ratio - 1)) / ratio


@pytest.mark.parametrize(("cut_frac", "ratio"), [(0.1, 32.0), (1 / 3, 8.0), (0.125, 8.0)])
def test_slanted_triangle_is_the_paper_s_wherever_that_is_defined(
    cut_frac: float, ratio: float
) -> None:
    defined = 0
    for steps in range(1, 501):
        for t in range(steps):
            ours = slanted_triangular(t, steps, cut_frac, ratio)
            assert 1 / ratio <= ours <= 1
            bare = bare_formula(t, steps, cut_frac, ratio)
            if bare is not None and 0 <= bare[0] <= 1:
                assert ours == bare[1]
                defined += 1
    assert defined > 100_000


@pytest.mark.parametrize("steps", [1, 2, 7, 9, 10, 19, 500])
def test_slanted_triangle_rises_to_its_peak_and_falls(steps: int) -> None:
    rates = [slanted_triangular(t, steps) for t in range(steps)]
    cut = max(1, steps // 10)
    assert rates[0] == 1 / 32
    assert rates[: cut + 1] == sorted(rates[: cut + 1])
    assert rates[cut:] == sorted(rates[cut:], reverse=True)
    if steps > 1:
        assert rates[cut] == 1


def test_slanted_triangle_by_hand() -> None:
    rates = [slanted_triangular(t, 20, cut_frac=0.1, ratio=32) for t in (0, 1, 2, 11, 19)]
    assert rates == approx([1 / 32, 16.5 / 32, 1.0, 16.5 / 32, (1 + 31 / 18) / 32])


@given(
    steps=st.integers(1, 10_000),
    place=st.floats(0, 1, exclude_max=True),
    cut_frac=st.floats(0.001, 0.999),
    ratio=st.floats(1, 1000),
)
def test_every_schedule_stays_in_its_range(
    steps: int, place: float, cut_frac: float, ratio: float
) -> None:
    step = int(place * steps)
    assert 1 / ratio - 1e-12 <= slanted_triangular(step, steps, cut_frac, ratio) <= 1
    assert 1 / ratio - 1e-12 <= cosine(step, steps, ratio) <= 1
    assert 1 / 25e4 - 1e-12 <= one_cycle(step, steps, cut_frac) <= 1
    assert 1 / ratio - 1e-12 <= flat_cosine(step, steps, cut_frac, ratio) <= 1
    assert 1 / ratio - 1e-12 <= warm_restarts(step, steps, 3, ratio) <= 1


def test_flat_cosine_by_hand() -> None:
    assert [flat_cosine(t, 100, 0.75, 32) for t in (0, 50, 75)] == [1.0, 1.0, 1.0]
    assert flat_cosine(875, 1000, 0.75, 32) == approx((1 + 1 / 32) / 2)


def test_warm_restarts_by_hand() -> None:
    rates = [warm_restarts(t, 70, cycles=3, ratio=9) for t in range(70)]
    assert [t for t in range(1, 70) if rates[t] > rates[t - 1]] == [10, 30]
    assert [rates[t] for t in (0, 10, 30)] == approx([1.0, 1.0, 1.0])
    assert [rates[t] for t in (5, 20, 50)] == approx([(1 + 1 / 9) / 2] * 3)
    assert [warm_restarts(t, 40, cycles=1) for t in range(40)] == approx(
        [cosine(t, 40) for t in range(40)]
    )


def test_one_cycle_by_hand() -> None:
    assert one_cycle(0, 100) == approx(1 / 25)
    assert one_cycle(10, 80) == approx((1 / 25 + 1) / 2)
    assert one_cycle(25, 100) == 1.0
    assert one_cycle(50, 80) == approx((1 + 1 / 25e4) / 2)
    assert one_cycle(10**6 - 1, 10**6) == approx(1 / 25e4, rel=1e-3)


def test_cosine_and_constant_by_hand() -> None:
    assert cosine(0, 100) == 1.0
    assert cosine(50, 100) == approx((1 + 1 / 32) / 2)
    assert cosine(10**6 - 1, 10**6) == approx(1 / 32)
    assert [constant(step, 3) for step in range(3)] == [1.0, 1.0, 1.0]


def test_multiplier_follows_the_configured_schedule() -> None:
    def at(config: ScheduleConfig) -> float:
        return rate_multiplier(config, 3, 40)

    assert at(ScheduleConfig()) == slanted_triangular(3, 40, 0.1, 32)
    slanted = ScheduleConfig(name="slanted_triangular", cut_frac=0.3, ratio=8)
    assert at(slanted) == slanted_triangular(3, 40, 0.3, 8)
    assert at(ScheduleConfig(name="one_cycle", cut_frac=0.3)) == one_cycle(3, 40, 0.3)
    assert at(ScheduleConfig(name="cosine", ratio=8)) == cosine(3, 40, 8)
    assert at(ScheduleConfig(name="constant")) == 1.0


@pytest.mark.parametrize("name", ["slanted_triangular", "one_cycle", "cosine", "constant"])
@pytest.mark.parametrize(("step", "steps"), [(-1, 10), (10, 10), (0, 0)])
def test_a_step_outside_the_cycle_is_refused(name: str, step: int, steps: int) -> None:
    config = ScheduleConfig(name=name)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"step {step} is outside a cycle of {steps} steps"):
        rate_multiplier(config, step, steps)


def test_discriminative_rates_fall_by_the_factor_from_the_last_group_down() -> None:
    rates = discriminative_rates(0.01, 4, 2.6)
    assert rates[-1] == 0.01
    assert rates == approx([0.01 / 2.6**3, 0.01 / 2.6**2, 0.01 / 2.6, 0.01])
    assert discriminative_rates(0.01, 3, 1.0) == [0.01, 0.01, 0.01]
    assert discriminative_rates(0.01, 1) == [0.01]
