from __future__ import annotations

from itertools import accumulate, groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit.config.training import ScheduleConfig, TrainingConfig
from ulmfit.training.plan import Place, TrainingPlan
from ulmfit.training.schedule import rate_multiplier
from ulmfit.training.unfreezing import unfreezing_plan

NAMES = ["gradual", "published", "last", "chain_thaw", "full"]


def plan_of(batches: int | list[int], groups: int = 4, **settings: Any) -> TrainingPlan:
    def count(epoch: int) -> int:
        return batches if isinstance(batches, int) else batches[epoch % len(batches)]

    return TrainingPlan(TrainingConfig(**settings), groups, count)


def places(plan: TrainingPlan) -> list[Place]:
    return [plan.at(index) for index in range(plan.batches)]


def evaluated(plan: TrainingPlan) -> list[int]:
    return [index + 1 for index in range(plan.batches) if plan.is_evaluated_after(index)]


plans = st.fixed_dictionaries(
    {
        "epochs": st.one_of(
            st.integers(1, 8).map(float),
            st.floats(0.01, 8.0),
            st.integers(1, 24).map(lambda n: n / 3),
        ),
        "accumulation": st.integers(1, 5),
        "unfreezing": st.sampled_from(NAMES),
        "evaluate_every": st.sampled_from([0.1, 0.25, 0.5, 1.0, 1.5, 3.0]),
    }
)
counts = st.lists(st.integers(1, 12), min_size=1, max_size=8)


@settings(deadline=None)
@given(plans, counts, st.integers(1, 5))
def test_every_batch_is_seen_once_and_in_order(
    chosen: dict[str, Any], batches: list[int], groups: int
) -> None:
    plan = plan_of(batches, groups, **chosen)
    expected = [
        (epoch, batch) for epoch in range(9) for batch in range(batches[epoch % len(batches)])
    ]
    found = [(place.epoch, place.batch) for place in places(plan)]
    assert found == expected[: plan.batches]
    epochs = chosen["epochs"]
    if epochs == int(epochs):
        assert plan.batches == sum(batches[e % len(batches)] for e in range(int(epochs)))


@settings(deadline=None)
@given(plans, counts, st.integers(1, 5))
def test_the_batches_of_a_step_have_its_number_and_share_it_equally(
    chosen: dict[str, Any], batches: list[int], groups: int
) -> None:
    plan = plan_of(batches, groups, **chosen)
    seen = 0
    for index, place in enumerate(places(plan)):
        seen += 1
        assert 1 <= place.step_batches <= chosen["accumulation"]
        assert plan.ends_step(index) == (seen == place.step_batches)
        if plan.ends_step(index):
            seen = 0
    assert seen == 0, "the last gradients are used"


@settings(deadline=None)
@given(plans, counts, st.integers(1, 5))
def test_the_steps_of_a_cycle_are_counted_to_its_end(
    chosen: dict[str, Any], batches: list[int], groups: int
) -> None:
    plan = plan_of(batches, groups, **chosen)
    ends = [place for i, place in enumerate(places(plan)) if plan.ends_step(i)]
    step = 0
    for place in ends:
        assert place.cycle_step == step
        assert 0 < rate_multiplier(ScheduleConfig(), step, place.cycle_steps) <= 1
        step = step + 1 if step + 1 < place.cycle_steps else 0
    assert step == 0, "the last cycle is whole"


@settings(deadline=None)
@given(plans, st.integers(1, 12), st.integers(1, 5))
def test_the_groups_that_train_are_those_of_the_unfreezing_plan(
    chosen: dict[str, Any], batches: int, groups: int
) -> None:
    plan = plan_of(batches, groups, **chosen)
    phases = unfreezing_plan(chosen["unfreezing"], groups, chosen["epochs"])
    for index, place in enumerate(places(plan)):
        end_of_batch = (index + 1) / batches - 1e-7
        ends = accumulate(phase.epochs for phase in phases)
        number = sum(end <= end_of_batch for end in ends)
        assert place.trainable == phases[min(number, len(phases) - 1)].trainable


@settings(deadline=None)
@given(plans, counts)
def test_it_is_evaluated_at_the_end_and_at_the_intervals(
    chosen: dict[str, Any], batches: list[int]
) -> None:
    plan = plan_of(batches, **chosen)
    found = evaluated(plan)
    assert found[-1] == plan.batches
    every, epochs = chosen["evaluate_every"], chosen["epochs"]
    assert len(found) <= epochs / every + 2
    if every == 1.0:
        whole = [sum(batches[e % len(batches)] for e in range(k + 1)) for k in range(int(epochs))]
        assert set(whole) <= set(found)


def test_fractions_of_an_epoch() -> None:
    assert plan_of(10, epochs=2.5).batches == 25
    assert plan_of(10, epochs=0.31).batches == 3
    assert plan_of(10, epochs=0.3).batches == 3
    assert plan_of(3, epochs=0.01).batches == 1
    assert plan_of([10, 20], epochs=1.5).batches == 20
    assert evaluated(plan_of(10, epochs=2.0, evaluate_every=0.5)) == [5, 10, 15, 20]
    assert evaluated(plan_of(10, epochs=2.0, evaluate_every=3.0)) == [20]
    assert evaluated(plan_of(10, epochs=1.7, evaluate_every=0.3)) == [3, 6, 9, 12, 15, 17]


def test_gradual_unfreezing_is_one_cycle() -> None:
    plan = plan_of(10, groups=3, epochs=4.0, unfreezing="gradual")
    runs = [(t, len(list(run))) for t, run in groupby(p.trainable for p in places(plan))]
    assert runs == [((2,), 10), ((1, 2), 10), ((0, 1, 2), 20)]
    assert [p.cycle_step for p in places(plan)] == list(range(40))


def test_chain_thaw_has_a_cycle_for_each_phase() -> None:
    plan = plan_of(10, groups=3, epochs=4.0, unfreezing="chain_thaw")
    runs = [(t, len(list(run))) for t, run in groupby(p.trainable for p in places(plan))]
    assert runs == [((2,), 10), ((0,), 10), ((1,), 10), ((0, 1, 2), 10)]
    assert [p.cycle_step for p in places(plan)] == list(range(10)) * 4
    assert {p.cycle_steps for p in places(plan)} == {10}


@pytest.mark.parametrize("unfreezing", ["gradual", "chain_thaw"])
def test_a_step_never_joins_two_cycles(unfreezing: str) -> None:
    plan = plan_of(5, groups=2, epochs=3.0, accumulation=2, unfreezing=unfreezing)
    ends = [index for index in range(plan.batches) if plan.ends_step(index)]
    if unfreezing == "gradual":  # one cycle of 15
        assert ends == [1, 3, 5, 7, 9, 11, 13, 14]
    else:
        assert ends == [1, 3, 4, 6, 8, 9, 11, 13, 14]
