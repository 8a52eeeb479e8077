from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ulmfit.config.artefact import Storage
from ulmfit.errors import ArtefactError
from ulmfit.models.weights import load_into, quantize, restore, weights_file

STORAGES: tuple[Storage, ...] = ("float32", "float16", "int8")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(40, 8), nn.Linear(8, 5), nn.BatchNorm1d(5))


def state() -> dict[str, Tensor]:
    return network().state_dict()


def written(tensors: dict[str, Tensor], storage: Storage) -> bytes:
    """The content of the file that `weights_file` writes."""
    with TemporaryDirectory() as folder:
        weights_file(tensors, storage)(Path(folder) / "w")
        return (Path(folder) / "w").read_bytes()


def restored(tensors: dict[str, Tensor], storage: Storage) -> dict[str, Tensor]:
    """What is read back from it."""
    with TemporaryDirectory() as folder:
        weights_file(tensors, storage)(Path(folder) / "w")
        return restore(Path(folder) / "w")


@pytest.mark.parametrize("storage", STORAGES)
def test_names_shapes_and_types_come_back(storage: Storage) -> None:
    before, after = state(), restored(state(), storage)
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert after[name].shape == tensor.shape
        assert after[name].dtype == tensor.dtype
        if tensor.ndim != 2 or storage == "float32":
            assert torch.equal(after[name], tensor)


def test_what_is_stored_is_what_the_format_says() -> None:
    plain = safetensors.torch.load(written(state(), "int8"))
    assert plain["1.weight"].dtype == torch.int8
    assert plain["1.weight.scale"].shape == (5, 1)
    assert plain["2.num_batches_tracked"].dtype == torch.int64
    value = plain["1.weight"] * plain["1.weight.scale"]
    assert torch.equal(value, restored(state(), "int8")["1.weight"])
    half = safetensors.torch.load(written(state(), "float16"))
    assert half["1.weight"].dtype == torch.float16
    assert half["1.bias"].dtype == torch.float32


rows = st.lists(
    st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-2, 2, width=32) | st.just(0.0),
    min_size=3,
    max_size=3,
)


@given(st.lists(rows, min_size=1, max_size=5))
def test_int8_is_within_half_a_scale(values: list[list[float]]) -> None:
    matrix = torch.tensor(values, dtype=torch.float64)
    quantized, scale = quantize(matrix.to(torch.float32))
    assert quantized.abs().max() <= 127
    error = (quantized.to(torch.float64) * scale.to(torch.float64) - matrix).abs()
    assert (error <= scale * (0.5 + 1e-5)).all()


@given(st.lists(st.lists(st.floats(-65504, 65504, width=32), min_size=2, max_size=2), min_size=1))
def test_float16_is_within_its_rounding(values: list[list[float]]) -> None:
    matrix = torch.tensor(values)
    after = restored({"m": matrix}, "float16")["m"]
    assert torch.allclose(after, matrix, rtol=2**-11, atol=2**-25)


def test_rows_of_zeros_and_empty_matrices_survive() -> None:
    tensors = {"zeros": torch.zeros(2, 3), "empty": torch.zeros(0, 3), "narrow": torch.zeros(3, 0)}
    for name, tensor in restored(tensors, "int8").items():
        assert torch.equal(tensor, tensors[name])


def test_doubles_and_transposed_matrices_are_stored_as_float32() -> None:
    matrix = torch.randn(3, 4, dtype=torch.float64).T
    assert torch.equal(restored({"m": matrix}, "float32")["m"], matrix.float())


def test_the_same_weights_give_the_same_bytes() -> None:
    reordered = dict(reversed(state().items()))
    assert written(state(), "int8") == written(reordered, "int8")


@pytest.mark.parametrize("hidden", [0o022, 0o027])
def test_others_may_read_them_as_the_system_says(tmp_path: Path, hidden: int) -> None:
    before = os.umask(hidden)
    try:
        weights_file(state(), "float32")(tmp_path / "w")
    finally:
        os.umask(before)
    assert (tmp_path / "w").stat().st_mode & 0o777 == 0o666 & ~hidden


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["1.weight", "1.bias"])
def test_weights_that_are_not_finite_are_refused(storage: Storage, bad: float, name: str) -> None:
    tensors = state()
    tensors[name].view(-1)[3] = bad
    with pytest.raises(ArtefactError, match=f"weight '{name}': holds NaN or infinite"):
        weights_file(tensors, storage)


def test_weights_too_large_for_float16_are_refused() -> None:
    weights_file({"m": torch.tensor([[65504.0]]), "v": torch.tensor([1e6])}, "float16")
    with pytest.raises(ArtefactError, match="weight 'm': 65505 is above 65504"):
        weights_file({"m": torch.tensor([[65505.0]])}, "float16")


def test_what_the_system_refuses_to_write_is_its_error(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limit on file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    write = weights_file(state(), "float32")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write(tmp_path / "w")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_named(tmp_path: Path, length: int) -> None:
    content = written(state(), "float32")[:length]
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"w\.safetensors: cannot be read"):
        restore(tmp_path / "w.safetensors")


def test_scales_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(3, 2, dtype=torch.int8), "a.scale": torch.ones(2, 1)}
    safetensors.torch.save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ArtefactError, match=r"'a\.scale' is \[2, 1\], expected \[3, 1\]"):
        restore(tmp_path / "w.safetensors")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="none: cannot be read"):
        restore(tmp_path / "none")


@pytest.mark.parametrize("prefix", ["", "forward"])
def test_weights_are_loaded_by_name(prefix: str) -> None:
    start = f"{prefix}." if prefix else ""
    given = {start + name: tensor + 1 for name, tensor in state().items()}
    other = {"forward_2.0.weight": torch.zeros(1)} if prefix else {}
    module = network()
    load_into(module, {**given, **other}, prefix)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, given[start + name])


def test_everything_that_does_not_fit_is_listed_and_nothing_loaded() -> None:
    tensors = {f"forward.{name}": tensor + 1 for name, tensor in state().items()}
    del tensors["forward.1.bias"]
    tensors["forward.3.weight"] = torch.zeros(1)
    tensors["forward.1.weight"] = torch.zeros(5, 1)
    module = network()
    with pytest.raises(ArtefactError) as caught:
        load_into(module, tensors, "forward")
    assert str(caught.value) == (
        "weights do not fit the configuration: missing 'forward.1.bias'; "
        "not expected 'forward.3.weight'; 'forward.1.weight' is [5, 1], expected [5, 8]; "
        "get the model again"
    )
    assert all(torch.equal(tensor, state()[name]) for name, tensor in module.state_dict().items())
