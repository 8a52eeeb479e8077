"""Both trainings on made-up ids: for where the speed is in question and the result is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ulmfit.config.artefact import Member, Task
from ulmfit.config.data import LanesConfig
from ulmfit.config.model import CLASSIFIER_DROPOUT, ClassifierHeadConfig, Dropout, EncoderConfig
from ulmfit.config.stages import ClassifierStage, RegularizationConfig
from ulmfit.config.training import OptimizerConfig, TrainingConfig
from ulmfit.data.token_store import TokenStore
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.stages.classification import ClassificationTask, LabelledIds
from ulmfit.stages.language_modelling import LanguageModelTask
from ulmfit.stages.machine import MOST_CHUNKS
from ulmfit.text.tokenizer import SPECIAL_TOKENS

Ids = NDArray[np.int64]

DOCUMENT_TOKENS = 1_000
"""Tokens of a document of the language model's text."""


def made_up_ids(count: int, vocab_size: int, seed: int = 0) -> Ids:
    """Return ids [count] as frequent as words are: a few very, most rarely (Zipf)."""
    drawn: Ids = (np.random.default_rng(seed).pareto(1.0, count) * 50).astype(np.int64)
    special = len(SPECIAL_TOKENS)
    return drawn % (vocab_size - special) + special


def made_up_documents(count: int, most: int, vocab_size: int, seed: int = 0) -> list[Ids]:
    """Return `count` documents of half of `most` to `most` tokens."""
    lengths = np.random.default_rng(seed).integers(most // 2, most + 1, count)
    ids = made_up_ids(int(lengths.sum()), vocab_size, seed)
    return np.split(ids, lengths.cumsum()[:-1])


def language_model_training(
    ids: Ids,
    shape: EncoderConfig,
    device: torch.device,
    *,
    batch_size: int,
    bptt: int,
    sampled_words: int = 0,
) -> tuple[LanguageModelTask, TrainingConfig]:
    """Return the training of a new language model on text `ids`, all layers learning."""
    ends = np.append(np.arange(0, len(ids), DOCUMENT_TOKENS), len(ids))
    sizes = np.ones((len(ends) - 1, 2), np.int64)
    task = LanguageModelTask(
        LanguageModelNetwork(shape, Dropout()).to(device),
        Member(direction="forward", prefix="forward"),
        LanesConfig(bptt=bptt, variable_bptt=False),
        RegularizationConfig(),
        batch_size,
        0,
        (TokenStore(ids.astype(np.uint32), ends, sizes), None),
        None,
        sampled_words,
    )
    optimizer = OptimizerConfig(discriminative_factor=1.0)
    return task, TrainingConfig(optimizer=optimizer, batch_size=batch_size)


def classifier_training(
    documents: Sequence[Ids],
    shape: EncoderConfig,
    device: torch.device,
    *,
    batch_size: int,
    bptt: int = 70,
) -> tuple[ClassificationTask, TrainingConfig]:
    """Return the training of a new classifier of two labels, unfrozen group by group."""
    network = ClassifierNetwork(shape, CLASSIFIER_DROPOUT, ClassifierHeadConfig(), 2).to(device)
    epochs = shape.layers + 2.0  # one for each group
    training = TrainingConfig(epochs=epochs, batch_size=batch_size, unfreezing="gradual")
    data = LabelledIds(documents, np.arange(len(documents)) % 2)
    settings = ClassifierStage(training=training, bptt=bptt)
    task = Task(labels=("a", "b"))
    return ClassificationTask(network, settings, MOST_CHUNKS, data, None, task), training
