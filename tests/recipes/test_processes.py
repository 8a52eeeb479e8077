"""Several processes that train one model: what comes out is what one process gives."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ulmfit.training.checkpoint import load_checkpoint

pytestmark = [
    pytest.mark.recipes,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without distributed"),
]

SCRIPT = Path(__file__).with_name("joint_training.py")
LAUNCH = [sys.executable, "-m", "torch.distributed.run"]
Arguments = list[str | Path]
Outcome = tuple[dict[str, Tensor], dict[str, list[float]]]


def train(count: int, *arguments: str | Path) -> int:
    """Run the script in `count` processes; return its exit code."""
    launch = [*LAUNCH, "--standalone", f"--nproc-per-node={count}"] if count > 1 else LAUNCH[:1]
    command = [*launch, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, timeout=300).returncode


def assert_same(found: Outcome, expected: Outcome) -> None:
    """Weights, losses and evaluations are equal to 1e-8."""
    for name, weight in expected[0].items():
        torch.testing.assert_close(found[0][name], weight, rtol=0, atol=1e-8, msg=name)
    np.testing.assert_allclose(found[1]["losses"], expected[1]["losses"], rtol=0, atol=1e-8)
    for one, other in zip(found[1]["history"], expected[1]["history"], strict=True):
        assert one == pytest.approx(other, rel=1e-8)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what one process gives."""
    folder = tmp_path_factory.mktemp("alone")
    assert train(1, folder) == 0
    return folder


@pytest.mark.parametrize("count", [2, 4])
def test_processes_give_what_one_gives(count: int, alone: Path, tmp_path: Path) -> None:
    assert train(count, tmp_path) == 0
    outcomes = sorted(path.name for path in alone.iterdir())
    assert len(outcomes) == 4  # two kinds, with dropout and without
    for name in outcomes:
        expected = load_checkpoint(alone / name)
        assert len(expected[1]["losses"]) >= 50
        assert_same(load_checkpoint(tmp_path / name), expected)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 4)])
def test_a_run_goes_on_with_another_number_of_processes(
    before: int, after: int, alone: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    assert train(before, tmp_path, checkpoint, "31") != 0
    assert checkpoint.exists() and not (tmp_path / "language-model-some").exists()
    assert train(after, tmp_path, checkpoint) == 0
    weights, results = load_checkpoint(tmp_path / "language-model-some")
    expected = load_checkpoint(alone / "language-model-some")
    done = len(expected[1]["losses"]) - len(results["losses"])
    assert 0 < done <= 31
    expected[1]["losses"] = expected[1]["losses"][done:]
    assert_same((weights, results), expected)


def ulmfit_as(rank: int, count: int, port: int, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start one of several processes of the command, as a launcher would."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
    environment = {name: str(place) for name, place in places.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "ulmfit", *map(str, arguments)],
        env={**os.environ, **environment, "MASTER_ADDR": "localhost"},
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("localhost", 0))
        return int(chosen.getsockname()[1])


def finetuning(reviews: Path, tiny_model: Path, folder: Path) -> Arguments:
    """A training that two processes need some seconds for, with a checkpoint every few steps."""
    arguments: Arguments = ["finetune", "--texts", reviews, "--pretrained", tiny_model]
    arguments += ["--output", folder / "model", "--cache", folder / "c", "--directions", "forward"]
    arguments += ["--training.epochs", "40", "--training.batch-size", "4"]
    return [*arguments, "--training.checkpoint-steps", "5"]


def both_training(port: int, folder: Path, arguments: Arguments) -> list[subprocess.Popen[str]]:
    """Start two processes; return them when the first checkpoint is written."""
    running = [ulmfit_as(rank, 2, port, *arguments) for rank in range(2)]
    while not (folder / "model.run" / "language_model.forward.checkpoint").exists():
        assert running[0].poll() is None
        time.sleep(0.05)
    return running


def assert_one_goes_on(port: int, folder: Path, arguments: Arguments) -> None:
    resumed = ulmfit_as(0, 1, port, *arguments, "--resume")
    _, said = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, said
    assert "goes on from batch" in said and (folder / "model" / "model.safetensors").exists()


def test_a_lost_process_ends_the_others_and_the_run_resumes(
    tiny_model: Path, reviews: Path, tmp_path: Path
) -> None:
    arguments, port = finetuning(reviews, tiny_model, tmp_path), free_port()
    running = both_training(port, tmp_path, arguments)
    running[1].send_signal(signal.SIGKILL)
    _, said = running[0].communicate(timeout=60)
    assert running[0].returncode == 7
    assert "another process of this run was lost" in said and "--resume" in said
    assert "Traceback" not in said
    assert_one_goes_on(port, tmp_path, arguments)


@pytest.mark.parametrize("rank", [0, 1])
def test_sigterm_to_one_process_ends_the_step_of_all(
    tiny_model: Path, reviews: Path, tmp_path: Path, rank: int
) -> None:
    """As where one of several machines is to be given back."""
    arguments, port = finetuning(reviews, tiny_model, tmp_path), free_port()
    running = both_training(port, tmp_path, arguments)
    running[rank].terminate()
    said = [each.communicate(timeout=60)[1] for each in running]
    assert [each.returncode for each in running] == [
        143 if each == rank else 130 for each in (0, 1)
    ]
    assert not any("Traceback" in each for each in said)
    told = re.search(r"interrupted after batch (\d+); --resume goes on from batch (\d+)", said[0])
    assert told is not None and told[1] == told[2]
    assert_one_goes_on(port, tmp_path, arguments)


def test_two_launchers_meet_and_all_stages_run(reviews: Path, tmp_path: Path) -> None:
    port = free_port()
    shape = ["--embedding-size", "8", "--hidden-size", "8", "--layers", "2"]
    text: Arguments = ["--tokenizer.vocab-size", "300", "--training.batch-size", "5"]
    together(port, "pretrain", "--texts", reviews, "--output", tmp_path / "lm", *shape, *text)
    data: Arguments = [
        "--data",
        reviews,
        "--pretrained",
        tmp_path / "lm",
        "--output",
        tmp_path / "classifier",
    ]
    few = ["--classifier.training.epochs", "1", "--language-model.training.epochs", "1"]
    small = ["--language-model.training.batch-size", "5"]
    said = together(port, "train", *data, *few, *small)
    config = json.loads((tmp_path / "classifier" / "config.json").read_text())
    assert config["run"]["train"]["resolved"]["processes"] == 2
    assert len(config["members"]) == 2
    # Only the first process speaks.
    assert said.count("language_model.backward: after batch") == 1


def together(port: int, *arguments: str | Path) -> str:
    """Run the command under two launchers, as two machines would; return what they say."""
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=test"]
    meeting += [f"--rdzv-endpoint=localhost:{port}"]
    command = [*LAUNCH, *meeting, "-m", "ulmfit", *map(str, arguments)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    return "".join(said)
