"""The single-label loss by its formula; probabilities that add up to one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit.nn.objectives import MultiLabel, Number, Objective, SingleLabel

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 0.3, 0.1]], dtype=torch.float64)
TARGETS = torch.tensor([0, 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("weights", [None, [1.0, 5.0, 0.2]])
@pytest.mark.parametrize("samples", [None, [0.5, 3.0]])
def test_loss_by_its_formula(
    smoothing: float, weights: list[float] | None, samples: list[float] | None
) -> None:
    of_class = torch.tensor(weights or [1.0] * 3, dtype=torch.float64)
    log_p = LOGITS - LOGITS.exp().sum(1, keepdim=True).log()
    wanted = torch.full_like(log_p, smoothing / 3)
    wanted[[0, 1], TARGETS] += 1 - smoothing
    of_sample = torch.tensor(samples or [1.0] * 2, dtype=torch.float64)
    sums = -(wanted * log_p * of_class).sum(1) * of_sample
    expected = sums.sum() / of_class[TARGETS].sum()
    given_weights = None if weights is None else of_class.float()
    given_samples = None if samples is None else of_sample
    got = SingleLabel(given_weights, smoothing).loss(LOGITS, TARGETS, given_samples)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)


@settings(deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6))
def test_probabilities_add_up_to_one(row: list[float]) -> None:
    result = SingleLabel().answers(torch.tensor([row]))
    assert result.isfinite().all()
    assert result.sum().item() == pytest.approx(1.0, abs=1e-6)
    # Logits that differ in their last bit may tie as probabilities: the value counts.
    assert result[0, torch.tensor(row).argmax()] == result.max()


SEVERAL = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [1.0, 5.0, 0.2]])
@pytest.mark.parametrize("samples", [None, [0.5, 3.0]])
def test_loss_of_several_labels_by_its_formula(
    smoothing: float, weights: list[float] | None, samples: list[float] | None
) -> None:
    of_label = torch.tensor(weights or [1.0] * 3, dtype=torch.float64)
    of_sample = torch.tensor(samples or [1.0] * 2, dtype=torch.float64)
    p = 1 / (1 + (-LOGITS).exp())
    wanted = SEVERAL * (1 - smoothing) + smoothing / 2
    each = -(wanted * p.log() * of_label + (1 - wanted) * (1 - p).log())
    expected = (each * of_sample[:, None]).mean()
    objective = MultiLabel(None if weights is None else of_label.float(), smoothing)
    got = objective.loss(LOGITS, SEVERAL, None if samples is None else of_sample)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(objective.answers(LOGITS), p)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_by_its_formula(gamma: float) -> None:
    p = LOGITS.softmax(1)[[0, 1], TARGETS]
    expected = (-((1 - p) ** gamma) * p.log()).mean()
    torch.testing.assert_close(SingleLabel(focusing=gamma).loss(LOGITS, TARGETS), expected)
    of_truth = torch.where(SEVERAL > 0, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    expected = (-((1 - of_truth) ** gamma) * of_truth.log()).mean()
    torch.testing.assert_close(MultiLabel(focusing=gamma).loss(LOGITS, SEVERAL), expected)


def test_a_focal_loss_of_a_sure_document_has_a_finite_gradient() -> None:
    for objective, targets in (
        (SingleLabel(focusing=0.5), torch.tensor([0])),
        (MultiLabel(focusing=0.5), torch.tensor([[1.0, 0.0, 0.0]])),
    ):
        logits = torch.tensor([[60.0, -60.0, -60.0]], requires_grad=True)
        objective.loss(logits, targets).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None and logits.grad.isfinite().all()


def test_numbers_by_their_formula() -> None:
    logits = torch.tensor([[0.0], [2.0], [-50.0]], dtype=torch.float64)
    targets = torch.tensor([3.0, 5.0, 1.0], dtype=torch.float64)
    objective = Number(1.0, 5.0)
    answers = 1 + 4 / (1 + (-logits).exp())
    torch.testing.assert_close(objective.answers(logits), answers)
    expected = (((answers[:, 0] - targets) / 4) ** 2).mean()
    torch.testing.assert_close(objective.loss(logits, targets), expected)
    heavy = torch.tensor([0.0, 3.0, 0.0])
    torch.testing.assert_close(
        objective.loss(logits, targets, heavy), ((answers[1, 0] - 5) / 4) ** 2
    )


@pytest.mark.parametrize(
    ("given_type", "kept"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64,) * 2],
)
@pytest.mark.parametrize(
    ("objective", "targets"),
    [
        (SingleLabel(torch.ones(3)), TARGETS),
        (MultiLabel(torch.ones(3)), SEVERAL.float()),
        (Number(0.0, 1.0), torch.tensor([0.5, 1.0])),
    ],
)
def test_single_precision_at_least(
    objective: Objective, targets: torch.Tensor, given_type: torch.dtype, kept: torch.dtype
) -> None:
    logits = LOGITS.to(given_type)
    assert objective.answers(logits).dtype == kept
    assert objective.loss(logits, targets).dtype == kept
