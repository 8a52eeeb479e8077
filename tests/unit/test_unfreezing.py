from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from ulmfit.errors import ConfigError
from ulmfit.training.unfreezing import Phase, Plan, unfreezing_plan

NAMES = ["gradual", "published", "last", "chain_thaw", "full"]


def summary(plan: Plan) -> list[tuple[tuple[int, ...], float]]:
    return [(phase.trainable, phase.epochs) for phase in plan]


def test_gradual_unfreezes_one_more_group_an_epoch_within_one_cycle() -> None:
    plan = unfreezing_plan("gradual", groups=4, epochs=10)
    assert plan == (
        Phase((3,), 1.0, restarts=True),
        Phase((2, 3), 1.0, restarts=False),
        Phase((1, 2, 3), 1.0, restarts=False),
        Phase((0, 1, 2, 3), 7.0, restarts=False),
    )


def test_gradual_shares_too_few_epochs_equally() -> None:
    plan = unfreezing_plan("gradual", groups=4, epochs=2)
    assert summary(plan) == [((3,), 0.5), ((2, 3), 0.5), ((1, 2, 3), 0.5), ((0, 1, 2, 3), 0.5)]


def test_published_trains_last_then_last_two_then_all_each_with_its_own_cycle() -> None:
    plan = unfreezing_plan("published", groups=5, epochs=4)
    assert plan == (
        Phase((4,), 1.0, restarts=True),
        Phase((3, 4), 1.0, restarts=True),
        Phase((0, 1, 2, 3, 4), 2.0, restarts=True),
    )
    assert [phase.epochs for phase in unfreezing_plan("published", 5, 1.5)] == [0.5, 0.5, 0.5]


def test_published_with_few_groups_repeats_no_phase() -> None:
    assert summary(unfreezing_plan("published", 2, 3)) == [((1,), 1.0), ((0, 1), 2.0)]
    assert summary(unfreezing_plan("published", 1, 3)) == [((0,), 3.0)]


def test_chain_thaw_trains_each_group_alone_then_all() -> None:
    plan = unfreezing_plan("chain_thaw", groups=3, epochs=6)
    assert summary(plan) == [((2,), 1.0), ((0,), 1.0), ((1,), 1.0), ((0, 1, 2), 3.0)]
    assert all(phase.restarts for phase in plan)


def test_last_and_full_are_one_phase() -> None:
    assert unfreezing_plan("last", 3, 2.5) == (Phase((2,), 2.5, restarts=True),)
    assert unfreezing_plan("full", 3, 2.5) == (Phase((0, 1, 2), 2.5, restarts=True),)


@given(name=st.sampled_from(NAMES), groups=st.integers(1, 12), epochs=st.floats(0.01, 100))
def test_every_plan_is_as_long_as_asked_and_well_formed(
    name: str, groups: int, epochs: float
) -> None:
    plan = unfreezing_plan(name, groups, epochs)
    assert sum(phase.epochs for phase in plan) == approx(epochs)
    assert plan[0].restarts
    for phase in plan:
        assert phase.epochs > 0
        assert phase.trainable == tuple(sorted(set(phase.trainable)))
        assert set(phase.trainable) <= set(range(groups))
    assert groups - 1 in plan[0].trainable
    if name != "last":
        assert plan[-1].trainable == tuple(range(groups))
        assert plan[-1].epochs >= max(phase.epochs for phase in plan) - 1e-9


def test_an_unknown_plan_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        unfreezing_plan("thaw", 3, 1)
    assert str(caught.value) == (
        "setting 'unfreezing': found 'thaw'; choose gradual, published, last, chain_thaw or full"
    )
