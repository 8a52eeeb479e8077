from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ulmfit.errors import ResumeError, UlmfitError
from ulmfit.training.checkpoint import (
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)

CPU = torch.device("cpu")


def all_kinds() -> dict[str, Tensor]:
    torch.manual_seed(0)
    matrix = torch.randn(6, 4)
    return {
        "matrix": matrix,
        "transposed": matrix.t(),
        "tied": matrix,
        "row": matrix[2],
        "expanded": matrix[:1].expand(6, 4),
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "step": torch.tensor(7, dtype=torch.int64),
        "mask": torch.tensor([True, False, True]),
        "random": torch.get_rng_state(),
        "half": torch.randn(3).half(),
        "bfloat": torch.randn(3).bfloat16(),
        "empty": torch.empty(0, 5),
        "odd": torch.tensor([math.nan, math.inf, -0.0]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }


def bits(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def test_every_kind_of_tensor_comes_back_to_the_bit(tmp_path: Path) -> None:
    tensors = all_kinds()
    save_checkpoint(tmp_path / "run.safetensors", tensors, {})
    loaded, state = load_checkpoint(tmp_path / "run.safetensors")
    assert state == {}
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert bits(loaded[name]) == bits(tensor), name


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state: dict[str, Any] = {
        "epoch": 3,
        "best": math.inf,
        "loss": 0.1 + 0.2,
        "names": ["a", "日本", "\ud800"],
        "nested": {"none": None, "flag": True, "large": 2**70},
    }
    save_checkpoint(tmp_path / "c", {}, state)
    assert load_checkpoint(tmp_path / "c") == ({}, state)


def test_saving_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "c"
    (tmp_path / "c.tmp").write_bytes(b"left over by a run that was killed")
    for step in range(3):
        save_checkpoint(path, {"x": torch.full((3,), step)}, {"step": step})
    tensors, state = load_checkpoint(path)
    assert state == {"step": 2}
    assert tensors["x"].tolist() == [2, 2, 2]
    assert os.listdir(tmp_path) == ["c"]


def test_loaded_tensors_outlive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, {"x": torch.arange(1000)}, {})
    tensors, _ = load_checkpoint(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert torch.equal(tensors["x"], torch.arange(1000))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(ResumeError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == (
        f"{path}: there is no checkpoint to resume; start the run without resume"
    )


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, {"x": torch.arange(9), "y": torch.ones(2, 2)}, {"step": 1})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ResumeError) as caught:
            load_checkpoint(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: the checkpoint is damaged: ")
        assert message.endswith("; start the run anew with overwrite")
        assert "\n" not in message


def test_an_altered_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c"
    tensors, state = {"x": torch.arange(9), "y": torch.ones(2, 2)}, {"step": 1}
    save_checkpoint(path, tensors, state)
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            load_checkpoint(path)
        except ResumeError:
            noticed += 1
    assert noticed == len(whole)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\xff" * 64])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c"
    path.write_bytes(content)
    with pytest.raises(ResumeError, match="the checkpoint is damaged"):
        load_checkpoint(path)


def test_a_model_file_is_no_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ResumeError, match=r"model\.safetensors: the checkpoint is damaged"):
        load_checkpoint(tmp_path / "model.safetensors")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "c"
    with pytest.raises(UlmfitError) as caught:
        save_checkpoint(path, {}, {})
    assert str(caught.value).startswith(f"{path}: cannot write the checkpoint: ")


FULL_DISK = """
import resource, signal, sys, torch
from safetensors import SafetensorError
from ulmfit.errors import UlmfitError
from ulmfit.training.checkpoint import save_checkpoint
save_checkpoint(sys.argv[1], {"x": torch.ones(10)}, {"step": 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(sys.argv[1], {"x": torch.ones(1_000_000)}, {"step": 2})
except UlmfitError as error:
    assert isinstance(error.__cause__, OSError | SafetensorError)  # a run folder goes by it
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{path}: cannot write the checkpoint: ")
    assert done.stdout.count("\n") == 1
    assert load_checkpoint(path)[1] == {"step": 1}
    assert os.listdir(tmp_path) == ["c"]


WRITER = """
import itertools, sys, torch
from ulmfit.training.checkpoint import save_checkpoint
for step in itertools.count():
    save_checkpoint(sys.argv[1], {"x": torch.full((300_000,), step)}, {"step": step})
    print(step, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
def test_the_file_is_whole_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "c"
    delay = random.Random(0)
    for _ in range(2):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            for _ in range(10):
                time.sleep(delay.uniform(0, 0.01))
                tensors, state = load_checkpoint(path)
                assert set(tensors["x"].tolist()) == {state["step"]}
            writer.send_signal(signal.SIGKILL)
            printed = [int(line) for line in writer.stdout.read().split()]
        tensors, state = load_checkpoint(path)
        assert set(tensors["x"].tolist()) == {state["step"]}
        assert state["step"] >= max(printed, default=0)


def test_a_file_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, {"x": torch.zeros(3)}, {"step": 1})
    name = "ulmfit.training.checkpoint.safe_open"

    def replaced_while_opening(path: Path, framework: str) -> Any:
        monkeypatch.setattr(name, safe_open)
        save_checkpoint(path, {"x": torch.ones(3)}, {"step": 2})
        raise SafetensorError("half of the one, half of the other")

    monkeypatch.setattr(name, replaced_while_opening)
    tensors, state = load_checkpoint(path)
    assert tensors["x"].tolist() == [1, 1, 1] and state == {"step": 2}


def test_random_draws_go_on_where_they_were(tmp_path: Path) -> None:
    torch.manual_seed(5)
    torch.randn(3)  # an odd number: half a pair is kept inside the generator
    save_checkpoint(tmp_path / "c", random_state(CPU), {})
    expected = [torch.randn(3), torch.rand(5), torch.randperm(9)]
    torch.manual_seed(6)
    restore_random_state(load_checkpoint(tmp_path / "c")[0], CPU)
    again = [torch.randn(3), torch.rand(5), torch.randperm(9)]
    assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))


def test_random_state_of_a_missing_gpu_is_passed_over() -> None:
    missing = {"cuda": torch.zeros(16, dtype=torch.uint8)}
    restore_random_state({**random_state(CPU), **missing}, CPU)


@pytest.mark.gpu
def test_random_draws_on_a_gpu_go_on_where_they_were() -> None:
    torch.manual_seed(5)
    torch.randn(3, device="cuda")
    states = random_state(torch.device("cuda"))
    assert "cuda" in states
    expected = torch.randn(3, device="cuda")
    torch.manual_seed(6)
    restore_random_state(states, torch.device("cuda"))
    assert torch.equal(torch.randn(3, device="cuda"), expected)
