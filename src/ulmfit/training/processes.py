"""Several processes that train one model as one, each with its rows of every batch.

`torchrun` and `accelerate launch` start them and say in the environment how they find each other.
All draw the same random numbers for the joint batch and take their rows of them; a task's loss is
the process's share of the joint loss, so gradients are added up, not averaged; and what decides
how the run goes on (metrics, checkpoints, the clock) is the first process's. What comes out is what
one process with the joint batch would give, but for the order of sums.

A process that was not started so is alone: every function here then does nothing, or the obvious.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor, nn

from ulmfit.errors import ConfigError, TrainingError

PATIENCE = timedelta(hours=6)
"""How long a process waits for another, which may be making token files of a large corpus. One that
dies is noticed at once by its closed connection, or by the launcher."""


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that the launcher started, for as long as the context lasts.

    Raises `ConfigError` if the others cannot be met.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or _are_joined():
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the processes of this run did not meet: {error}; start them with torchrun, all with "
            "the same --nnodes, --nproc-per-node and --rdzv-endpoint"
        ) from None
    try:
        yield
        wait()  # whoever leaves while others still talk may bring them down
    finally:
        dist.destroy_process_group()


def count() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if _are_joined() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if _are_joined() else 0


def local_rank() -> int:
    """Return this process's number on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_first() -> bool:
    """Tell whether this process is the one that writes files and speaks."""
    return rank() == 0


def own_block(rows: int) -> slice:
    """Return this process's rows of `rows`: a block, as large as the others' or by one larger."""
    return slice(rows * rank() // count(), rows * (rank() + 1) // count())


def own_turns(rows: int) -> slice:
    """Return this process's rows of `rows`: every so manieth, which shares out sorted ones."""
    return slice(rank(), rows, count())


def add_up(tensor: Tensor) -> Tensor:
    """Replace `tensor` by the sum of every process's, in place, and return it."""
    if count() > 1:
        with _others():
            dist.all_reduce(tensor)
    return tensor


def add_up_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of every process; where this one has none, it counts as zeros."""
    if count() == 1:
        return
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    joint = add_up(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = torch.split(joint, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def joint_rows(own: Tensor, rows: slice, total: int) -> Tensor:
    """Return the rows [total, ...] of all processes, of which `own` are this one's, at `rows`.

    What every process then computes from them alike, it computes `count()` times over in all: a
    loss made of them is to be divided by `count()`, and adds up to the whole with the others'.
    """
    if count() == 1:
        return own
    gathered: Tensor = _JointRows.apply(own, rows, total)  # type: ignore[no-untyped-call]
    return gathered


def from_first(make: Callable[[], bytes]) -> bytes:
    """Return what `make` gives on the first process, where alone it is called."""
    if count() == 1:
        return make()
    data = make() if is_first() else b""
    with _others():
        size = torch.tensor([len(data)])
        dist.broadcast(size, 0)
        buffer = torch.empty(int(size), dtype=torch.uint8)
        if is_first():
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else buffer)
        dist.broadcast(buffer, 0)
    return buffer.numpy().tobytes()


def agreed(make: Callable[[], Any]) -> Any:
    """Return the JSON value that `make` gives on the first process, where alone it is called."""
    return make() if count() == 1 else json.loads(from_first(lambda: json.dumps(make()).encode()))


def any_of(*own: bool) -> list[bool]:
    """Return of each of several questions whether some process answers it with yes."""
    return add_up(torch.tensor(own, dtype=torch.int64)).bool().tolist()


def tensors_from_first(
    make: Callable[[], tuple[Mapping[str, Tensor], Any] | None],
) -> tuple[dict[str, Tensor], Any] | None:
    """Return the tensors and the JSON value that `make` gives on the first process, or None."""
    if count() == 1:
        made = make()
        return None if made is None else (dict(made[0]), made[1])

    def packed() -> bytes:
        made = make()
        if made is None:
            return b""
        tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in made[0].items()}
        return save(tensors, {"value": json.dumps(made[1])})

    data = from_first(packed)
    if not data:
        return None
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return load(data), json.loads(header["__metadata__"]["value"])


def give_first_weights(module: nn.Module) -> None:
    """Give `module` the weights that it has on the first process."""
    if count() > 1:
        with _others():
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)


def wait() -> None:
    """Wait until every process is here."""
    add_up(torch.zeros(1))


def _are_joined() -> bool:
    # Some builds of PyTorch come without.
    return dist.is_available() and dist.is_initialized()


class _JointRows(torch.autograd.Function):
    """Rows of all processes; each keeps the gradients of its own, `count()` times its share's."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rows: slice, total: int) -> Tensor:
        ctx.rows = rows
        joint = own.new_zeros(total, *own.shape[1:])
        joint[rows] = own
        return add_up(joint)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.rows] * count(), None, None


@contextmanager
def _others() -> Iterator[None]:
    """Say what it means that the others do not answer."""
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            f"process {rank()} of {count()}: another process of this run was lost "
            f"({str(error).splitlines()[0]}); start all of them again with --resume"
        ) from None
