from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from ulmfit.errors import ConfigError
from ulmfit.training import device
from ulmfit.training.device import autocast, resolve_device, resolve_precision

CPU = torch.device("cpu")


def test_a_device_is_found_by_name() -> None:
    assert resolve_device("cpu") == CPU
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected


@pytest.mark.parametrize("name", ["tpu9", "cuda:99", "", "cpu,cuda"])
def test_a_device_that_is_not_there_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_device(name)
    message = str(caught.value)
    assert message.startswith(f"setting 'device': '{name}' cannot be used here: ")
    assert "\n" not in message


def test_precision_is_resolved() -> None:
    assert resolve_precision("auto", torch.device("meta")) == "float32"
    assert resolve_precision("float32", CPU) == "float32"
    assert resolve_precision("float16", torch.device("cuda")) == "float16"


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(ConfigError, match="'precision': float16 needs a GPU; use float32 or bf"):
        resolve_precision("float16", CPU)
    with pytest.raises(ConfigError, match="'precision': found 'float8'; use auto, "):
        resolve_precision("float8", CPU)


def test_bfloat16_needs_a_processor_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_processor_has_bfloat16", lambda: True)
    assert resolve_precision("bfloat16", CPU) == "bfloat16"
    monkeypatch.setattr(device, "_processor_has_bfloat16", lambda: False)
    with pytest.raises(ConfigError, match="'precision': this processor has no bfloat16; use float"):
        resolve_precision("bfloat16", CPU)
    assert resolve_precision("auto", CPU) == "float32"
    assert resolve_precision("bfloat16", torch.device("cuda")) == "bfloat16"


def test_bfloat16_is_tried_wherever_gradients_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []
    steps = device._quickest_steps

    def spy(*arguments: Any) -> Any:
        tried.append(steps(*arguments))
        return tried[-1]

    monkeypatch.setattr(device, "_quickest_steps", spy)
    monkeypatch.setattr(device, "autocast", lambda *_: nullcontext())  # on any processor
    with torch.no_grad():
        found = device.bfloat16_is_faster_here.__wrapped__()
    with torch.inference_mode():
        also = device.bfloat16_is_faster_here.__wrapped__()
    assert {found, also} <= {True, False}
    assert len(tried) == 2  # neither ended in an error, which would count as slower


def test_where_bfloat16_fails_it_is_not_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(device, "_quickest_steps", fail)
    assert device.bfloat16_is_faster_here.__wrapped__() is False


@pytest.mark.parametrize(("faster", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_a_cpu_computes_in_bfloat16_where_that_was_found_faster(
    monkeypatch: pytest.MonkeyPatch, faster: bool, expected: str
) -> None:
    monkeypatch.setattr(device, "_processor_has_bfloat16", lambda: True)
    monkeypatch.setattr(device, "bfloat16_is_faster_here", lambda: faster)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("float32", CPU) == "float32"


@pytest.mark.parametrize(("seconds", "faster"), [(0.7, True), (0.9, False), (2.0, False)])
def test_the_trial_of_bfloat16_goes_by_the_quickest_steps(
    monkeypatch: pytest.MonkeyPatch, seconds: float, faster: bool
) -> None:
    now, other = [0.0], [0]

    def clock() -> float:
        """A step of float32 takes a second, and once ten; one of bfloat16 `seconds`."""
        other[0] += 1
        if other[0] % 2 == 0:
            now[0] += 10.0 if other[0] == 2 else (seconds if other[0] % 4 == 0 else 1.0)
        return now[0]

    monkeypatch.setattr(device, "autocast", lambda *_: nullcontext())
    monkeypatch.setattr(time, "perf_counter", clock)
    device.bfloat16_is_faster_here.cache_clear()
    before = torch.get_rng_state()
    try:
        assert device.bfloat16_is_faster_here() == faster
    finally:
        device.bfloat16_is_faster_here.cache_clear()
    assert torch.equal(torch.get_rng_state(), before)  # a run's draws do not hang on the machine


@pytest.mark.parametrize(("slow", "expected"), [(False, "bfloat16"), (True, "float32")])
def test_emulated_bfloat16_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, slow: bool, expected: str
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or not slow

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert resolve_precision("auto", torch.device("cuda")) == expected


def test_products_are_computed_in_the_precision_asked_for() -> None:
    values = torch.ones(2, 2)
    with autocast("float32", CPU):
        assert (values @ values).dtype == torch.float32
    with autocast("bfloat16", CPU):
        assert (values @ values).dtype == torch.bfloat16
