"""The one training loop, for all three stages.

A stage hands over a `Task`: a module, its layer groups, its batches and its loss. The loop adds
what is common: unfreezing, the schedule, discriminative rates, clipping, accumulation, mixed
precision, evaluation, early stopping, the best weights, the log, and exact checkpoints.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ulmfit.config.training import TrainingConfig
from ulmfit.errors import TrainingError
from ulmfit.training import processes
from ulmfit.training.averaging import Averaging
from ulmfit.training.checkpoint import (
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from ulmfit.training.device import Precision, autocast
from ulmfit.training.interrupt import Interrupt, patient_interrupt
from ulmfit.training.log import ProgressBar, RunLog
from ulmfit.training.optimizers import (
    build_optimizer,
    load_optimizer_state,
    optimizer_state,
    set_rates,
    set_trainable,
)
from ulmfit.training.plan import Place, TrainingPlan
from ulmfit.training.schedule import rate_multiplier

STEPS_BETWEEN_LOG_LINES = 20
LARGEST_RUN_OF_SKIPPED_STEPS = 20


class StepLoss(NamedTuple):
    """What a task's loss of one batch is."""

    loss: Tensor
    """Scalar to descend on; of several processes, each one's share of the sum."""

    tokens: int
    """Real tokens read, by all processes, for the speed."""

    rate_scale: float = 1.0
    """Factor on the rate for this batch (variable-length BPTT)."""


class Task(Protocol):
    """What a stage gives to the loop."""

    module: nn.Module

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return the parameters from the lowest layer group to the last."""

    def batch_count(self, epoch: int) -> int:
        """Return the number of batches of an epoch, the same at every call."""

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Yield an epoch's batches from number `start`, the same at every call."""

    def loss(self, batch: Any) -> StepLoss:
        """Compute the loss of a batch."""

    def evaluate(self) -> dict[str, float]:
        """Measure the module on held-out data; empty if there is none."""

    def criterion(self, metrics: dict[str, float]) -> float:
        """Return what the best evaluation is chosen by: the lower, the better."""

    def carried(self) -> dict[str, Tensor]:
        """Return the state carried from batch to batch."""

    def carry(self, tensors: dict[str, Tensor]) -> None:
        """Take up the state that `carried` returned."""


def endless_batches(task: Task) -> Iterator[Any]:
    """Yield the task's batches, epoch after epoch."""
    for epoch in count():
        yield from task.batches(epoch, 0)


@dataclass
class Progress:
    """What a run has come to; kept in its checkpoint."""

    index: int = 0
    tokens: int = 0
    seconds: float = 0.0
    waiting_seconds: float = 0.0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    mean_loss: float = math.nan
    best: float = math.inf
    best_metrics: dict[str, float] = field(default_factory=dict)
    evaluations_since_best: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """What each evaluation measured, and after how many batches."""

    training_losses: list[dict[str, float]] = field(default_factory=list)
    """The running mean of the training loss at the same places, with held-out data or without."""

    stopped_early: bool = False
    averaged_steps: int = 0
    log_bytes: int = 0

    def results(self, keep_best: bool) -> dict[str, Any]:
        """Return what belongs in the model card: of the best weights, or of the last."""
        last = self.history[-1] if self.history else {}
        return {
            **(self.best_metrics if keep_best and self.best_metrics else last),
            "batches": self.index,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "tokens_per_second": round(self.tokens / self.seconds, 1) if self.seconds else 0.0,
            "skipped_steps": self.skipped_steps,
            "stopped_early": self.stopped_early,
            "history": self.history,
            "training_losses": self.training_losses,
        }


def train(
    task: Task,
    config: TrainingConfig,
    *,
    title: str,
    precision: Precision,
    log: RunLog,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Train `task.module` in place and return the results.

    If the file `checkpoint` exists the run goes on from it, to the same bits; while the run goes
    on, it is written anew at the interval of `config`. An interrupt ends the step at hand and
    writes it once more; a second one acts at once, and leaves the last one.

    Raises `TrainingError` when the loss stays not finite or the memory is full, `ResumeError` for a
    damaged checkpoint.
    """
    run = TrainingRun(task, config, title, precision, log, checkpoint)
    run.restore()
    try:
        with patient_interrupt() as run.interrupt:
            run.train()
    except KeyboardInterrupt:
        kept = f"; --resume goes on from batch {run.saved}" if checkpoint is not None else ""
        log.say(f"{title}: interrupted after batch {run.progress.index}{kept}")
        raise
    except (MemoryError, RuntimeError) as error:
        if not _is_about_memory(error):
            raise
        raise TrainingError(
            f"{title}: the memory of the {run.device.type} is full after batch "
            f"{run.progress.index}; begin anew with a smaller setting 'batch_size' or 'bptt'"
        ) from None
    return run.results()


def _is_about_memory(error: Exception) -> bool:
    """Tell whether there was no memory left, of which a CPU's tensors tell by their words alone."""
    kinds = MemoryError, torch.OutOfMemoryError
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


class TrainingRun:
    """A training run: the task with its optimiser, its plan and its progress."""

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        title: str,
        precision: Precision,
        log: RunLog,
        checkpoint: Path | None,
    ) -> None:
        self.task, self.config, self.title = task, config, title
        self.precision, self.log, self.checkpoint = precision, log, checkpoint
        self.interrupt = Interrupt()
        self.groups = task.layer_groups()
        self.device = self.groups[-1][0].device
        self.plan = TrainingPlan(config, len(self.groups), task.batch_count)
        processes.give_first_weights(task.module)
        self.optimizer = build_optimizer(self.groups, config.optimizer)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")
        self.progress = Progress()
        self.averaging = Averaging(task.module, config.averaging)
        self.best_weights: dict[str, Tensor] = {}
        self.trainable: tuple[int, ...] | None = None
        self.rate_scale = 0.0  # the mean over the batches of a step
        self.saved = 0
        self.began = Progress()  # where this process took the run up, for its speed
        self.steps_since_saved, self.last_saved = 0, time.monotonic()

    def train(self) -> None:
        """Run all batches that are still to be done, then take the best weights."""
        with ProgressBar(self.log, self.title, self.plan.batches) as bar:
            while self.progress.index < self.plan.batches and not self.progress.stopped_early:
                self.train_epoch(bar)
        self.averaging.finish()
        self.check_weights()
        if self.best_weights:
            self.task.module.load_state_dict(self.best_weights)
        set_trainable(self.optimizer, tuple(range(len(self.groups))))
        self.log.write("finished", part=self.title, **self.results())

    def results(self) -> dict[str, Any]:
        """Return what belongs in the model card."""
        return self.progress.results(self.config.keep_best)

    def train_epoch(self, bar: ProgressBar) -> None:
        """Run the current epoch from the current batch to its end, or the run's."""
        place = self.plan.at(self.progress.index)
        batches = self.task.batches(place.epoch, place.batch)
        while True:
            began = time.monotonic()
            batch = next(batches, None)
            if batch is None:
                return
            waited = time.monotonic() - began
            self.train_batch(batch, self.plan.at(self.progress.index))
            self.progress.waiting_seconds += waited
            self.progress.seconds += time.monotonic() - began
            self.report(bar)
            done = self.progress.index - 1
            if self.plan.is_evaluated_after(done):
                self.evaluate()
            if self.plan.ends_step(done):
                self.save_if_due()
            if self.progress.index >= self.plan.batches or self.progress.stopped_early:
                return

    def train_batch(self, batch: Any, place: Place) -> None:
        """Add a batch's gradients and, where the plan says so, take a step."""
        if place.trainable != self.trainable:
            set_trainable(self.optimizer, place.trainable)
            self.trainable = place.trainable
        self.task.module.train()
        with autocast(self.precision, self.device):
            step = self.task.loss(batch)
        self.scaler.scale(step.loss / place.step_batches).backward()  # type: ignore[no-untyped-call]
        self.rate_scale += step.rate_scale / place.step_batches
        if self.plan.ends_step(self.progress.index):
            multiplier = rate_multiplier(self.config.schedule, place.cycle_step, place.cycle_steps)
            self.step(self.config.optimizer.learning_rate * multiplier * self.rate_scale)
            self.rate_scale = 0.0
        self.progress.index += 1
        self.progress.tokens += step.tokens
        self.follow_loss(float(processes.add_up(step.loss.detach().clone())))

    def step(self, rate: float) -> None:
        """Take one step of the optimiser at `rate`; skip it where a gradient is not finite."""
        set_rates(self.optimizer, rate)
        trained = [p for group in self.groups for p in group if p.requires_grad]
        processes.add_up_gradients(trained)
        self.scaler.unscale_(self.optimizer)
        parameters = [p for p in trained if p.grad is not None]
        largest = self.config.clip_gradient or math.inf
        norm = nn.utils.clip_grad_norm_(parameters, largest)
        if math.isfinite(float(norm)):
            self.scaler.step(self.optimizer)
            self.averaging.step()
            self.progress.skipped_in_a_row = 0
        else:
            self.progress.skipped_steps += 1
            self.progress.skipped_in_a_row += 1
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.progress.skipped_in_a_row >= LARGEST_RUN_OF_SKIPPED_STEPS:
            raise TrainingError(
                f"{self.title}: {LARGEST_RUN_OF_SKIPPED_STEPS} steps in a row without a finite "
                "gradient; lower its setting 'optimizer.learning_rate' or use float32"
            )

    def follow_loss(self, loss: float) -> None:
        """Keep a running mean of the loss, over about 50 batches."""
        mean = self.progress.mean_loss
        if math.isfinite(loss):
            self.progress.mean_loss = loss if math.isnan(mean) else 0.98 * mean + 0.02 * loss

    def report(self, bar: ProgressBar) -> None:
        """Tell people and programs how the run goes."""
        progress, began = self.progress, self.began
        seconds = max(progress.seconds - began.seconds, 1e-9)
        speed = (progress.tokens - began.tokens) / seconds
        batches_left = self.plan.batches - progress.index
        left = seconds / (progress.index - began.index) * batches_left
        bar.update(progress.index, f"loss {progress.mean_loss:.3f}  {speed:,.0f} tokens/s", left)
        if progress.index % STEPS_BETWEEN_LOG_LINES == 0:
            self.log.write(
                "step",
                part=self.title,
                batch=progress.index,
                batches=self.plan.batches,
                loss=round(progress.mean_loss, 5),
                rate=self.optimizer.param_groups[-1]["lr"],
                tokens=progress.tokens,
                tokens_per_second=round(speed, 1),
                waiting_share=round(progress.waiting_seconds / max(progress.seconds, 1e-9), 4),
            )

    def evaluate(self) -> None:
        """Measure on held-out data, keep the weights if they are the best, perhaps stop early."""
        with self.averaging.applied():
            self.measure()
        criteria = [self.task.criterion(metrics) for metrics in self.progress.history]
        if self.averaging.follow(criteria):
            self.log.say(f"{self.title}: averages the weights from here on")

    def measure(self) -> None:
        """Measure the module as it stands."""
        self.check_weights()
        progress = self.progress
        if math.isfinite(progress.mean_loss):
            progress.training_losses.append(
                {"batch": progress.index, "loss": round(progress.mean_loss, 5)}
            )
        self.task.module.eval()
        with torch.no_grad():  # in float32, as the finished model will be read
            metrics = self.task.evaluate()
        if not metrics:
            return
        progress.history.append({"batch": progress.index, **metrics})
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.log.say(f"{self.title}: after batch {progress.index}: {shown}")
        self.log.write("evaluation", part=self.title, batch=progress.index, **metrics)
        criterion = self.task.criterion(metrics)
        if criterion < progress.best:
            progress.best, progress.best_metrics = criterion, metrics
            progress.evaluations_since_best = 0
            if self.config.keep_best:
                weights = self.task.module.state_dict()
                self.best_weights = {name: value.clone() for name, value in weights.items()}
        else:
            progress.evaluations_since_best += 1
        waited_enough = progress.evaluations_since_best >= self.config.patience
        progress.stopped_early = self.config.patience > 0 and waited_enough

    def check_weights(self) -> None:
        """Raise `TrainingError` if a weight is not finite: nothing can be learned any more."""
        for name, weight in self.task.module.named_parameters():
            if not bool(weight.isfinite().all()):
                raise TrainingError(
                    f"{self.title}: after batch {self.progress.index}, the weight '{name}' is not "
                    "finite; begin anew with a lower learning rate"
                )

    def save_if_due(self) -> None:
        """Write the checkpoint if the interval has passed, or before an interrupt is obeyed."""
        self.steps_since_saved += 1
        steps, minutes = self.config.checkpoint_steps, self.config.checkpoint_minutes
        waited = (time.monotonic() - self.last_saved) / 60
        due = self.steps_since_saved >= steps if steps else waited > minutes
        asked = self.interrupt.asked  # perhaps of one process alone, whose machine is wanted
        due, asked = processes.any_of(due or asked, asked)
        if self.checkpoint is not None and due:
            self.save()
            self.saved = self.progress.index
            self.steps_since_saved, self.last_saved = 0, time.monotonic()
        if asked:
            raise self.interrupt.exception

    def save(self) -> None:
        """Write everything that the rest of the run depends on, atomically."""
        assert self.checkpoint is not None
        self.progress.log_bytes = self.log.size()
        self.progress.averaged_steps = self.averaging.steps
        optimizer_tensors, optimizer_values = optimizer_state(self.optimizer)
        parts = {
            "module": self.task.module.state_dict(),
            "optimizer": optimizer_tensors,
            "carried": self.task.carried(),
            "random": random_state(self.device),
            "best": self.best_weights,
            "means": self.averaging.means,
        }
        if not processes.is_first():
            return
        tensors = {f"{part}/{name}": t for part, ts in parts.items() for name, t in ts.items()}
        state = {
            "progress": asdict(self.progress),
            "optimizer": optimizer_values,
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(self.checkpoint, tensors, state)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what the checkpoint holds, if there is one."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return None
        return load_checkpoint(self.checkpoint)

    def restore(self) -> None:
        """Take up the run where its checkpoint left it, if there is one."""
        kept = processes.tensors_from_first(self.load)
        if kept is None:
            self.log.write("started", part=self.title, batches=self.plan.batches)
            return
        tensors, state = kept
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = tensor
        self.progress = Progress(**state["progress"])
        self.task.module.load_state_dict(parts["module"])
        load_optimizer_state(self.optimizer, parts.get("optimizer", {}), state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.task.carry(parts.get("carried", {}))
        self.best_weights = parts.get("best", {})
        self.averaging.restore(parts.get("means", {}), self.progress.averaged_steps)
        self.log.cut(self.progress.log_bytes)
        restore_random_state(parts["random"], self.device)
        self.began, self.saved = replace(self.progress), self.progress.index
        self.log.write("resumed", part=self.title, batch=self.saved, batches=self.plan.batches)
        self.log.say(f"{self.title}: goes on from batch {self.saved}")
