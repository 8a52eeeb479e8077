"""What `speed.py` times here: asked for a task in a line of JSON, it answers with the seconds."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import torch
from answering import answer, ids_of

from ulmfit.config.artefact import Member, Task
from ulmfit.config.data import LanesConfig
from ulmfit.config.model import (
    CLASSIFIER_DROPOUT,
    ClassifierHeadConfig,
    Dropout,
    EncoderConfig,
)
from ulmfit.config.stages import ClassifierStage, RegularizationConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.config.training import OptimizerConfig, TrainingConfig
from ulmfit.data.token_store import TokenStore
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.stages.classification import ClassificationTask, LabelledIds
from ulmfit.stages.language_modelling import LanguageModelTask
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.training.allocator import keep_freed_memory
from ulmfit.training.profiling import products_a_second, profile

FORWARD = Member(direction="forward", prefix="forward")
kept: dict[str, Any] = {}
"""What was made for a task, by its name."""


def shape_of(asked: dict[str, Any]) -> EncoderConfig:
    return EncoderConfig(**asked["shape"])


def roofline(asked: dict[str, Any]) -> dict[str, float]:
    rate = products_a_second(torch.device("cpu"), "float32", asked["features"], seconds=2.0)
    return {"operations_a_second": rate}


def language_model(asked: dict[str, Any]) -> dict[str, float]:
    """Seconds of `steps` steps; the network is made at the first call."""
    name = json.dumps(asked)
    if name not in kept:
        shape = shape_of(asked)
        ids = np.array(ids_of(asked), dtype=np.uint32)
        store = TokenStore(
            ids.ravel(), np.arange(0, ids.size + 1, 1000), np.ones((ids.size // 1000, 2), np.int64)
        )
        kept[name] = LanguageModelTask(
            LanguageModelNetwork(shape, Dropout()),
            FORWARD,
            LanesConfig(bptt=asked["bptt"], variable_bptt=False),
            RegularizationConfig(),
            asked["batch"],
            0,
            (store, None),
            None,
            asked.get("sampled_words", 0),
        )
    optimizer = OptimizerConfig(discriminative_factor=1.0)
    config = TrainingConfig(optimizer=optimizer, batch_size=asked["batch"])
    (phase,) = profile(kept[name], config, "float32", asked["steps"]).phases
    return {"seconds": sum(phase.seconds.values()), "tokens": phase.tokens}


def classifier(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of `steps` batches at each step of gradual unfreezing."""
    name = json.dumps(asked["shape"])
    if name not in kept:
        shape, task = shape_of(asked), Task(labels=("a", "b"))
        network = ClassifierNetwork(shape, CLASSIFIER_DROPOUT, ClassifierHeadConfig(), 2)
        rng = np.random.default_rng(0)
        documents = [rng.integers(8, shape.vocab_size, n) for n in asked["lengths"]]
        training = TrainingConfig(epochs=10.0, batch_size=asked["batch"], unfreezing="gradual")
        settings = ClassifierStage(training=training)
        data = LabelledIds(documents, np.arange(len(documents)) % 2)
        kept[name] = ClassificationTask(network, settings, 16, data, None, task), training
    found = profile(*kept[name], "float32", asked["steps"])
    seconds = [sum(phase.seconds.values()) for phase in found.phases]
    return {"seconds": seconds, "tokens": [phase.tokens for phase in found.phases]}


def predict(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds from texts to probabilities, tokenizing counted."""
    if "model" not in kept:
        tokenizer = Tokenizer.train(
            asked["vocabulary"], TokenizerConfig(kind="word", rules="fastai-2")
        )
        shape = EncoderConfig(**{**asked["shape"], "vocab_size": tokenizer.vocab_size})
        network = ClassifierNetwork(shape, CLASSIFIER_DROPOUT, ClassifierHeadConfig(), 2)
        member = ClassifierMember(FORWARD, network)
        kept["model"] = TextClassifier(
            [member], tokenizer, Task(labels=("a", "b")), head=ClassifierHeadConfig()
        )
    model, texts = kept["model"], asked["texts"]
    tokens = sum(map(len, model.tokenizer.encode_batch(texts)))
    began = time.perf_counter()
    model.predict_proba(texts)
    return {"seconds": time.perf_counter() - began, "tokens": tokens}


def one_by_one(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each text by itself; after `predict`."""
    seconds = []
    for text in asked["texts"]:
        began = time.perf_counter()
        kept["model"].predict([text])
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


def tokenize(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of encoding texts with the shipped model's byte-level pieces, and with words."""
    if "pieces" not in kept:
        from ulmfit import LanguageModel

        kept["pieces"] = LanguageModel.from_pretrained("wikipedia-en-small").tokenizer
    began = time.perf_counter()
    tokens = sum(map(len, kept["pieces"].encode_batch(asked["texts"])))
    return {"seconds": time.perf_counter() - began, "tokens": tokens}


TASKS = {
    "roofline": roofline,
    "language model": language_model,
    "classifier": classifier,
    "predict": predict,
    "one by one": one_by_one,
    "tokenize": tokenize,
}


def main() -> None:
    """Answer until there is nothing more to read."""
    keep_freed_memory()
    torch.manual_seed(0)
    answer(TASKS, ("ulmfit", "torch"))


if __name__ == "__main__":
    main()
