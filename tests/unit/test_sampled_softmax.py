from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ulmfit.nn.language_head import IGNORED, LanguageHead
from ulmfit.nn.sampled_softmax import WordSample, chances, draw_sample, sampled_loss

VOCAB, FEATURES = 30, 5


def drawn(
    rows: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs, targets, the embedding's matrix and a bias, drawn in double precision."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_()

    torch.manual_seed(seed)
    outputs, targets = normal(2, rows, FEATURES), torch.randint(VOCAB, (2, rows))
    return outputs, targets, normal(VOCAB, FEATURES), normal(VOCAB)


def test_over_all_words_it_is_the_softmax() -> None:
    outputs, targets, weight, bias = drawn(4)
    targets[0, 1] = IGNORED
    sample = WordSample(torch.arange(VOCAB), torch.zeros(VOCAB, dtype=torch.float64))
    loss, count = sampled_loss(outputs, targets, weight, bias, sample)
    head = LanguageHead(VOCAB, 0.0).double()
    head.bias.data.copy_(bias.data)
    expected, scored = head.loss(outputs, targets, weight)
    assert int(count) == int(scored) == 7
    torch.testing.assert_close(loss, expected)
    found = torch.autograd.grad(loss, [outputs, weight, bias])
    torch.testing.assert_close(found, torch.autograd.grad(expected, [outputs, weight, head.bias]))


def plain_loss(
    outputs: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, sample: WordSample
) -> Tensor:
    """Target by target, over the sampled words but it."""
    total = weight.new_zeros(())
    for hidden, target in zip(outputs.flatten(0, 1), targets.flatten(), strict=True):
        if target == IGNORED:
            continue
        own = weight[target] @ hidden + bias[target]
        others = weight @ hidden + bias
        kept = sample.ids != target
        drawn = others[sample.ids][kept] - sample.log_chances[kept]
        total = total + torch.cat([own[None], drawn]).logsumexp(0) - own
    return total


@settings(max_examples=50, deadline=None)
@given(size=st.integers(0, VOCAB), ignored=st.integers(0, 8), seed=st.integers(0, 99))
def test_loss_and_gradients_equal_the_plain_ones(size: int, ignored: int, seed: int) -> None:
    outputs, targets, weight, bias = drawn(4, seed)
    targets.view(-1)[:ignored] = IGNORED
    ids = torch.randperm(VOCAB)[:size].sort().values
    sample = WordSample(ids, torch.rand(size, dtype=torch.float64).log())
    loss, count = sampled_loss(outputs, targets, weight, bias, sample)
    expected = plain_loss(outputs, targets, weight, bias, sample)
    assert (int(count), loss.dtype) == (8 - ignored, torch.float64)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    leaves = [outputs, weight, bias]
    torch.testing.assert_close(
        torch.autograd.grad(3 * loss, leaves),
        torch.autograd.grad(3 * expected + 0 * (outputs.sum() + weight.sum() + bias.sum()), leaves),
        rtol=1e-11,
        atol=1e-11,
    )


@pytest.mark.parametrize("size", [61, 62, 63, 64, 65, 126, 127, 128])
def test_any_number_of_words_is_rounded_up(size: int) -> None:
    torch.manual_seed(size)
    outputs = torch.randn(1, 3, FEATURES, dtype=torch.float64)
    weight = torch.randn(size + 1, FEATURES, dtype=torch.float64, requires_grad=True)
    bias, targets = torch.zeros(size + 1, dtype=torch.float64), torch.tensor([[0, size - 1, size]])
    sample = WordSample(torch.arange(size), torch.zeros(size, dtype=torch.float64))
    loss, _ = sampled_loss(outputs, targets, weight, bias, sample)
    expected = plain_loss(outputs, targets, weight, bias, sample)
    torch.testing.assert_close(loss, expected)
    found, wanted = (torch.autograd.grad(value, weight) for value in (loss, expected))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_multiplies_in_its_dtype_and_sums_in_single_precision(dtype: torch.dtype) -> None:
    outputs, targets, weight, bias = drawn(4, dtype=torch.float32)
    sample = WordSample(torch.arange(0, VOCAB, 2), torch.full((VOCAB // 2,), -0.5))
    with torch.autocast("cpu", dtype=dtype):
        loss, _ = sampled_loss(outputs, targets, weight, bias, sample)
    expected = plain_loss(outputs, targets, weight, bias, sample)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.02, atol=0.02)
    assert not torch.equal(loss, expected)
    leaves = [outputs, weight, bias]
    found, wanted = (torch.autograd.grad(value, leaves) for value in (loss, expected))
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_scored_is_zero(dtype: torch.dtype) -> None:
    outputs, targets, weight, bias = drawn(4, dtype=dtype)
    sample = WordSample(torch.arange(VOCAB), torch.zeros(VOCAB, dtype=dtype))
    loss, count = sampled_loss(outputs, torch.full_like(targets, IGNORED), weight, bias, sample)
    torch.autograd.backward(loss)
    assert (loss.item(), count.item()) == (0.0, 0)
    assert all(leaf.grad is not None and leaf.grad.eq(0).all() for leaf in (outputs, weight, bias))


def test_what_is_frozen_gets_no_gradient() -> None:
    outputs, targets, weight, bias = drawn(4)
    weight.requires_grad_(False)
    sample = draw_sample(torch.full((VOCAB,), 0.5, dtype=torch.float64))
    loss, _ = sampled_loss(outputs, targets, weight, bias, sample)
    torch.autograd.backward(loss)
    assert (weight.grad is None, outputs.grad is None, bias.grad is None) == (True, False, False)


def test_the_sum_of_the_softmax_is_right_on_average() -> None:
    outputs, _, weight, bias = drawn(1)
    hidden = outputs[0, 0].detach()
    share = chances(torch.arange(VOCAB).flip(0) ** 2, 12).double()
    scores = (weight.detach() @ hidden + bias.detach()) / 4
    sums = []
    for _ in range(20_000):
        ids, log_chances = draw_sample(share)
        sums.append((scores[ids] - log_chances).exp().sum())
    torch.testing.assert_close(torch.stack(sums).mean(), scores.exp().sum(), rtol=0.03, atol=0.0)


def test_its_estimate_is_near_the_loss() -> None:
    outputs, targets, weight, bias = drawn(8)
    share = chances(torch.arange(VOCAB).flip(0), 20).double()
    estimates = torch.stack(
        [sampled_loss(outputs, targets, weight, bias, draw_sample(share))[0] for _ in range(2_000)]
    )
    all_words = WordSample(torch.arange(VOCAB), torch.zeros(VOCAB, dtype=torch.float64))
    exact, _ = sampled_loss(outputs, targets, weight, bias, all_words)
    torch.testing.assert_close(estimates.mean(), exact, rtol=0.05, atol=0.0)


@pytest.mark.parametrize("size", [3, 10, 29, 30, 100])
def test_chances_add_up_to_the_size(size: int) -> None:
    frequencies = torch.arange(VOCAB).flip(0) ** 3
    share = chances(frequencies, size)
    assert ((share > 0) & (share <= 1)).all()
    assert float(share.sum()) == pytest.approx(min(size, VOCAB), abs=1e-4)
    assert (share[: size // 3] == 1).all()
    assert (share.diff() <= 1e-6).all()


def test_one_frequent_word_is_certain_and_the_rest_share_what_is_left() -> None:
    share = chances(torch.tensor([10**12, 1, 1, 1, 1]), 2)
    torch.testing.assert_close(share, torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25]))
