"""What the recipes share: a tiny language model of random weights, and a task it can learn."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from ulmfit.config.artefact import Member
from ulmfit.config.model import Direction, Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.text.tokenizer import Tokenizer

WORDS = "the film was long and we saw it in a small room with some old friends".split()
CLASSES = {"bad": "awful", "good": "superb"}


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


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """Leaves the number of threads, which a run sets, as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of made-up reviews, 200 of them, columns `text` and `label`."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    return write_rows(path, ["text", "label"], made_up_reviews(200))


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
