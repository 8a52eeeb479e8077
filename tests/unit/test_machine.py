from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from ulmfit.config.model import Dropout, EncoderConfig
from ulmfit.config.stages import OutputConfig
from ulmfit.config.training import TrainingConfig
from ulmfit.errors import ConfigError, ResumeError
from ulmfit.nn.awd_lstm import AWDLSTM
from ulmfit.stages import machine
from ulmfit.stages.machine import (
    MOST_CHUNKS,
    SHARE_OF_FREE_MEMORY,
    bytes_of_chunk,
    chunks_in_memory,
    resolve_machine,
)
from ulmfit.stages.run_folder import RunFolder
from ulmfit.training import device as device_of_training

CPU = torch.device("cpu")
PAPER = EncoderConfig(vocab_size=30_000)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder(OutputConfig(output=str(tmp_path / "model")), True) as folder:
        yield folder


def free(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    memory = SimpleNamespace(available=int(gigabytes * 1e9))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


def test_the_machine_of_a_cpu(run: RunFolder) -> None:
    settings = TrainingConfig(device="cpu", threads=1, precision="float32")
    device, precision = resolve_machine(run, settings)
    assert (device, precision, torch.get_num_threads()) == (CPU, "float32", 1)


def test_a_run_in_bfloat16_is_not_resumed_on_a_processor_without(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_of_training, "_processor_has_bfloat16", lambda: True)
    monkeypatch.setattr(device_of_training, "bfloat16_is_faster_here", lambda: True)
    assert resolve_machine(run, TrainingConfig(device="cpu")).precision == "bfloat16"
    monkeypatch.setattr(device_of_training, "bfloat16_is_faster_here", lambda: False)
    assert resolve_machine(run, TrainingConfig(device="cpu")).precision == "bfloat16"
    monkeypatch.setattr(device_of_training, "_processor_has_bfloat16", lambda: False)
    with pytest.raises(ResumeError, match="began in bfloat16, which this machine does not have; "):
        resolve_machine(run, TrainingConfig(device="cpu"))


def test_bfloat16_asked_for_is_not_resumed_on_a_processor_without(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainingConfig(device="cpu", precision="bfloat16")
    monkeypatch.setattr(device_of_training, "_processor_has_bfloat16", lambda: True)
    resolve_machine(run, settings)
    monkeypatch.setattr(device_of_training, "_processor_has_bfloat16", lambda: False)
    with pytest.raises(ResumeError, match="go on where it began, or discard it with --overwrite"):
        resolve_machine(run, settings)


def test_bfloat16_is_tried_with_the_threads_of_the_run(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def slower() -> bool:
        threads.append(torch.get_num_threads())
        return False

    monkeypatch.setattr(device_of_training, "_processor_has_bfloat16", lambda: True)
    monkeypatch.setattr(device_of_training, "bfloat16_is_faster_here", slower)
    before = torch.get_num_threads()
    resolve_machine(run, TrainingConfig(device="cpu", threads=before + 1))
    resolve_machine(run, TrainingConfig(device="cpu", threads=before + 1))
    torch.set_num_threads(before)
    assert threads == [before + 1]  # and a resumed run does not try again


def test_a_resumed_run_keeps_threads_and_precision(run: RunFolder) -> None:
    torch.set_num_threads(1)
    resolve_machine(run, TrainingConfig(device="cpu"))
    torch.set_num_threads(2)
    resolve_machine(run, TrainingConfig(device="cpu"))
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"device": "tpu"}, "'device': 'tpu'"), ({"precision": "float16"}, "float16 needs a GPU")],
)
def test_a_machine_that_is_not_there_is_refused(
    run: RunFolder, settings: dict[str, str], message: str
) -> None:
    given = {"device": "cpu", **settings}
    with pytest.raises(ConfigError, match=message):
        resolve_machine(run, TrainingConfig(**given))  # type: ignore[arg-type]


def test_more_memory_holds_more_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = bytes_of_chunk(PAPER, 32, 70) / SHARE_OF_FREE_MEMORY / 1e9
    for held, chunks in ((0.1, 1), (1.1, 1), (3.9, 2), (4.1, 4), (9, 8), (1000, MOST_CHUNKS)):
        free(monkeypatch, held * chunk)
        assert chunks_in_memory(PAPER, 32, 70, CPU) == chunks


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free(monkeypatch, 100 * bytes_of_chunk(PAPER, 32, 70) / SHARE_OF_FREE_MEMORY / 1e9)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 600000\ninactive_file 0\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert chunks_in_memory(PAPER, 32, 70, CPU) == MOST_CHUNKS
    most = 1_000_000 + int(2.5 * bytes_of_chunk(PAPER, 32, 70) / SHARE_OF_FREE_MEMORY)
    (tmp_path / "memory.max").write_text(f"{most}\n")
    assert chunks_in_memory(PAPER, 32, 70, CPU) == 2
    (tmp_path / "memory.current").write_text(f"{most}\n")  # for a large file that was read
    (tmp_path / "memory.stat").write_text(f"anon 600000\ninactive_file {most - 1_000_000}\n")
    assert chunks_in_memory(PAPER, 32, 70, CPU) == 2


def test_larger_chunks_and_batches_are_fewer() -> None:
    size = bytes_of_chunk(PAPER, 32, 70)
    assert bytes_of_chunk(PAPER, 64, 70) == bytes_of_chunk(PAPER, 32, 140) == 2 * size


def test_the_estimate_is_about_what_autograd_keeps() -> None:
    """Bytes of the tensors kept for the backward pass, counted by PyTorch's own hook."""
    config = EncoderConfig(vocab_size=50, embedding_size=24, hidden_size=40, layers=3)
    encoder = AWDLSTM(config, Dropout())
    kept: dict[int, int] = {}
    weights = {parameter.data_ptr() for parameter in encoder.parameters()}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        outputs, _ = encoder(encoder.embed(torch.zeros(16, 30, dtype=torch.int64)))
    estimate = bytes_of_chunk(config, 16, 30)
    assert outputs.requires_grad and sum(kept.values()) < 1.2 * estimate
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        assert sum(kept.values()) > 0.7 * estimate
