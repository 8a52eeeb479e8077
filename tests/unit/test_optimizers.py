from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
import torch
from pytest import approx
from torch import Tensor, nn
from torch.optim import Optimizer

from ulmfit.config.training import OptimizerConfig
from ulmfit.errors import ResumeError
from ulmfit.training.optimizers import (
    build_optimizer,
    load_optimizer_state,
    optimizer_state,
    set_rates,
    set_trainable,
)

ADAM = OptimizerConfig(name="adam", weight_decay=0.1)
ADAMW = OptimizerConfig(name="adamw", weight_decay=0.1)
RADAM = OptimizerConfig(name="radam", weight_decay=0.1)
SGD = OptimizerConfig(name="sgd", momentum=0.9, weight_decay=0.1, learning_rate=0.1)
PLAIN_SGD = OptimizerConfig(name="sgd", momentum=0.0, weight_decay=0.0, learning_rate=0.1)
ALL = pytest.mark.parametrize(
    "config", [ADAM, ADAMW, RADAM, SGD, PLAIN_SGD], ids=["adam", "adamw", "radam", "sgd", "plain"]
)


def three_layers(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 33), nn.Linear(33, 13), nn.Linear(13, 3)).to(dtype)


def groups_of(model: nn.Sequential) -> list[list[nn.Parameter]]:
    return [list(layer.parameters()) for layer in model]


def inputs(dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    while True:
        yield torch.randn(5, 7, generator=generator, dtype=dtype)


def train(
    model: nn.Sequential, optimizer: Optimizer, batches: Iterator[Tensor], steps: int
) -> None:
    for _ in range(steps):
        loss: Tensor = model(next(batches)).square().sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def weights(model: nn.Sequential) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same_bits(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def adam_reference(
    weight: Tensor, gradients: list[Tensor], config: OptimizerConfig, decoupled: bool
) -> Tensor:
    """Adam as in Kingma & Ba 2015, its weight decay in the gradient or apart from it."""
    rate, decay, (beta1, beta2) = config.learning_rate, config.weight_decay, config.betas
    m, v = torch.zeros_like(weight), torch.zeros_like(weight)
    for t, gradient in enumerate(gradients, start=1):
        if decoupled:
            weight = weight * (1 - rate * decay)
        else:
            gradient = gradient + decay * weight
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        weight = weight - rate * m_hat / (v_hat.sqrt() + config.epsilon)
    return weight


def radam_reference(weight: Tensor, gradients: list[Tensor], config: OptimizerConfig) -> Tensor:
    """Algorithm 2 of Liu et al. 2020, with weight decay apart from the gradient."""
    rate, (beta1, beta2) = config.learning_rate, config.betas
    m, v = torch.zeros_like(weight), torch.zeros_like(weight)
    longest = 2 / (1 - beta2) - 1
    for t, gradient in enumerate(gradients, start=1):
        weight = weight * (1 - rate * config.weight_decay)
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        m_hat = m / (1 - beta1**t)
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        if length > 5:
            rectified = (length - 4) * (length - 2) * longest
            rectified = (rectified / ((longest - 4) * (longest - 2) * length)) ** 0.5
            adaptive = (1 - beta2**t) ** 0.5 / (v.sqrt() + config.epsilon)
            m_hat = m_hat * rectified * adaptive
        weight = weight - rate * m_hat
    return weight


def sgd_reference(weight: Tensor, gradients: list[Tensor], config: OptimizerConfig) -> Tensor:
    velocity = torch.zeros_like(weight)
    for gradient in gradients:
        velocity = config.momentum * velocity + gradient + config.weight_decay * weight
        weight = weight - config.learning_rate * velocity
    return weight


@ALL
def test_updates_equal_the_published_rules_in_float64(config: OptimizerConfig) -> None:
    torch.manual_seed(2)
    start = torch.randn(37, dtype=torch.float64)
    gradients = [torch.randn(37, dtype=torch.float64) for _ in range(10)]
    parameter = nn.Parameter(start.clone())
    optimizer = build_optimizer([[parameter]], config)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    if config.name == "sgd":
        expected = sgd_reference(start, gradients, config)
    elif config.name == "radam":
        expected = radam_reference(start, gradients, config)
    else:
        expected = adam_reference(start, gradients, config, decoupled=config.name == "adamw")
    torch.testing.assert_close(parameter.data, expected, rtol=1e-12, atol=1e-12)


def test_layer_groups_have_discriminative_rates_and_keep_their_shares() -> None:
    model = three_layers()
    config = OptimizerConfig(learning_rate=0.01, discriminative_factor=2.0)
    optimizer = build_optimizer(groups_of(model), config)
    assert [group["lr"] for group in optimizer.param_groups] == approx([0.0025, 0.005, 0.01])
    set_rates(optimizer, 0.4)
    assert [group["lr"] for group in optimizer.param_groups] == approx([0.1, 0.2, 0.4])
    assert [group["scale"] for group in optimizer.param_groups] == [0.25, 0.5, 1.0]


def test_the_rate_that_is_set_is_the_rate_of_the_update() -> None:
    low, high = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([[low], [high]], PLAIN_SGD)
    set_rates(optimizer, 0.26)
    low.grad = high.grad = torch.ones(1)
    optimizer.step()
    assert [low.item(), high.item()] == approx([-0.1, -0.26])


def test_a_tied_parameter_is_updated_once_with_the_first_group_that_lists_it() -> None:
    tied, own = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([[tied, tied], [own, tied]], PLAIN_SGD)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1]
    tied.grad = torch.ones(1)
    optimizer.step()
    assert tied.item() == approx(-0.1 / 2.6)


@ALL
def test_frozen_groups_get_no_gradient_and_no_update(config: OptimizerConfig) -> None:
    model, batches = three_layers(), inputs()
    optimizer = build_optimizer(groups_of(model), config)
    train(model, optimizer, batches, 3)  # momentum and moments of all groups are not zero
    model(next(batches)).sum().backward()  # nor are the gradients
    before = weights(model)
    set_trainable(optimizer, (2,))
    optimizer.step()
    train(model, optimizer, batches, 3)
    after = weights(model)
    assert same_bits(before[:4], after[:4])
    assert not torch.equal(before[4], after[4])
    assert [p.grad is None for p in model.parameters()] == [True] * 4 + [False] * 2


def test_the_backward_pass_ends_at_the_lowest_group_that_trains() -> None:
    model = three_layers()
    optimizer = build_optimizer(groups_of(model), ADAMW)
    set_trainable(optimizer, (2,))
    hidden = model[1](model[0](next(inputs())))
    assert not hidden.requires_grad
    assert model[2](hidden).requires_grad


@ALL
def test_groups_thaw_again(config: OptimizerConfig) -> None:
    model, batches = three_layers(), inputs()
    optimizer = build_optimizer(groups_of(model), config)
    set_trainable(optimizer, (0,))
    train(model, optimizer, batches, 1)
    set_trainable(optimizer, (0, 1, 2))
    before = weights(model)
    train(model, optimizer, batches, 1)
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


@ALL
def test_same_start_gives_the_same_bits(config: OptimizerConfig) -> None:
    results = []
    for _ in range(2):
        model = three_layers()
        train(model, build_optimizer(groups_of(model), config), inputs(), 5)
        results.append(weights(model))
    assert same_bits(*results)


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_goes_on_from_a_saved_state_to_the_same_bits(
    config: OptimizerConfig, dtype: torch.dtype
) -> None:
    model, batches = three_layers(dtype), inputs(dtype)
    optimizer = build_optimizer(groups_of(model), config)
    set_trainable(optimizer, (1, 2))  # the lowest group has no state yet
    train(model, optimizer, batches, 3)
    set_rates(optimizer, 0.003)
    tensors, state = optimizer_state(optimizer)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    state = json.loads(json.dumps(state))

    resumed = three_layers(dtype)
    resumed.load_state_dict(model.state_dict())
    restored = build_optimizer(groups_of(resumed), config)
    load_optimizer_state(restored, tensors, state)
    loaded, loaded_state = optimizer_state(restored)
    assert loaded_state == state
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)

    ahead = [next(batches) for _ in range(4)]
    for net, opt in ((model, optimizer), (resumed, restored)):
        set_trainable(opt, (0, 1, 2))
        train(net, opt, iter(ahead), 4)
    assert same_bits(weights(model), weights(resumed))


def test_only_parameters_that_have_trained_have_state() -> None:
    model = three_layers()
    optimizer = build_optimizer(groups_of(model), ADAMW)
    assert optimizer_state(optimizer)[0] == {}
    set_trainable(optimizer, (2,))
    train(model, optimizer, inputs(), 2)
    tensors, _ = optimizer_state(optimizer)
    keys = ("step", "exp_avg", "exp_avg_sq")
    assert set(tensors) == {f"{parameter}.{key}" for parameter in (4, 5) for key in keys}
    assert tensors["4.step"].item() == 2


def test_loaded_state_shares_no_memory_with_its_source() -> None:
    model = three_layers()
    optimizer = build_optimizer(groups_of(model), ADAM)
    train(model, optimizer, inputs(), 1)
    other = build_optimizer(groups_of(three_layers()), ADAM)
    tensors, state = optimizer_state(optimizer)
    load_optimizer_state(other, tensors, state)
    for name, tensor in optimizer_state(other)[0].items():
        assert tensor.data_ptr() != tensors[name].data_ptr()


def test_state_of_another_optimizer_is_refused() -> None:
    tensors, state = optimizer_state(build_optimizer(groups_of(three_layers()), ADAM))
    other = build_optimizer(groups_of(three_layers()), SGD)
    with pytest.raises(ResumeError) as caught:
        load_optimizer_state(other, tensors, state)
    assert str(caught.value) == (
        "the checkpoint's optimiser is Adam, not SGD: "
        "resume with the settings that the run began with"
    )


def test_state_of_other_layer_groups_is_refused() -> None:
    tensors, state = optimizer_state(build_optimizer(groups_of(three_layers()), ADAM))
    other = build_optimizer(groups_of(three_layers())[1:], ADAM)
    with pytest.raises(ResumeError) as caught:
        load_optimizer_state(other, tensors, state)
    assert str(caught.value) == (
        "the checkpoint's optimiser belongs to other layer groups or sizes: "
        "resume with the settings that the run began with"
    )
