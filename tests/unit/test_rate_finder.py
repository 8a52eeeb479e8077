"""The range test on a problem whose limit is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ulmfit.config.training import OptimizerConfig, TrainingConfig
from ulmfit.training.loop import StepLoss
from ulmfit.training.rate_finder import RateTest, find_rates

SGD = TrainingConfig(
    clip_gradient=0.0,
    optimizer=OptimizerConfig(
        name="sgd", learning_rate=1.0, weight_decay=0.0, discriminative_factor=2.0
    ),
)


class Bowl:
    """The sum of two squares: gradient descent diverges at rates above 1."""

    def __init__(self, broken_from: int = 10**9, rate_scale: float = 1.0) -> None:
        self.rate_scale = rate_scale
        self.module: nn.Module = nn.ParameterList([torch.ones(1), torch.ones(1)])
        self.batches_read, self.broken_from = 0, broken_from

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return [[parameter] for parameter in self.module.parameters()]

    def batch_count(self, epoch: int) -> int:
        return 7

    def batches(self, epoch: int, start: int) -> Iterator[int]:
        yield from range(7)

    def loss(self, batch: int) -> StepLoss:
        self.batches_read += 1
        first, second = self.module.parameters()
        loss = (first**2 + second**2).sum()
        broken = float("nan") if self.batches_read > self.broken_from else 1
        return StepLoss(loss * broken, 1, self.rate_scale)

    def evaluate(self) -> dict[str, float]:
        return {}

    def criterion(self, metrics: dict[str, float]) -> float:
        return 0.0

    def carried(self) -> dict[str, Tensor]:
        return {}

    def carry(self, tensors: dict[str, Tensor]) -> None:
        pass


def test_it_ends_where_the_loss_leaves() -> None:
    task = Bowl()
    test = find_rates(task, SGD, lowest=1e-4, highest=1e3, steps=120, last_group_alone=False)
    assert test.rates == pytest.approx([1e-4 * 1e7 ** (i / 119) for i in range(len(test.rates))])
    assert 1.0 < test.rates[-1] < 10.0 and task.batches_read > 7
    assert 0.005 < test.steepest < 0.5 and 0.01 < test.tenth_of_lowest < 1.0
    assert test.losses[0] == pytest.approx(2.0)


def test_the_last_group_can_be_trained_alone() -> None:
    task = Bowl()
    find_rates(task, SGD, lowest=1e-3, highest=0.1, steps=30, last_group_alone=True)
    first, second = (float(parameter.detach()) for parameter in task.module.parameters())
    assert first == 1.0 and second < 0.9


@pytest.mark.parametrize(
    ("clip", "scale", "expected"), [(0.0, 1.0, 0.8), (0.0, 0.5, 0.9), (1.0, 1.0, 0.9293)]
)
def test_a_step_is_one_of_training(clip: float, scale: float, expected: float) -> None:
    """The gradient of the last of two is 2, the norm of both sqrt(8)."""
    task = Bowl(rate_scale=scale)
    given = replace(SGD, clip_gradient=clip)
    find_rates(task, given, lowest=0.1, highest=0.2, steps=1, last_group_alone=False)
    last = float(list(task.module.parameters())[-1].detach())
    assert last == pytest.approx(expected, abs=1e-4)


def test_a_loss_that_is_not_finite_ends_it() -> None:
    test = find_rates(
        Bowl(broken_from=12), SGD, lowest=1e-4, highest=1.0, steps=50, last_group_alone=False
    )
    assert len(test.rates) == 12 and all(loss == loss for loss in test.losses)


def test_what_is_suggested() -> None:
    test = RateTest([1e-4, 1e-3, 1e-2, 1e-1], [3.0, 2.9, 2.0, 2.5])
    assert test.steepest == 1e-3 and test.tenth_of_lowest == pytest.approx(1e-3)
