"""What the recipes share: a tiny language model of random weights, and a task it can learn."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ulmfit.config.artefact import Member
from ulmfit.config.model import Direction, Dropout, EncoderConfig
from ulmfit.config.settings import to_dict
from ulmfit.config.text import TokenizerConfig
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.stages.run_folder import RunFolder
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.training import loop
from ulmfit.training.plan import Place

WORDS = ("the", "film", "was", "long", "and", "we", "saw", "it", "in", "a", "small", "room", "old")
CLASSES = {"bad": "awful", "good": "superb"}
Stage = Callable[[], Any]


def made_up_reviews(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of 4 to 30 words and their labels; one word of each text tells the label."""
    rng = np.random.default_rng(seed)
    reviews = []
    for _ in range(count):
        label = str(rng.choice(list(CLASSES)))
        words = [str(word) for word in rng.choice(WORDS, rng.integers(4, 30))]
        words[int(rng.integers(len(words)))] = CLASSES[label]
        reviews.append((" ".join(words), label))
    return reviews


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of made-up reviews, 200 of them, columns `text` and `label`."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *made_up_reviews(200)])
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of random weights, both directions, whose tokenizer knows the words."""
    texts = [text for text, _ in made_up_reviews(200)]
    tokenizer = Tokenizer.train(texts, TokenizerConfig(vocab_size=320))
    shape = EncoderConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=12, hidden_size=16, layers=2
    )
    torch.manual_seed(0)
    directions: tuple[Direction, ...] = ("forward", "backward")
    record = {"settings": {"texts": ["wiki.txt"]}, "data": ["training: wiki.txt"], "results": {}}
    models = [
        LanguageModel(
            LanguageModelNetwork(shape, Dropout()),
            tokenizer,
            Member(direction=direction, prefix=direction),
            bptt=20,
            run={"pretrain": record},
        )
        for direction in directions
    ]
    for model in models:  # as if it had learned to tell words apart
        model.network.encoder.embedding.weight.data.mul_(8)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_language_models(models, folder)
    return folder


# Stopping a run


class Killed(BaseException):
    """Stops a run without a chance to clear up."""


@pytest.fixture
def killed() -> type[BaseException]:
    return Killed


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Stops a run at a batch, counted from now; returns the part of each batch trained."""
    train_batch = loop.TrainingRun.train_batch

    def install(last: int) -> list[str]:
        trained: list[str] = []

        def counted(run: Any, batch: Any, place: Place) -> None:
            if len(trained) == last:
                raise Killed
            trained.append(run.title)
            train_batch(run, batch, place)

        monkeypatch.setattr(loop.TrainingRun, "train_batch", counted)
        return trained

    return install


@pytest.fixture
def killed_while_clearing_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stage], None]:
    """Runs a stage that is stopped when its artefact stands and its working folder is to go."""

    def stop(*_: Any) -> None:
        raise Killed

    def run(stage: Stage) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "remove", stop)
            with pytest.raises(Killed):
                stage()

    return run


KILLED_AT = """
import json, os, signal, sys
from importlib import import_module
from ulmfit.config import stages
from ulmfit.config.settings import from_dict
from ulmfit.training import loop

left, train_batch = int(sys.argv[3]), loop.TrainingRun.train_batch

def counted(*arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    train_batch(*arguments)

loop.TrainingRun.train_batch = counted
command, kind = sys.argv[1], getattr(stages, f"{sys.argv[1].capitalize()}Config")
config = from_dict(kind, json.loads(sys.argv[2]), "test")
getattr(import_module(f"ulmfit.stages.{command}"), command)(config, quiet=True)
"""


@pytest.fixture
def kill_at() -> Callable[[Any, int], int]:
    """Runs a stage in a process of its own, killed by `kill -9` at a batch; returns its status."""

    def run(config: Any, last: int) -> int:
        command = type(config).__name__.removesuffix("Config").lower()
        arguments = [command, json.dumps(to_dict(config)), str(last)]
        return subprocess.run([sys.executable, "-c", KILLED_AT, *arguments]).returncode

    return run
