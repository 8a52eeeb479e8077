"""The tied decoder: its loss in pieces against the plain one, AR and TAR, output dropout."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ulmfit.nn import language_head
from ulmfit.nn.dropout import apply_mask
from ulmfit.nn.language_head import (
    LanguageHead,
    TiedLoss,
    cross_entropy_in_place,
    loss_and_gradients,
    regularization,
)

VOCAB, FEATURES = 11, 4


def example(dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[LanguageHead, Any]:
    """A head, and outputs [3, 5, 4], targets (some ignored) and a matrix."""
    torch.manual_seed(seed)
    head = LanguageHead(VOCAB, 0.5).to(dtype)
    torch.nn.init.normal_(head.bias)
    outputs = torch.randn(3, 5, FEATURES, dtype=dtype, requires_grad=True)
    weight = torch.randn(VOCAB, FEATURES, dtype=dtype, requires_grad=True)
    targets = torch.randint(0, VOCAB, (3, 5))
    targets[1, 3:] = -100
    return head, (outputs, targets, weight)


def plain_loss(head: LanguageHead, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    logits = outputs @ weight.T + head.bias
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


@settings(deadline=None)
@given(piece_rows=st.integers(1, 20), scale=st.floats(-2, 2), seed=st.integers(0, 99))
def test_loss_and_gradients_equal_the_plain_ones(piece_rows: int, scale: float, seed: int) -> None:
    head, (outputs, targets, weight) = example(seed=seed)
    total, count = head.loss(outputs, targets, weight, piece_rows)
    expected = plain_loss(head, outputs, targets, weight)
    assert count.item() == 13
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-12)
    leaves = (outputs, weight, head.bias)
    got = torch.autograd.grad(scale * total / count, leaves)
    wanted = torch.autograd.grad(scale * expected / 13, leaves)
    torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("piece_rows", [1, 4, 100])
def test_gradcheck(piece_rows: int) -> None:
    head, (outputs, targets, weight) = example()

    def loss(hidden: Tensor, matrix: Tensor, bias: Tensor) -> Any:
        return TiedLoss.apply(  # type: ignore[no-untyped-call]
            hidden.flatten(0, 1), matrix, bias, targets.flatten(), piece_rows
        )

    assert torch.autograd.gradcheck(loss, (outputs, weight, head.bias))


def test_single_precision_with_the_default_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_head, "PIECE_ROWS", 4)
    head, (outputs, targets, weight) = example(torch.float32)
    total, _ = head.loss(outputs, targets, weight)
    expected = plain_loss(head, outputs, targets, weight)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, expected)
    leaves = (outputs, weight, head.bias)
    torch.testing.assert_close(
        torch.autograd.grad(total, leaves), torch.autograd.grad(expected, leaves)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_multiplies_in_its_dtype_and_sums_in_single_precision(dtype: torch.dtype) -> None:
    head, (outputs, targets, weight) = example(torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        total, _ = head.loss(outputs, targets, weight, 4)
    expected = plain_loss(head, outputs, targets, weight)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, expected, rtol=0.02, atol=0.02)
    assert not torch.equal(total, expected)
    leaves = (outputs, weight, head.bias)
    torch.testing.assert_close(
        torch.autograd.grad(total, leaves),
        torch.autograd.grad(expected, leaves),
        rtol=0.05,
        atol=0.05,
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_working_in_the_place_of_the_logits_changes_nothing(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits, target = 4 * torch.randn(70, 5_003, dtype=torch.float64), torch.arange(70)
    logits = logits.to(dtype)
    exact = torch.promote_types(dtype, torch.float32)
    plain = F.cross_entropy(logits.to(exact), target, reduction="none")
    softmax = logits.softmax(1)
    loss, slope = language_head.cross_entropy_and_slope(logits.clone(), target, exact)
    close = {torch.bfloat16: 3e-3, torch.float16: 1e-3}.get(dtype, 1e-6)
    torch.testing.assert_close(loss, plain.sum(), rtol=close, atol=0.0)
    softmax[torch.arange(70), target] -= 1.0
    torch.testing.assert_close(slope, softmax, rtol=0.0, atol=2 * close)
    worked_over = cross_entropy_in_place(logits.to(exact, copy=True), target)
    torch.testing.assert_close(worked_over, plain, rtol=1e-6, atol=1e-6)


def test_a_target_beyond_the_range_of_the_softmax_has_a_bounded_loss_and_its_gradient() -> None:
    logits = torch.tensor([[500.0, 0.0, 0.0]])
    loss, slope = language_head.cross_entropy_and_slope(logits, torch.tensor([1]), torch.float32)
    assert loss.item() == pytest.approx(-math.log(2.0**-126))
    assert slope.tolist() == [[1.0, -1.0, 0.0]]
    exact = cross_entropy_in_place(torch.tensor([[500.0, 0.0, 0.0]]), torch.tensor([1]))
    assert exact.tolist() == [500.0]


def test_no_piece_is_larger_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    cross_entropy_and_slope = language_head.cross_entropy_and_slope

    def spy(logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        sizes.append(len(logits))
        return cross_entropy_and_slope(logits, *arguments)

    monkeypatch.setattr(language_head, "cross_entropy_and_slope", spy)
    head, (outputs, targets, weight) = example()
    head.loss(outputs, targets, weight, 4)
    assert sizes == [4, 4, 4, 3]


@pytest.mark.parametrize("frozen", range(3))
def test_gradients_that_are_not_needed_are_not_made(frozen: int) -> None:
    head, (outputs, targets, weight) = example()
    leaves = (outputs, weight, head.bias)
    leaves[frozen].requires_grad_(False)
    total, _ = head.loss(outputs, targets, weight, 4)
    torch.autograd.backward(total)
    for number, leaf in enumerate(leaves):
        assert (leaf.grad is None) == (number == frozen)
    needed = tuple(number != frozen for number in range(3))
    arguments = (outputs.flatten(0, 1), weight, head.bias, targets.flatten(), 4)
    with torch.no_grad():
        _, made = loss_and_gradients(*arguments, needed)  # type: ignore[arg-type]
    assert [gradient is not None for gradient in made] == list(needed)


def test_evaluation_makes_no_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Tensor) -> Tensor:
        raise AssertionError("a gradient was made")

    head, (outputs, targets, weight) = example()
    expected = plain_loss(head, outputs, targets, weight).detach()
    monkeypatch.setattr(language_head, "cross_entropy_and_slope", refuse)
    with torch.no_grad():
        total, count = head.loss(outputs, targets, weight)
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-12)
    assert (total.requires_grad, count.item()) == (False, 13)


def test_nothing_scored_is_zero() -> None:
    head, (outputs, targets, weight) = example()
    total, count = head.loss(outputs, torch.full_like(targets, -100), weight)
    torch.autograd.backward(total)
    assert (total.item(), count.item()) == (0.0, 0)
    assert outputs.grad.eq(0).all()


def test_the_bias_is_the_only_parameter() -> None:
    head = LanguageHead(VOCAB, 0.1)
    assert [(name, p.tolist()) for name, p in head.named_parameters()] == [("bias", [0.0] * VOCAB)]


def test_logits() -> None:
    head, (outputs, _, weight) = example()
    torch.testing.assert_close(head.logits(outputs, weight), outputs @ weight.T + head.bias)


def test_output_dropout_is_one_mask_over_time() -> None:
    head = LanguageHead(VOCAB, 0.5)
    raw = torch.ones(8, 6, 32)
    dropped = apply_mask(raw, head.draw_mask(len(raw), raw))
    assert set(dropped.flatten().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert not torch.equal(dropped, apply_mask(raw, head.draw_mask(len(raw), raw)))
    assert head.eval().draw_mask(len(raw), raw) is None


def test_ar_and_tar_by_hand() -> None:
    raw = torch.tensor([[[1.0], [3.0], [7.0]]])
    targets = torch.zeros(1, 3, dtype=torch.int64)
    assert regularization(raw, 2 * raw, targets, 2.0, 0.0).item() == pytest.approx(2 * 236 / 3)
    assert regularization(raw, 2 * raw, targets, 0.0, 1.0).item() == pytest.approx((4 + 16) / 2)
    assert regularization(raw, 2 * raw, targets, 2.0, 1.0).item() == pytest.approx(472 / 3 + 10)
    assert regularization(raw, raw, targets, 0.0, 0.0).item() == 0.0


def test_ar_and_tar_leave_padding_out() -> None:
    torch.manual_seed(0)
    raw = torch.randn(2, 6, 3, dtype=torch.float64)
    dropped = raw * 1.5
    targets = torch.zeros(2, 6, dtype=torch.int64)
    targets[1, 4:] = -100
    got = regularization(raw, dropped, targets, 2.0, 1.0)
    real = [(raw[0], dropped[0]), (raw[1, :4], dropped[1, :4])]
    squares = torch.cat([d.square().flatten() for _, d in real])
    changes = torch.cat([r.diff(dim=0).square().flatten() for r, _ in real])
    torch.testing.assert_close(got, 2.0 * squares.mean() + changes.mean())
    raw[1, 4:], dropped[1, 4:] = float("nan"), float("nan")
    torch.testing.assert_close(regularization(raw, dropped, targets, 2.0, 1.0), got)


def test_one_time_step_has_no_change() -> None:
    raw, targets = torch.ones(2, 1, 3), torch.zeros(2, 1, dtype=torch.int64)
    assert regularization(raw, raw, targets, 0.0, 1.0).item() == 0.0


def test_penalties_are_in_single_precision() -> None:
    raw = torch.full((1, 2, 3), 300.0, dtype=torch.float16)  # its square is not finite there
    penalty = regularization(raw, raw, torch.zeros(1, 2, dtype=torch.int64), 1.0, 1.0)
    assert penalty.dtype == torch.float32
    assert penalty.item() == pytest.approx(90_000.0)
