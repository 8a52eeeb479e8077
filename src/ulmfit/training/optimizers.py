"""Optimisers over layer groups, frozen groups, and their state as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RAdam

from ulmfit.config.training import OptimizerConfig
from ulmfit.errors import ResumeError
from ulmfit.training.schedule import discriminative_rates

FUSED_DEVICES = {"cpu", "cuda", "mps", "xpu"}
"""Where PyTorch has one kernel for the whole update; elsewhere it loops over the tensors."""


def build_optimizer(groups: Sequence[Sequence[nn.Parameter]], config: OptimizerConfig) -> Optimizer:
    """Return the optimiser of `groups`, layer groups of parameters, lowest first.

    Each layer group is one parameter group, with its rate as `lr` and its share of the last
    group's rate as `scale` (discriminative rates: Howard & Ruder 2018, section 3.2). A
    parameter that several groups list (tied weights) belongs to the first of them only.
    """
    scales = discriminative_rates(1.0, len(groups), config.discriminative_factor)
    rate = config.learning_rate
    seen: set[nn.Parameter] = set()
    options: list[dict[str, Any]] = []
    for parameters, scale in zip(groups, scales, strict=True):
        own = [p for p in dict.fromkeys(parameters) if p not in seen]
        seen.update(own)
        options.append({"params": own, "lr": rate * scale, "scale": scale})
    fused = all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in seen)
    common: dict[str, Any] = {"weight_decay": config.weight_decay, "fused": fused}
    match config.name:
        case "radam":  # has no fused kernel
            common = {"weight_decay": config.weight_decay, "decoupled_weight_decay": True}
            return RAdam(options, betas=config.betas, eps=config.epsilon, **common)
        case "adam":
            return Adam(options, betas=config.betas, eps=config.epsilon, **common)
        case "adamw":
            return AdamW(options, betas=config.betas, eps=config.epsilon, **common)
        case "sgd":
            return SGD(options, momentum=config.momentum, **common)


def set_rates(optimizer: Optimizer, rate: float) -> None:
    """Set the last layer group's rate, and every lower one's to its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def set_trainable(optimizer: Optimizer, trainable: Sequence[int]) -> None:
    """Freeze every layer group but those of the indices `trainable` (0: the lowest).

    A frozen parameter asks for no gradient, so that it costs no backward pass, and has none,
    so that the optimiser leaves it alone: neither weight decay nor old momentum moves it.
    """
    for index, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            parameter.requires_grad_(index in trainable)
            if index not in trainable:
                parameter.grad = None


def optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the optimiser's state: tensors named `PARAMETER.KEY`, and JSON values.

    `PARAMETER` counts the parameters over all groups. The tensors are the optimiser's own,
    not copies; parameters that have not trained yet have none.
    """
    state = optimizer.state_dict()
    tensors = {
        f"{parameter}.{key}": value
        for parameter, values in state["state"].items()
        for key, value in values.items()
        if value is not None
    }
    return tensors, {
        "optimizer": type(optimizer).__name__,
        "rates": [group["lr"] for group in optimizer.param_groups],
        "shapes": _shapes(optimizer),
    }


def load_optimizer_state(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """Give a newly built optimiser the state that `optimizer_state` returned, to the bit.

    The tensors are copied. Raises `ResumeError` if they belong to another kind of optimiser
    or to other layer groups.
    """
    name = type(optimizer).__name__
    if state.get("optimizer") != name:
        raise ResumeError(
            f"the checkpoint's optimiser is {state.get('optimizer')}, not {name}: "
            "resume with the settings that the run began with"
        )
    if state.get("shapes") != _shapes(optimizer):
        raise ResumeError(
            "the checkpoint's optimiser belongs to other layer groups or sizes: "
            "resume with the settings that the run began with"
        )
    values: dict[int, dict[str, Tensor]] = {}
    for place, tensor in tensors.items():
        parameter, key = place.split(".", 1)
        values.setdefault(int(parameter), {})[key] = tensor.clone()
    optimizer.load_state_dict(
        {"state": values, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    for group, rate in zip(optimizer.param_groups, state["rates"], strict=True):
        group["lr"] = rate


def _shapes(optimizer: Optimizer) -> list[list[list[int]]]:
    """Return the shape of each parameter of each group."""
    return [[list(p.shape) for p in group["params"]] for group in optimizer.param_groups]
