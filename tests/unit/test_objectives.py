"""The single-label loss by its formula; probabilities that add up to one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit.nn.objectives import loss, probabilities

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
    got = loss(LOGITS, TARGETS, given_weights, smoothing, given_samples)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)


@settings(deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6))
def test_probabilities_add_up_to_one(row: list[float]) -> None:
    result = probabilities(torch.tensor([row]))
    assert result.isfinite().all()
    assert result.sum().item() == pytest.approx(1.0, abs=1e-6)
    # Logits that differ in their last bit may tie as probabilities: the value counts.
    assert result[0, torch.tensor(row).argmax()] == result.max()


@pytest.mark.parametrize(
    ("given_type", "kept"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64,) * 2],
)
def test_single_precision_at_least(given_type: torch.dtype, kept: torch.dtype) -> None:
    logits = LOGITS.to(given_type)
    assert probabilities(logits).dtype == kept
    assert loss(logits, TARGETS, torch.ones(3)).dtype == kept
