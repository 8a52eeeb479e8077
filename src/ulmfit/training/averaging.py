"""Averaged weights, begun when the validation loss no longer falls: with SGD, NT-ASGD.

Merity et al. 2017, section 5, algorithm 1: stochastic gradient descent at a constant rate wanders
about a minimum; the mean of where it has been is nearer to it. Averaging begins once an evaluation
is no better than the best of those that lie `patience` or more evaluations back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Averaging:
    """The mean of a module's parameters over the steps since it was begun."""

    def __init__(self, module: nn.Module, patience: int) -> None:
        """Follow `module`; `patience` evaluations (0: never begin). Merity et al. 2017: 5."""
        self.parameters = dict(module.named_parameters())
        self.patience = patience
        self.means: dict[str, Tensor] = {}
        self.steps = 0
        """Steps in the mean."""

    @property
    def begun(self) -> bool:
        """Whether averaging has begun."""
        return bool(self.means)

    def follow(self, criteria: Sequence[float]) -> bool:
        """Begin if the last of `criteria`, the lower the better, asks for it; return if it did."""
        earlier = criteria[: -self.patience - 1]
        if self.begun or not self.patience or not earlier or criteria[-1] <= min(earlier):
            return False
        self.means = {name: p.detach().clone() for name, p in self.parameters.items()}
        return True

    @torch.no_grad()
    def step(self) -> None:
        """Take the parameters after a step into the mean, if it was begun."""
        if self.begun:
            self.steps += 1
            for name, mean in self.means.items():
                mean.lerp_(self.parameters[name], 1 / self.steps)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the module have the means for as long as the context lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def finish(self) -> None:
        """Leave the means in the module."""
        for name, mean in self.means.items():
            self.parameters[name].copy_(mean)

    def restore(self, means: Mapping[str, Tensor], steps: int) -> None:
        """Take up what `means` and `steps` were in a checkpoint."""
        self.steps = steps
        self.means = {name: mean.to(self.parameters[name].device) for name, mean in means.items()}

    @torch.no_grad()
    def _swap(self) -> None:
        if self.steps:
            for name, mean in self.means.items():
                own = self.parameters[name].clone()
                self.parameters[name].copy_(mean)
                mean.copy_(own)
