"""What a training step's softmax costs: over all words, over a sample of them, or adaptive.

The loss and its gradients, for outputs [rows, features] and made-up targets as frequent as words
are (Zipf), each way in turns. The adaptive softmax is PyTorch's (Grave et al. 2017): a matrix of
its own in place of the embedding's, with narrower ones for rarer words.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import torch
from common import parser, write_result
from torch import Tensor, nn
from workers import spread

from ulmfit.nn.language_head import LanguageHead
from ulmfit.nn.sampled_softmax import chances, draw_sample, sampled_loss
from ulmfit.training.allocator import keep_freed_memory

SAMPLED = 3_000
CUTOFFS = (2_000, 10_000)
"""The most frequent words, and those up to the next group of the adaptive softmax."""

CASES = ((16_000, 256, 1_120), (60_000, 400, 1_120), (60_000, 400, 4_480))
"""Words, features, and positions of a step: 16 or 64 lanes of 70."""


def ways(words: int, features: int, rows: int) -> dict[str, Callable[[], Tensor]]:
    """Return what computes the summed loss in each way, of the same outputs and targets."""
    torch.manual_seed(0)
    frequencies = 1e6 / torch.arange(1, words + 1).double()
    targets = torch.multinomial(frequencies, rows, replacement=True).reshape(-1, 70)
    outputs = torch.randn(*targets.shape, features, requires_grad=True)
    weight = nn.Parameter(0.1 * torch.randn(words, features))
    head = LanguageHead(words, dropout=0.0)
    chance = chances(frequencies, SAMPLED)
    adaptive = nn.AdaptiveLogSoftmaxWithLoss(features, words, list(CUTOFFS))
    flat = outputs.flatten(0, 1)
    return {
        "all words": lambda: head.loss(outputs, targets, weight)[0],
        f"a sample of {SAMPLED:,}": lambda: sampled_loss(
            outputs, targets, weight, head.bias, draw_sample(chance)
        )[0],
        "adaptive": lambda: adaptive(flat, targets.flatten()).loss * rows,
    }


def milliseconds(compute: Callable[[], Tensor]) -> float:
    """Return how long the loss and its gradients take."""
    began = time.perf_counter()
    compute().backward(retain_graph=True)  # type: ignore[no-untyped-call]
    return 1000 * (time.perf_counter() - began)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parsed = options.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(parsed.threads)
    found = {}
    for words, features, rows in CASES:
        computed = ways(words, features, rows)
        taken: dict[str, list[float]] = {name: [] for name in computed}
        for number in range(parsed.rounds + 1):
            for name in list(computed) if number % 2 else reversed(list(computed)):
                taken[name].append(milliseconds(computed[name]))
        name = f"{words:,} words, {features} features, {rows:,} positions"
        found[name] = {way: spread(np.array(each[1:]).tolist()) for way, each in taken.items()}
        print(name, {way: each["median"] for way, each in found[name].items()}, flush=True)
    write_result("softmaxes", {"cutoffs": CUTOFFS, "milliseconds": found})


if __name__ == "__main__":
    main()
