from __future__ import annotations

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
    assert resolve_precision("auto", CPU) == "float32"
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
