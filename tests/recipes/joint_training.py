"""Train a tiny network in float64, in one process or several, and write what came out.

Started by `test_processes.py`, alone or by torchrun: `joint_training.py FOLDER`, or, to train a
language model alone with checkpoints, `joint_training.py FOLDER CHECKPOINT [STOP]`; with STOP,
every process dies after so many batches.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch

from ulmfit.config.artefact import Member, Task
from ulmfit.config.data import LanesConfig
from ulmfit.config.model import ClassifierHeadConfig, Dropout, EncoderConfig
from ulmfit.config.stages import ClassifierStage, RegularizationConfig
from ulmfit.config.training import OptimizerConfig, TrainingConfig
from ulmfit.data.token_store import TokenStore
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.stages.classification import ClassificationTask, LabelledIds
from ulmfit.stages.language_modelling import LanguageModelTask
from ulmfit.training import loop, processes
from ulmfit.training.checkpoint import save_checkpoint
from ulmfit.training.log import RunLog

SHAPE = EncoderConfig(vocab_size=60, embedding_size=6, hidden_size=8, layers=3)
HEAD = ClassifierHeadConfig(hidden_sizes=(5,), dropout=0.1)
DROPOUTS = {
    "some": Dropout(embedding=0.1, input=0.3, hidden=0.2, weight=0.3, output=0.2),
    "none": Dropout(embedding=0, input=0, hidden=0, weight=0, output=0),
}


def documents(count: int, longest: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.append(2, rng.integers(8, 60, rng.integers(1, longest))) for _ in range(count)]


def store(count: int) -> TokenStore:
    texts = documents(count, 30)
    starts = np.cumsum([0, *map(len, texts)])
    return TokenStore(np.concatenate(texts), starts, np.ones((count, 2), dtype=np.int64))


def language_model_task(dropout: Dropout, training: TrainingConfig) -> LanguageModelTask:
    return LanguageModelTask(
        LanguageModelNetwork(SHAPE, dropout).double(),
        Member(direction="backward", prefix="backward"),
        LanesConfig(bptt=10),
        RegularizationConfig(),
        training.batch_size,
        seed=0,
        training=(store(200), None),
        validation=(store(11), None),
        sampled_words=40,
    )


def classification_task(dropout: Dropout, training: TrainingConfig) -> ClassificationTask:
    network = ClassifierNetwork(SHAPE, dropout, HEAD, outputs=3)
    texts, labels = documents(62, 50), np.arange(62) % 3
    return ClassificationTask(
        network.double(),
        ClassifierStage(bptt=10, class_weights="balanced", training=training),
        gradient_chunks=2,
        training=LabelledIds(texts[:51], labels[:51]),
        validation=LabelledIds(texts[51:], labels[51:]),
        task=Task(labels=("a", "b", "c")),
    )


def train(kind: str, dropout: str, output: Path, checkpoint: Path | None, stop: int) -> None:
    """Train for some 50 batches; the first process writes weights, losses and results."""
    torch.manual_seed(1 + processes.rank())  # the weights are to be the first one's
    optimizer = OptimizerConfig(learning_rate=1e-2)
    task: LanguageModelTask | ClassificationTask
    if kind == "language-model":
        training = TrainingConfig(
            epochs=1.5, batch_size=6, optimizer=optimizer, checkpoint_steps=7, accumulation=2
        )
        task = language_model_task(DROPOUTS[dropout], training)
    else:
        training = TrainingConfig(
            epochs=6.5, batch_size=7, optimizer=optimizer, unfreezing="gradual"
        )
        task = classification_task(DROPOUTS[dropout], training)
    torch.manual_seed(5)
    losses = note_losses(stop)
    log = RunLog(None, quiet=True)
    results = loop.train(
        task, training, title=kind, precision="float32", log=log, checkpoint=checkpoint
    )
    if processes.is_first():
        kept = {"losses": losses, "history": results["history"]}
        save_checkpoint(output / f"{kind}-{dropout}", task.module.state_dict(), kept)


def note_losses(stop: int) -> list[float]:
    """Return the list that the loop's losses go to; after `stop` of them the process dies."""
    losses: list[float] = []

    def noted(run: loop.TrainingRun, loss: float) -> None:
        losses.append(loss)
        if len(losses) == stop:
            os._exit(9)

    loop.TrainingRun.follow_loss = noted  # type: ignore[method-assign, assignment]
    return losses


def main(output: str, checkpoint: str = "", stop: str = "0") -> None:
    """Train all, or a language model with checkpoints."""
    torch.set_num_threads(1)
    with processes.joined():
        if checkpoint:
            train("language-model", "some", Path(output), Path(checkpoint), int(stop))
            return
        for kind in ("language-model", "classifier"):
            for dropout in DROPOUTS:
                train(kind, dropout, Path(output), None, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(0)  # as `python -m ulmfit` ends
