"""What `speed.py` times here: asked for a task in a line of JSON, it answers with the seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from answering import answer, ids_of

from ulmfit.config.artefact import Member, Task
from ulmfit.config.model import (
    CLASSIFIER_DROPOUT,
    ClassifierHeadConfig,
    Dropout,
    EncoderConfig,
)
from ulmfit.config.text import TokenizerConfig
from ulmfit.models.language_model import LanguageModel
from ulmfit.models.networks import ClassifierNetwork
from ulmfit.models.reading import encode_documents
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.models.tfidf import TfidfModel
from ulmfit.nn.awd_lstm import AWDLSTM
from ulmfit.stages.made_up import (
    classifier_training,
    language_model_training,
    made_up_ids,
)
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.training.allocator import keep_freed_memory
from ulmfit.training.device import Precision
from ulmfit.training.profiling import products_a_second, profile

CPU = torch.device("cpu")
MEMBERS = [
    Member(direction="forward", prefix="forward"),
    Member(direction="backward", prefix="backward"),
]
Answers = Callable[[list[str]], Any]
"""What gives probabilities of texts."""

kept: dict[str, Any] = {}
"""What was made for a task, by its name."""


def shape_of(asked: dict[str, Any]) -> EncoderConfig:
    return EncoderConfig(**asked["shape"])


def precision_of(asked: dict[str, Any]) -> Precision:
    precision: Precision = asked.get("precision", "float32")
    return precision


def roofline(asked: dict[str, Any]) -> dict[str, float]:
    rate = products_a_second(CPU, precision_of(asked), asked["features"], seconds=1.0)
    return {"operations_a_second": rate}


def language_model(asked: dict[str, Any]) -> dict[str, float]:
    """Seconds of `steps` steps; the network is made at the first call."""
    name = json.dumps([asked["shape"], asked.get("sampled_words")])
    if name not in kept:
        kept[name] = language_model_training(
            ids_of(asked),
            shape_of(asked),
            CPU,
            batch_size=asked["batch"],
            bptt=asked["bptt"],
            sampled_words=asked.get("sampled_words", 0),
        )
    task, training = kept[name]
    (phase,) = profile(task, training, precision_of(asked), asked["steps"]).phases
    return {"seconds": sum(phase.seconds.values()), "tokens": phase.tokens}


def classifier(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of `steps` batches at each step of gradual unfreezing."""
    name = json.dumps(asked["shape"])
    if name not in kept:
        shape, rng = shape_of(asked), np.random.default_rng(0)
        documents = [rng.integers(8, shape.vocab_size, n) for n in asked["lengths"]]
        kept[name] = classifier_training(documents, shape, CPU, batch_size=asked["batch"])
    task, training = kept[name]
    found = profile(task, training, precision_of(asked), asked["steps"])
    seconds = [sum(phase.seconds.values()) for phase in found.phases]
    return {"seconds": seconds, "tokens": [phase.tokens for phase in found.phases]}


def answers_of(asked: dict[str, Any]) -> Answers:
    """Return what gives probabilities: a classifier over words or pieces, or TF-IDF."""
    if asked["model"] == "tf-idf":
        truth = np.arange(len(asked["vocabulary"])) % 2
        return TfidfModel(Task(labels=("a", "b"))).fit(asked["vocabulary"], truth).answers
    made = classifier_of(asked)
    kept[f"tokenizer of {asked['model']}"] = made.tokenizer
    return made.predict_proba


def classifier_of(asked: dict[str, Any]) -> TextClassifier:
    """Return a classifier of untrained weights, over words or pieces, of a direction or both."""
    if asked["model"] == "words":
        config = TokenizerConfig(kind="word", rules="fastai-2")
        tokenizer = Tokenizer.train(asked["vocabulary"], config)
    else:
        tokenizer = LanguageModel.from_pretrained("wikipedia-en-small").tokenizer
    shape = EncoderConfig(**{**asked["shape"], "vocab_size": tokenizer.vocab_size})
    task, head = Task(labels=("a", "b")), ClassifierHeadConfig()
    members = [
        ClassifierMember(member, ClassifierNetwork(shape, CLASSIFIER_DROPOUT, head, 2))
        for member in MEMBERS[: asked.get("directions", 1)]
    ]
    return TextClassifier(members, tokenizer, task, head=head, precision=precision_of(asked))


def way_of(asked: dict[str, Any]) -> str:
    """Return what tells one classifier that was made from another."""
    return f"{asked['model']}, {precision_of(asked)}, {asked.get('directions', 1)}"


def predict(
    asked: dict[str, Any], make: Callable[[dict[str, Any]], Answers] = answers_of
) -> dict[str, Any]:
    """Seconds from texts to probabilities, tokenizing counted, of what `make` gives once."""
    way, texts = way_of(asked), asked["texts"]
    if way not in kept:
        kept[way] = make(asked)
    tokenizer = kept.get(f"tokenizer of {asked['model']}")
    tokens = sum(map(len, tokenizer.encode_batch(texts))) if tokenizer else 0
    began = time.perf_counter()
    kept[way](texts)
    return {"seconds": time.perf_counter() - began, "tokens": tokens}


def one_by_one(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each text by itself; after `predict`."""
    seconds = []
    for text in asked["texts"]:
        began = time.perf_counter()
        kept[way_of(asked)]([text])
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


def read(asked: dict[str, Any]) -> dict[str, float]:
    """Seconds from the ids of one document to its vector."""
    shape, tokens = shape_of(asked), asked["tokens"]
    if "encoder" not in kept:
        kept["encoder"] = AWDLSTM(shape, Dropout())
    document = made_up_ids(tokens, shape.vocab_size)
    began = time.perf_counter()
    encode_documents(kept["encoder"], [document])
    return {"seconds": time.perf_counter() - began, "tokens": tokens}


def tokenize(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of encoding texts with the shipped model's byte-level pieces."""
    if "tokenizer" not in kept:
        kept["tokenizer"] = LanguageModel.from_pretrained("wikipedia-en-small").tokenizer
    began = time.perf_counter()
    tokens = sum(map(len, kept["tokenizer"].encode_batch(asked["texts"])))
    return {"seconds": time.perf_counter() - began, "tokens": tokens}


TASKS = {
    "roofline": roofline,
    "language model": language_model,
    "classifier": classifier,
    "predict": predict,
    "one by one": one_by_one,
    "tokenize": tokenize,
    "read": read,
}


def main() -> None:
    """Answer until there is nothing more to read."""
    keep_freed_memory()
    torch.manual_seed(0)
    answer(TASKS, ("ulmfit", "torch"))


if __name__ == "__main__":
    main()
