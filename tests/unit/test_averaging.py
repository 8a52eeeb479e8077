from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ulmfit.training.averaging import Averaging


def published(logs: list[float], patience: int) -> int | None:
    """The evaluation at which algorithm 1 of Merity et al. 2017 begins to average, if any."""
    for t, value in enumerate(logs):
        if t > patience and value > min(logs[: t - patience]):
            return t
    return None


def begins_at(logs: list[float], patience: int) -> int | None:
    averaging = Averaging(nn.Linear(2, 1), patience)
    return next((t for t in range(len(logs)) if averaging.follow(logs[: t + 1])), None)


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_it_begins_where_the_published_algorithm_does(patience: int) -> None:
    generator = torch.Generator().manual_seed(0)
    begun = 0
    for _ in range(200):
        fall = torch.linspace(0.3, 0, 12)
        logs = (fall + 0.3 * torch.rand(12, generator=generator)).tolist()
        assert begins_at(logs, patience) == published(logs, patience)
        begun += published(logs, patience) is not None
    assert begun > 10


def test_it_never_begins_without_patience_or_while_the_loss_falls() -> None:
    assert begins_at([1.0, 2.0, 3.0, 4.0], 0) is None
    assert begins_at([4.0, 3.0, 2.0, 1.0], 1) is None


def test_the_mean_is_of_the_steps_since_it_began() -> None:
    module = nn.Linear(3, 2).double()
    averaging = Averaging(module, 1)
    seen: list[Tensor] = []
    for step in range(9):
        with torch.no_grad():
            module.weight.copy_(torch.randn(2, 3, dtype=torch.float64))
        averaging.step()
        if step == 3:
            assert averaging.follow([1.0, 0.5, 2.0]) and not averaging.follow([1.0, 0.5, 3.0])
        elif step > 3:
            seen.append(module.weight.detach().clone())
    last = module.weight.detach().clone()
    mean = torch.stack(seen).mean(0)
    with averaging.applied():
        torch.testing.assert_close(module.weight.detach(), mean)
    assert torch.equal(module.weight, last)
    averaging.finish()
    torch.testing.assert_close(module.weight.detach(), mean)


def test_before_its_first_step_the_module_stays_as_it_is() -> None:
    module = nn.Linear(3, 2)
    averaging = Averaging(module, 1)
    before = module.weight.detach().clone()
    for _ in range(2):
        with averaging.applied():
            assert torch.equal(module.weight, before)
        averaging.follow([1.0, 0.5, 2.0])
    with pytest.raises(ZeroDivisionError), averaging.applied():
        raise ZeroDivisionError
    assert torch.equal(module.weight, before)
