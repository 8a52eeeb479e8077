from __future__ import annotations

import pytest
import torch

from ulmfit.nn.language_head import IGNORED, LanguageHead
from ulmfit.nn.sampled_softmax import WordSample, chances, draw_sample, sampled_loss

VOCAB, FEATURES = 30, 5


def drawn(
    rows: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outputs, targets, the embedding's matrix and a bias, in double precision."""
    torch.manual_seed(seed)
    outputs = torch.randn(2, rows, FEATURES, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(VOCAB, (2, rows))
    weight = torch.randn(VOCAB, FEATURES, dtype=torch.float64, requires_grad=True)
    return outputs, targets, weight, torch.randn(VOCAB, dtype=torch.float64, requires_grad=True)


def test_over_all_words_it_is_the_softmax() -> None:
    outputs, targets, weight, bias = drawn(4)
    targets[0, 1] = IGNORED
    sample = WordSample(torch.arange(VOCAB), torch.zeros(VOCAB, dtype=torch.float64))
    loss, count = sampled_loss(outputs, targets, weight, bias, sample)
    head = LanguageHead(VOCAB, 0.0).double()
    head.bias.data.copy_(bias.data)
    expected, scored = head.loss(outputs, targets, weight)
    assert int(count) == int(scored) == 7
    torch.testing.assert_close(loss.double(), expected)
    found = torch.autograd.grad(loss, [outputs, weight, bias])
    head_bias = torch.autograd.grad(expected, [outputs, weight, head.bias])
    for ours, theirs in zip(found, head_bias, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


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
