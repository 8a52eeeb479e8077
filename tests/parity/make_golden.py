"""Makes the golden folders: `python tests/parity/make_golden.py`.

Run it once for a new format version, never again for an old one: that the folders of old versions
are read, and answer as they did, is what they are there for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ulmfit.config.artefact import BeginMark, Member, Task
from ulmfit.config.model import ClassifierHeadConfig, Direction, Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.text.tokenizer import Tokenizer

GOLDEN = Path(__file__).with_name("golden")
VERSION = "v1"

TEXTS = [
    "The film was long, and we saw it in a small room.",
    "",
    "재미있는 영화 🙂",
    "<bos> <pad> 12 345 678",
    "one word and another " * 12,
]
PROMPTS = ["The film", "", "🙂"]

DIRECTIONS: tuple[tuple[Direction, BeginMark], ...] = (("forward", "first"), ("backward", "last"))


def main() -> None:
    """Write both folders and what they answer."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(TEXTS * 2, TokenizerConfig(vocab_size=300))
    size = tokenizer.vocab_size
    save_classifier(tokenizer, EncoderConfig(vocab_size=size, **_shape(layers=2)))
    save_language_model(tokenizer, EncoderConfig(vocab_size=size, **_shape(layers=3)))
    expected = {"texts": TEXTS, "prompts": PROMPTS, **answers(GOLDEN, VERSION)}
    for lock in GOLDEN.glob(".*.lock"):
        lock.unlink()
    path = GOLDEN / f"expected-{VERSION}.json"
    path.write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _shape(layers: int) -> dict[str, int]:
    return {"embedding_size": 8, "hidden_size": 12, "layers": layers}


def save_language_model(tokenizer: Tokenizer, shape: EncoderConfig) -> None:
    """Two directions, of which the matrices are stored in int8."""
    models = []
    for direction, begin_mark in DIRECTIONS:
        network = LanguageModelNetwork(shape, Dropout())
        network.encoder.embedding.weight.data.mul_(20)
        member = Member(direction=direction, prefix=direction, begin_mark=begin_mark)
        models.append(LanguageModel(network, tokenizer, member, bptt=7))
    save_language_models(models, GOLDEN / f"language-model-{VERSION}", storage="int8")


def save_classifier(tokenizer: Tokenizer, shape: EncoderConfig) -> None:
    """Two members of unequal weight, a temperature, a label beyond ASCII."""
    head = ClassifierHeadConfig(hidden_sizes=(5,))
    labels = ("bad", "good", "좋음")
    members = []
    for weight, (direction, begin_mark) in enumerate(DIRECTIONS, 1):
        network = ClassifierNetwork(shape, Dropout(), head, len(labels))
        network.encoder.embedding.weight.data.mul_(20)
        for linear in (module for module in network.modules() if isinstance(module, nn.Linear)):
            linear.weight.data.mul_(6)
        described = Member(
            direction=direction, prefix=direction, weight=weight, begin_mark=begin_mark
        )
        members.append(ClassifierMember(described, network))
    task = Task(labels=labels, temperature=0.5)
    classifier = TextClassifier(members, tokenizer, task, head=head, bptt=7)
    classifier.save_pretrained(GOLDEN / f"text-classifier-{VERSION}")


def answers(golden: Path, version: str) -> dict[str, Any]:
    """Return what the folders of a version answer now."""
    classifier = TextClassifier.from_pretrained(golden / f"text-classifier-{version}")
    found: dict[str, Any] = {
        "labels": list(classifier.labels),
        "predicted": classifier.predict(TEXTS),
        "probabilities": classifier.predict_proba(TEXTS).tolist(),
        "tokens": [ids.tolist() for ids in classifier.tokenizer.encode_batch(TEXTS)],
    }
    for direction, _ in DIRECTIONS:
        model = LanguageModel.from_pretrained(
            golden / f"language-model-{version}", direction=direction
        )
        perplexities = model.perplexity(TEXTS).tolist()
        found[direction] = {
            # An empty text has none, and JSON has no NaN.
            "perplexities": [value if value == value else None for value in perplexities],
            "generated": [model.generate(p, tokens=12, temperature=0.0) for p in PROMPTS],
        }
    return found


if __name__ == "__main__":
    main()
