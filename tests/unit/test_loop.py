from __future__ import annotations

import gc
import json
import math
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit.config.training import OptimizerConfig, ScheduleConfig, TrainingConfig
from ulmfit.errors import ResumeError, TrainingError
from ulmfit.training.interrupt import Terminated, terminable
from ulmfit.training.log import RunLog
from ulmfit.training.loop import StepLoss, train
from ulmfit.training.plan import TrainingPlan
from ulmfit.training.schedule import rate_multiplier

SGD = OptimizerConfig(name="sgd", learning_rate=0.1, weight_decay=0.0, momentum=0.0)
ADAMW = OptimizerConfig(learning_rate=0.01, weight_decay=0.1)


class Batch(NamedTuple):
    inputs: Tensor
    targets: Tensor
    rate_scale: float = 1.0


def data(rows: int, size: int, seed: int = 0, scales: Sequence[float] = (1.0,)) -> list[Batch]:
    """The same rows, whatever the size of the batches."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    targets = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    pieces = enumerate(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))
    return [Batch(x, y, scales[i % len(scales)]) for i, (x, y) in pieces]


@dataclass
class LinearTask:
    """Three linear layers, each a group; the same batches each epoch; a state that is carried."""

    data: list[Batch]
    dropout: float = 0.0
    scripted: list[float] | None = None
    before_loss: Callable[[LinearTask], None] = lambda task: None
    calls: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    snapshots: list[list[Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        layers = [nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(3, 2)]
        self.module: nn.Module = nn.Sequential(*layers).double()
        self.state = torch.zeros(4, dtype=torch.float64)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return [list(layer.parameters()) for layer in self.module.children()]

    def batch_count(self, epoch: int) -> int:
        return len(self.data)

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        self.asked.append((epoch, start))
        return iter(self.data[start:])

    def loss(self, batch: Batch) -> StepLoss:
        self.before_loss(self)
        self.calls += 1
        first, second, third = self.module.children()
        hidden = first(batch.inputs)
        if self.dropout:
            hidden = F.dropout(hidden, self.dropout) + 0.1 * self.state
            self.state = hidden.detach().mean(0)
        loss = F.mse_loss(third(second(hidden)), batch.targets)
        self.losses.append(loss.item())
        return StepLoss(loss, len(batch.inputs), batch.rate_scale)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        self.snapshots.append(weights(self))
        if self.scripted is not None:
            number = len(self.snapshots) - 1
            return {"loss": self.scripted[number]} if self.scripted else {}
        held_out = data(16, 16, seed=9)[0]
        loss = float(F.mse_loss(self.module(held_out.inputs), held_out.targets))
        self.evaluations.append(loss)
        return {"loss": loss}

    def criterion(self, metrics: dict[str, float]) -> float:
        return metrics["loss"]

    def carried(self) -> dict[str, Tensor]:
        return {"state": self.state}

    def carry(self, tensors: dict[str, Tensor]) -> None:
        self.state = tensors["state"]


def weights(task: LinearTask) -> list[Tensor]:
    return [p.detach().clone() for p in task.module.parameters()]


def same_bits(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def config(**settings: Any) -> TrainingConfig:
    return TrainingConfig(**{"optimizer": SGD, "epochs": 2.0, "keep_best": False, **settings})


def run(task: LinearTask, settings: TrainingConfig, folder: Path | None = None) -> dict[str, Any]:
    log = RunLog(folder / "log.jsonl" if folder else None, quiet=True)
    checkpoint = folder / "checkpoint" if folder else None
    return train(task, settings, title="p", precision="float32", log=log, checkpoint=checkpoint)


def strict_events(folder: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


# What a step does


def reference(task: LinearTask, settings: TrainingConfig) -> list[Tensor]:
    """SGD written out: schedule, discriminative rates, the batch's scale, clipping, freezing."""
    values = [[p.detach().clone() for p in group] for group in task.layer_groups()]
    plan = TrainingPlan(settings, len(values), task.batch_count)
    for index in range(plan.batches):
        place = plan.at(index)
        batch = task.data[place.batch]
        for group in values:
            for value in group:
                value.requires_grad_(True)
        hidden = batch.inputs
        for weight, bias in values:
            hidden = hidden @ weight.T + bias
        loss = (hidden - batch.targets).square().mean()
        gradients = torch.autograd.grad(loss, [v for group in values for v in group])
        pairs = list(zip(gradients[::2], gradients[1::2], strict=True))
        training = [g for i in place.trainable for g in pairs[i]]
        norm = math.sqrt(sum(float(g.square().sum()) for g in training))
        clip = min(1.0, settings.clip_gradient / (norm + 1e-6)) if settings.clip_gradient else 1.0
        rate = settings.optimizer.learning_rate * batch.rate_scale
        rate *= rate_multiplier(settings.schedule, place.cycle_step, place.cycle_steps)
        for i in place.trainable:
            share = settings.optimizer.discriminative_factor ** -(len(values) - 1 - i)
            values[i] = [
                v.detach() - rate * share * clip * g
                for v, g in zip(values[i], pairs[i], strict=True)
            ]
        values = [[v.detach() for v in group] for group in values]
    return [v for group in values for v in group]


@pytest.mark.parametrize("unfreezing", ["full", "gradual", "chain_thaw", "last"])
@pytest.mark.parametrize("clip", [0.0, 0.05])
@pytest.mark.parametrize("schedule", ["slanted_triangular", "constant"])
def test_the_loop_equals_a_plain_one(unfreezing: str, clip: float, schedule: Any) -> None:
    settings = config(
        epochs=4.5,
        unfreezing=unfreezing,
        clip_gradient=clip,
        schedule=ScheduleConfig(name=schedule),
    )
    task = LinearTask(data(24, 4, scales=[1.0, 0.5, 1.2]))
    expected = reference(task, settings)
    run(task, settings)
    for found, value in zip(weights(task), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("unfreezing", ["full", "chain_thaw"])
def test_two_half_batches_are_one_batch(optimizer: OptimizerConfig, unfreezing: str) -> None:
    settings = {"optimizer": optimizer, "epochs": 4.0, "unfreezing": unfreezing}
    whole, halves = LinearTask(data(32, 8)), LinearTask(data(32, 4))
    run(whole, config(**settings))
    run(halves, config(**settings, accumulation=2))
    assert whole.evaluations == pytest.approx(halves.evaluations, rel=1e-12)
    means = [sum(pair) / 2 for pair in zip(halves.losses[::2], halves.losses[1::2], strict=True)]
    assert whole.losses == pytest.approx(means, rel=1e-12)


def test_what_is_left_over_for_the_last_step_has_its_full_weight() -> None:
    rows = data(24, 4)
    joined = [
        Batch(torch.cat([a.inputs, b.inputs]), torch.cat([a.targets, b.targets]))
        for a, b in zip(rows[:4:2], rows[1:4:2], strict=True)
    ]
    whole, pieces = LinearTask([*joined, rows[4]]), LinearTask(rows[:5])
    run(whole, config(epochs=1.0))
    run(pieces, config(epochs=1.0, accumulation=2))
    assert whole.evaluations == pytest.approx(pieces.evaluations, rel=1e-12)


def test_the_rate_of_a_step_is_scaled_by_the_mean_over_its_batches() -> None:
    mixed, even = data(16, 4, scales=[0.5, 1.5]), data(16, 4, scales=[1.0])
    first, second = LinearTask(mixed), LinearTask(even)
    run(first, config(accumulation=2))
    run(second, config(accumulation=2))
    assert first.losses == pytest.approx(second.losses, rel=1e-12)


def test_a_frozen_group_does_not_move_by_a_bit() -> None:
    task = LinearTask(data(24, 4))
    before = weights(task)
    run(task, config(optimizer=ADAMW, unfreezing="last"))
    assert same_bits(before[:4], weights(task)[:4])
    assert not torch.equal(before[4], weights(task)[4])


def test_gradual_unfreezing_moves_one_more_group_each_epoch() -> None:
    task = LinearTask(data(24, 4))
    states = [weights(task)]
    run(task, config(optimizer=ADAMW, unfreezing="gradual", epochs=4.0))
    states += task.snapshots
    for epoch, frozen in enumerate([4, 2, 0, 0]):
        before, after = states[epoch], states[epoch + 1]
        assert same_bits(before[:frozen], after[:frozen])
        assert not any(
            torch.equal(a, b) for a, b in zip(before[frozen:], after[frozen:], strict=True)
        )
    assert all(p.requires_grad for p in task.module.parameters()), "left as they were found"


# Steps that are not finite


def with_nan(batches: list[Batch], *numbers: int) -> list[Batch]:
    return [
        batch._replace(inputs=batch.inputs * math.nan) if i in numbers else batch
        for i, batch in enumerate(batches)
    ]


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path: Path) -> None:
    constant = ScheduleConfig(name="constant")
    batches = data(40, 4)
    spoilt = LinearTask(with_nan(batches, 3, 7))
    clean = LinearTask([batch for i, batch in enumerate(batches) if i not in (3, 7)])
    results = run(spoilt, config(epochs=1.0, schedule=constant, optimizer=ADAMW), tmp_path)
    run(clean, config(epochs=1.0, schedule=constant, optimizer=ADAMW))
    assert results["skipped_steps"] == 2
    assert same_bits(weights(spoilt), weights(clean))
    assert strict_events(tmp_path)[-1]["skipped_steps"] == 2


def test_many_skipped_steps_in_a_row_are_an_error() -> None:
    task = LinearTask(with_nan(data(120, 4), *range(5, 30)))
    before = weights(task)
    with pytest.raises(TrainingError) as caught:
        run(task, config(epochs=1.0))
    assert str(caught.value) == (
        "p: 20 steps in a row without a finite gradient; lower "
        "its setting 'optimizer.learning_rate' or use float32"
    )
    assert task.calls == 25
    assert all(w.isfinite().all() for w in weights(task)) and not same_bits(before, weights(task))


@pytest.mark.parametrize("scripted", [None, []])
def test_weights_that_are_not_finite_are_an_error(scripted: list[float] | None) -> None:
    def spoil(task: LinearTask) -> None:
        if task.calls == 3:
            next(task.module.parameters()).data[0, 0] = math.inf

    task = LinearTask(data(24, 4), before_loss=spoil, scripted=scripted)
    with pytest.raises(TrainingError) as caught:
        run(task, config(epochs=1.0))
    assert str(caught.value) == (
        "p: after batch 6, the weight '0.weight' is not finite; begin anew with a lower learning "
        "rate"
    )
    assert not task.snapshots


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError(),
    ],
)
def test_a_full_memory_is_told_with_what_to_do(error: Exception) -> None:
    def fill(task: LinearTask) -> None:
        if task.calls == 2:
            raise error

    with pytest.raises(TrainingError) as caught:
        run(LinearTask(data(24, 4), before_loss=fill), config(epochs=1.0))
    assert str(caught.value) == (
        "p: the memory of the cpu is full after batch 2; begin anew with a smaller setting "
        "'batch_size' or 'bptt'"
    )


def test_another_error_of_a_step_passes_as_it_is() -> None:
    def fail(task: LinearTask) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"):
        run(LinearTask(data(24, 4), before_loss=fail), config(epochs=1.0))


def test_skipped_steps_that_are_apart_are_no_error() -> None:
    spoilt = [i for i in range(60) if i % 10 != 9]
    results = run(LinearTask(with_nan(data(240, 4), *spoilt)), config(epochs=1.0))
    assert results["skipped_steps"] == 54


# Evaluation


def test_the_best_weights_are_kept() -> None:
    task = LinearTask(data(24, 4), scripted=[3.0, 1.0, 2.0, 1.0])
    results = run(task, config(epochs=4.0, keep_best=True))
    assert same_bits(weights(task), task.snapshots[1])
    assert not same_bits(weights(task), task.snapshots[3])
    assert results["loss"] == 1.0
    assert [entry["loss"] for entry in results["history"]] == [3.0, 1.0, 2.0, 1.0]


def test_without_keep_best_the_last_weights_stay_and_their_results_are_told() -> None:
    task = LinearTask(data(24, 4), scripted=[3.0, 1.0, 2.0])
    results = run(task, config(epochs=3.0, keep_best=False))
    assert same_bits(weights(task), task.snapshots[2])
    assert results["loss"] == 2.0


@pytest.mark.parametrize("losses", [[], [math.nan, math.nan, math.nan]])
def test_without_a_usable_evaluation_the_last_weights_stay(losses: list[float]) -> None:
    task, other = LinearTask(data(24, 4), scripted=losses), LinearTask(data(24, 4))
    run(task, config(epochs=3.0, keep_best=True))
    run(other, config(epochs=3.0))
    assert same_bits(weights(task), weights(other))


def test_the_training_loss_is_kept_at_each_evaluation_with_held_out_data_or_without() -> None:
    for scripted in ([3.0, 1.0, 2.0], []):
        task = LinearTask(data(24, 4), scripted=scripted)
        kept = run(task, config(epochs=3.0))["training_losses"]
        assert [entry["batch"] for entry in kept] == [6, 12, 18]
        assert all(math.isfinite(entry["loss"]) for entry in kept)


def test_training_stops_early_after_enough_evaluations_without_a_better_one() -> None:
    task = LinearTask(data(24, 4), scripted=[3.0, 2.0, 2.5, 2.0, 1.0])
    results = run(task, config(epochs=5.0, patience=2, keep_best=True))
    assert results["stopped_early"] and results["batches"] == 4 * 6 == task.calls
    assert same_bits(weights(task), task.snapshots[1])
    assert results["loss"] == 2.0


def test_no_patience_never_stops() -> None:
    task = LinearTask(data(24, 4), scripted=[1.0, 2.0, 3.0, 4.0, 5.0])
    results = run(task, config(epochs=5.0, patience=0))
    assert not results["stopped_early"] and results["batches"] == 30


def test_a_fraction_of_an_epoch() -> None:
    task = LinearTask(data(40, 4))
    assert run(task, config(epochs=1.25))["batches"] == 12 == task.calls
    assert [e["batch"] for e in run(LinearTask(data(40, 4)), config(epochs=1.25))["history"]] == [
        10,
        12,
    ]


# The log


def test_every_line_of_the_log_is_strict_json(tmp_path: Path) -> None:
    task = LinearTask(with_nan(data(200, 4), *range(19)), scripted=[math.nan, math.inf])
    results = run(task, config(), tmp_path)
    events = strict_events(tmp_path)
    kinds = [event["event"] for event in events]
    assert kinds[0] == "started" and kinds[-1] == "finished"
    assert kinds.count("evaluation") == 2 and kinds.count("step") == 5
    assert {event["part"] for event in events} == {"p"}
    step = next(event for event in events if event["event"] == "step")
    assert (step["batch"], step["batches"], step["tokens"]) == (20, 100, 80)
    assert 0 <= step["waiting_share"] <= 1 and step["tokens_per_second"] > 0
    assert [event["loss"] for event in events if event["event"] == "evaluation"] == [None, None]
    assert events[-1]["tokens"] == results["tokens"] == 400


def test_the_log_tells_the_rate_that_was_used(tmp_path: Path) -> None:
    settings = config(schedule=ScheduleConfig(name="constant"))
    run(LinearTask(data(200, 4, scales=[0.5])), settings, tmp_path)
    rates = {event["rate"] for event in strict_events(tmp_path) if event["event"] == "step"}
    assert rates == {0.05}


# Interruption


class Killed(BaseException):
    pass


def stops_at(call: int, error: BaseException) -> Callable[[LinearTask], None]:
    def stop(task: LinearTask) -> None:
        if task.calls == call:
            raise error

    return stop


def without_times(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    changing = ("time", "seconds", "tokens_per_second", "waiting_share")
    return [
        {name: value for name, value in event.items() if name not in changing}
        for event in events
        if event["event"] != "resumed"
    ]


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": ADAMW},
    "accumulation": {"accumulation": 2, "optimizer": ADAMW},
    "unfreezing": {"unfreezing": "chain_thaw", "optimizer": ADAMW, "epochs": 4.0},
    "gradual": {"unfreezing": "gradual", "epochs": 4.0, "accumulation": 3},
    "momentum": {"optimizer": OptimizerConfig(name="sgd", momentum=0.9, learning_rate=0.05)},
    "averaging": {"averaging": 1, "evaluate_every": 0.25, "epochs": 4.0},
    "best": {"keep_best": True, "evaluate_every": 0.3, "patience": 3, "optimizer": ADAMW},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_resumed_run_has_the_same_bits_and_the_same_log(tmp_path: Path, name: str) -> None:
    settings = config(checkpoint_steps=3, **SETTINGS[name])
    whole = LinearTask(data(44, 4), dropout=0.3)
    (tmp_path / "whole").mkdir()
    expected = run(whole, settings, tmp_path / "whole")
    for call in (2, 11, whole.calls - 1):
        folder = tmp_path / f"killed-{call}"
        folder.mkdir()
        with pytest.raises(Killed):
            run(
                LinearTask(data(44, 4), dropout=0.3, before_loss=stops_at(call, Killed())),
                settings,
                folder,
            )
        torch.manual_seed(call)  # whatever a new process begins with
        resumed = LinearTask(data(44, 4), dropout=0.3)
        if not (folder / "checkpoint").exists():
            assert call == 2
            continue
        found = run(resumed, settings, folder)
        assert resumed.calls < whole.calls
        assert same_bits(weights(whole), weights(resumed)), call
        assert found["history"] == expected["history"]
        assert without_times(strict_events(folder)) == without_times(
            strict_events(tmp_path / "whole")
        )


def test_the_weights_are_averaged_from_where_the_loss_no_longer_falls() -> None:
    """Evaluated after every second of 8 batches; the third is worse than the first."""
    before: list[list[Tensor]] = []
    task = LinearTask(
        data(32, 4),
        scripted=[1.0, 0.9, 1.5, 1.2],
        before_loss=lambda task: before.append(weights(task)),
    )
    run(task, config(epochs=1.0, evaluate_every=0.25, averaging=1))
    plain = LinearTask(data(32, 4), scripted=[1.0, 0.9, 1.5, 1.2])
    run(plain, config(epochs=1.0, evaluate_every=0.25))
    after = [*before[7:], weights(plain)]  # the seventh and the eighth step
    expected = [torch.stack(values).mean(0) for values in zip(*after, strict=True)]
    for found, mean, last in zip(weights(task), expected, after[-1], strict=True):
        torch.testing.assert_close(found, mean)
        assert not torch.equal(found, last)
    for evaluated, mean in zip(task.snapshots[3], expected, strict=True):
        torch.testing.assert_close(evaluated, mean)
    assert same_bits(task.snapshots[2], plain.snapshots[2])


def test_checkpoints_count_steps_wherever_a_cycle_begins(tmp_path: Path) -> None:
    """Cycles of 5 batches, in steps of 2, 2 and 1: they end at odd places too."""
    settings = config(unfreezing="chain_thaw", epochs=4.0, accumulation=2, checkpoint_steps=2)
    saved: list[int] = []

    def note(task: LinearTask) -> None:
        path = tmp_path / "checkpoint"
        if path.exists() and (not saved or path.stat().st_mtime_ns != stamps[-1]):
            saved.append(task.calls)
            stamps.append(path.stat().st_mtime_ns)

    stamps: list[int] = []
    run(LinearTask(data(20, 4), before_loss=note), settings, tmp_path)
    assert saved == [4, 7, 10, 14, 17]


def test_an_interrupt_leaves_the_last_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = LinearTask(data(84, 4), before_loss=stops_at(8, KeyboardInterrupt()))
    log = RunLog(tmp_path / "log.jsonl")
    with pytest.raises(KeyboardInterrupt):
        train(
            task,
            config(checkpoint_steps=5),
            title="forward",
            precision="float32",
            log=log,
            checkpoint=tmp_path / "checkpoint",
        )
    assert capsys.readouterr().err == (
        "forward: interrupted after batch 8; --resume goes on from batch 5\n"
    )
    resumed = LinearTask(data(84, 4))
    run(resumed, config(checkpoint_steps=5), tmp_path)
    assert resumed.calls == 42 - 5


def interrupts_at(call: int, times: int) -> Callable[[LinearTask], None]:
    def interrupt(task: LinearTask) -> None:
        for _ in range(times if task.calls == call else 0):
            signal.raise_signal(signal.SIGINT)

    return interrupt


@pytest.fixture
def obeyed() -> Iterator[Any]:
    """Python's own handler of SIGINT, which a shell's background job begins without."""
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, found)


def test_an_interrupt_that_is_ignored_stays_so(obeyed: Any) -> None:
    """As a shell has it for what a script runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    task = LinearTask(data(84, 4), before_loss=interrupts_at(8, 2))
    run(task, config())
    assert task.calls == 42
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_an_interrupt_is_obeyed_though_nobody_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obeyed: Any, closed_pipe: TextIO
) -> None:
    """As with `| tee log`, which the same Ctrl-C ends."""

    monkeypatch.setattr(sys, "stderr", closed_pipe)
    with pytest.raises(KeyboardInterrupt):
        train(
            LinearTask(data(84, 4), before_loss=interrupts_at(8, 1)),
            config(),
            title="forward",
            precision="float32",
            log=RunLog(tmp_path / "log.jsonl"),
            checkpoint=tmp_path / "checkpoint",
        )
    resumed = LinearTask(data(84, 4))
    run(resumed, config(), tmp_path)
    assert resumed.calls == 42 - 9


@pytest.mark.parametrize(("times", "saved"), [(1, 9), (2, 5)])
def test_a_step_is_ended_before_the_first_interrupt_is_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], obeyed: Any, times: int, saved: int
) -> None:
    whole = LinearTask(data(84, 4))
    run(whole, config(checkpoint_steps=5))
    with pytest.raises(KeyboardInterrupt):
        train(
            LinearTask(data(84, 4), before_loss=interrupts_at(8, times)),
            config(checkpoint_steps=5),
            title="forward",
            precision="float32",
            log=RunLog(tmp_path / "log.jsonl"),
            checkpoint=tmp_path / "checkpoint",
        )
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "interrupted: the step at hand is ended first; again: at once"
    assert told[-1].endswith(f"; --resume goes on from batch {saved}")
    assert signal.getsignal(signal.SIGINT) is obeyed
    resumed = LinearTask(data(84, 4))
    run(resumed, config(checkpoint_steps=5), tmp_path)
    assert resumed.calls == 42 - saved
    assert all(map(torch.equal, whole.module.parameters(), resumed.module.parameters()))


def test_a_step_is_ended_before_sigterm_is_obeyed(tmp_path: Path) -> None:
    task = LinearTask(data(84, 4), before_loss=terminated_at(8))
    with pytest.raises(Terminated), terminable():
        run(task, config(checkpoint_steps=5), tmp_path)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    resumed = LinearTask(data(84, 4))
    run(resumed, config(checkpoint_steps=5), tmp_path)
    assert resumed.calls == 42 - 9


def terminated_at(call: int) -> Callable[[LinearTask], None]:
    def terminate(task: LinearTask) -> None:
        if task.calls == call:
            signal.raise_signal(signal.SIGTERM)

    return terminate


def test_sigterm_is_left_alone_where_the_caller_does_not_answer_it(tmp_path: Path) -> None:
    def look(task: LinearTask) -> None:
        seen.add(signal.getsignal(signal.SIGTERM))

    seen: set[Any] = set()
    run(LinearTask(data(84, 4), before_loss=look), config(), tmp_path)
    assert seen == {signal.SIG_DFL}


def test_each_epoch_is_asked_for_its_own_batches(tmp_path: Path) -> None:
    settings = config(epochs=2.5, checkpoint_steps=1)
    task = LinearTask(data(24, 4), before_loss=stops_at(9, Killed()))
    with pytest.raises(Killed):
        run(task, settings, tmp_path)
    assert task.asked == [(0, 0), (1, 0)]
    resumed = LinearTask(data(24, 4))
    run(resumed, settings, tmp_path)
    assert resumed.asked == [(1, 3), (2, 0)]


def test_the_same_seed_gives_the_same_bits() -> None:
    first, second = LinearTask(data(84, 4), dropout=0.3), LinearTask(data(84, 4), dropout=0.3)
    torch.manual_seed(3)
    run(first, config())
    torch.manual_seed(3)
    run(second, config())
    assert first.losses == second.losses and same_bits(weights(first), weights(second))
    torch.manual_seed(4)
    other = LinearTask(data(84, 4), dropout=0.3)
    torch.manual_seed(4)
    run(other, config())
    assert other.losses != first.losses


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run(LinearTask(data(24, 4)), config(checkpoint_steps=1), tmp_path)
    path = tmp_path / "checkpoint"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ResumeError, match="the checkpoint is damaged"):
        run(LinearTask(data(24, 4)), config(checkpoint_steps=1), tmp_path)


def test_a_resumed_run_that_was_done_only_takes_the_best_weights(tmp_path: Path) -> None:
    settings = config(checkpoint_steps=1, keep_best=True)
    losses = [1.0, 2.0]
    first = LinearTask(data(24, 4), scripted=losses)
    run(first, settings, tmp_path)
    second = LinearTask(data(24, 4), scripted=losses)
    run(second, settings, tmp_path)
    assert second.calls == 0 and same_bits(weights(first), weights(second))


def test_no_tensor_outlives_its_step() -> None:
    counts: list[int] = []

    def count(task: LinearTask) -> None:
        if task.calls % 20 == 10:
            gc.collect()
            counts.append(sum(issubclass(type(o), Tensor) for o in gc.get_objects()))

    task = LinearTask(data(400, 4), dropout=0.3, before_loss=count)
    run(task, config(optimizer=ADAMW, epochs=1.0))
    assert len(set(counts)) == 1 and len(counts) == 5
