"""A run that is stopped anywhere and resumed ends with the bits of one that was not."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ulmfit.config.data import LanesConfig
from ulmfit.config.model import Dropout
from ulmfit.config.settings import to_dict
from ulmfit.config.stages import PretrainConfig, RegularizationConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.config.training import OptimizerConfig, TrainingConfig
from ulmfit.data.lanes import Window
from ulmfit.errors import ResumeError
from ulmfit.models.folder import read_config
from ulmfit.stages.language_modelling import LanguageModelTask
from ulmfit.stages.pretrain import pretrain
from ulmfit.stages.run_folder import RunFolder
from ulmfit.training.loop import StepLoss


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of words that follow one another with some order."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 6))) for _ in range(60)]
    path = tmp_path_factory.mktemp("text") / "wiki.txt"
    with path.open("w") as file:
        for _ in range(120):
            place = int(rng.integers(60))
            for _ in range(int(rng.integers(3, 25))):
                file.write(words[place] + " ")
                place = (place + int(rng.integers(1, 4))) % 60
            file.write("\n")
    return path


def config(text: Path, folder: Path, **settings: Any) -> PretrainConfig:
    """Everything on: dropouts, AR and TAR, variable windows, unfreezing, accumulation, best."""
    given = {
        "texts": (str(text),),
        "output": str(folder / "model"),
        "cache": str(text.parent / "cache"),
        "tokenizer": TokenizerConfig(vocab_size=300),
        "embedding_size": 8,
        "hidden_size": 12,
        "layers": 2,
        "directions": "both",
        "dropout": Dropout(embedding=0.1, input=0.3, hidden=0.2, weight=0.3, output=0.2),
        "dropout_multiplier": 1.0,
        "lanes": LanesConfig(bptt=20),
        "regularization": RegularizationConfig(alpha=2.0, beta=1.0),
        "sampled_words": 100,
        "training": TrainingConfig(
            epochs=3.5,
            batch_size=8,
            accumulation=2,
            optimizer=OptimizerConfig(learning_rate=2e-2),
            unfreezing="gradual",
            evaluate_every=0.5,
            checkpoint_steps=3,
            threads=1,
        ),
        **settings,
    }
    return PretrainConfig(**given)


def tensors(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def results(folder: Path) -> Any:
    """The record of the run, without its times."""
    found = read_config(folder / "model").run["pretrain"]["results"]
    return {
        part: {n: v for n, v in values.items() if n not in ("seconds", "tokens_per_second")}
        for part, values in found.items()
    }


def assert_same(a: Path, b: Path) -> None:
    first, second = tensors(a), tensors(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert results(a) == results(b)


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    pretrain(config(text, folder), quiet=True)
    return folder


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Stops the run at a batch, counted from now; returns the direction of each batch trained."""
    loss = LanguageModelTask.loss

    def install(last: int) -> list[str]:
        trained: list[str] = []

        def counted(task: LanguageModelTask, batch: Window) -> StepLoss:
            if len(trained) == last:
                raise Killed
            trained.append(task.member.direction)
            return loss(task, batch)

        monkeypatch.setattr(LanguageModelTask, "loss", counted)
        return trained

    return install


def test_the_same_seed_gives_the_same_bits(text: Path, whole: Path, tmp_path: Path) -> None:
    pretrain(config(text, tmp_path), quiet=True)
    assert_same(whole, tmp_path)


def test_the_run_is_what_it_is_meant_to_be(text: Path, whole: Path) -> None:
    """Long enough for all phases, improving, and of another best evaluation than the last."""
    record = results(whole)
    for direction in ("forward", "backward"):
        losses = [entry["loss"] for entry in record[direction]["history"]]
        assert len(losses) == 7 and min(losses) < losses[0] - 0.02
        assert record[direction]["loss"] == min(losses)
        assert record[direction]["batches"] > 60


def test_a_stopped_and_resumed_run_has_the_same_bits(
    text: Path, whole: Path, tmp_path: Path, stop_at: Callable[[int], list[str]]
) -> None:
    a_direction = results(whole)["forward"]["batches"]
    trained: list[str] = []
    for last in (31, 2, 45, a_direction // 2, 40):
        stop_at(last)
        torch.manual_seed(last)  # whatever a new process begins with
        with pytest.raises(Killed):
            pretrain(config(text, tmp_path, resume=True), quiet=True)
    trained = stop_at(-1)
    pretrain(config(text, tmp_path, resume=True), quiet=True)
    assert set(trained) == {"backward"}, "the stops fell in both directions"
    assert_same(whole, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["model"]


def test_a_finished_direction_is_not_trained_again(
    text: Path, whole: Path, tmp_path: Path, stop_at: Callable[[int], list[str]]
) -> None:
    forward = results(whole)["forward"]["batches"]
    stop_at(forward)
    with pytest.raises(Killed):
        pretrain(config(text, tmp_path), quiet=True)
    trained = stop_at(-1)
    pretrain(config(text, tmp_path, resume=True), quiet=True)
    assert trained == ["backward"] * results(whole)["backward"]["batches"]
    assert_same(whole, tmp_path)


@pytest.mark.parametrize("moment", ["before it is written", "after it was written"])
def test_a_run_stopped_at_its_artefact_only_writes_it(
    text: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: Callable[[int], list[str]],
    moment: str,
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "after it was written":
            patch.setattr(RunFolder, "remove", killed)
        else:
            patch.setattr("ulmfit.stages.pretrain.save_language_models", killed)
        with pytest.raises(Killed):
            pretrain(config(text, tmp_path), quiet=True)
    assert (tmp_path / "model.run").is_dir()
    trained = stop_at(-1)
    pretrain(config(text, tmp_path, resume=True), quiet=True)
    assert trained == [] and not (tmp_path / "model.run").exists()
    assert_same(whole, tmp_path)


def test_changed_text_is_not_trained_on_by_a_resumed_run(
    text: Path, tmp_path: Path, stop_at: Callable[[int], list[str]]
) -> None:
    own = tmp_path / "own.txt"
    own.write_text(text.read_text())
    stop_at(20)
    with pytest.raises(Killed):
        pretrain(config(own, tmp_path), quiet=True)
    own.write_text(text.read_text() + "one more document\n")
    with pytest.raises(ResumeError, match="the text is not what it was when the run began"):
        pretrain(config(own, tmp_path, resume=True), quiet=True)
    own.write_text(text.read_text())
    stop_at(-1)
    pretrain(config(own, tmp_path, resume=True), quiet=True)


KILLED_AT = """
import json, os, signal, sys
from ulmfit.config.settings import from_dict
from ulmfit.config.stages import PretrainConfig
from ulmfit.stages.language_modelling import LanguageModelTask
from ulmfit.stages.pretrain import pretrain

left, loss = int(sys.argv[2]), LanguageModelTask.loss

def counted(task, batch):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(task, batch)

LanguageModelTask.loss = counted
pretrain(from_dict(PretrainConfig, json.loads(sys.argv[1]), "test"), quiet=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kill_9_at_random_steps(text: Path, whole: Path, tmp_path: Path, seed: int) -> None:
    """Each run dies by its own hand within `loss`, in a process of its own."""
    rng = random.Random(seed)
    settings = json.dumps(to_dict(config(text, tmp_path, resume=True)))
    for _ in range(4):
        last = str(rng.randrange(1, 60))
        command = [sys.executable, "-c", KILLED_AT, settings, last]
        assert subprocess.run(command).returncode == -signal.SIGKILL
    subprocess.run([*command[:-1], "0"], check=True)
    assert_same(whole, tmp_path)


@pytest.mark.slow
def test_kill_9_of_the_command(text: Path, whole: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(to_dict(config(text, tmp_path))))
    command = [sys.executable, "-m", "ulmfit", "pretrain", "--config", str(settings)]
    rng, log, kills = random.Random(0), tmp_path / "model.run" / "log.jsonl", 0
    while True:
        before = log.stat().st_size if log.exists() else 0
        resume = ["--resume"] if (tmp_path / "model.run").exists() else []
        process = subprocess.Popen([*command, *resume], env={**os.environ, "PYTHONWARNINGS": ""})
        while process.poll() is None and not (log.exists() and log.stat().st_size > before):
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.3))
        if process.poll() is None and kills < 6:
            process.kill()
            kills += 1
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL
    assert kills >= 2
    assert_same(whole, tmp_path)


def test_sigterm_ends_the_step_of_the_command(text: Path, whole: Path, tmp_path: Path) -> None:
    """As a scheduler sends it some seconds before it kills."""
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(to_dict(config(text, tmp_path))))
    command = [sys.executable, "-m", "ulmfit", "pretrain", "--config", str(settings)]
    log = tmp_path / "model.run" / "log.jsonl"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (log.exists() and "evaluation" in log.read_text()):
        time.sleep(0.002)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "Traceback" not in said
    assert said.endswith("interrupted; go on with the same command and --resume\n")
    told = re.search(r"interrupted after batch (\d+); --resume goes on from batch (\d+)", said)
    assert told is not None and told[1] == told[2]
    subprocess.run([*command, "--resume"], check=True)
    assert_same(whole, tmp_path)
