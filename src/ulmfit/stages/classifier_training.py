"""Stage 3 of all directions: from fine-tuned language models to a classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ulmfit.config.artefact import Task
from ulmfit.config.stages import ClassifierStage
from ulmfit.data.documents import in_order
from ulmfit.data.sources import Document
from ulmfit.data.targets import targets_of
from ulmfit.models.language_model import LanguageModel
from ulmfit.models.networks import ClassifierNetwork
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.stages.classification import ClassificationTask, LabelledIds
from ulmfit.stages.machine import Machine, chunks_in_memory
from ulmfit.stages.part import train_part
from ulmfit.stages.run_folder import RunFolder

MakeDocuments = Callable[[], Sequence[Document]]
"""Gives documents when they are needed: not if a resumed run has learned them already."""


SEEDS_OF_A_TEACHER = 1_000
"""From one teacher's seed to the next one's; rounds of self-training take those between."""


@dataclass(frozen=True)
class LabelledData:
    """The labelled documents, split, and what they ask for."""

    training: Sequence[Document]
    validation: Sequence[Document]
    task: Task


class ClassifierTraining:
    """What is trained, of which language models, in which run."""

    def __init__(
        self,
        run: RunFolder,
        models: Sequence[LanguageModel],
        settings: ClassifierStage,
        machine: Machine,
    ) -> None:
        """Begin from `models`, one a direction, on the machine's device."""
        self.run, self.models, self.settings, self.machine = run, models, settings, machine
        self.gradient_chunks = self._resolve_gradient_chunks()

    def train(self, data: LabelledData) -> tuple[TextClassifier, dict[str, Any]]:
        """Train a classifier of all directions; return it and the results of each."""
        return self._train(self.settings, data, lambda: data.training, "")

    def task_of(self, model: LanguageModel, data: LabelledData) -> ClassificationTask:
        """Return what the loop would train the classifier of one of the models on."""
        torch.manual_seed(self.settings.training.seed)
        network = self._network(model, self.settings, data.task)
        return self._task(network, model, self.settings, data, data.training)

    def other_seeds(
        self, data: LabelledData, count: int
    ) -> tuple[list[TextClassifier], dict[str, Any]]:
        """Train `count` classifiers more, each from a seed of its own; return them and results."""
        classifiers: list[TextClassifier] = []
        results: dict[str, Any] = {}
        for number in range(1, count + 1):
            settings = self._reseeded(SEEDS_OF_A_TEACHER * number)
            suffix = f".teacher_{number + 1}"
            classifier, found = self._train(settings, data, lambda: data.training, suffix)
            classifiers.append(classifier)
            results |= found
        return classifiers, results

    def train_again(
        self, data: LabelledData, further: MakeDocuments, number: int, epochs: float
    ) -> tuple[TextClassifier, dict[str, Any]]:
        """Train anew on `further` documents too: round `number`, from 1, with draws of its own."""
        settings = self._reseeded(number, epochs=epochs)
        return self._train(
            settings, data, lambda: [*of_mean_weight_one(data.training), *further()], f".{number}"
        )

    def _train(
        self, settings: ClassifierStage, data: LabelledData, training: MakeDocuments, suffix: str
    ) -> tuple[TextClassifier, dict[str, Any]]:
        members, results = [], {}
        for model in self.models:
            part = f"classifier.{model.member.direction}{suffix}"
            network, found = self._train_direction(model, settings, data, training, part)
            members.append(ClassifierMember(model.member, network))
            results[part.replace(".", ", ")] = found
        tokenizer, head, bptt = self.models[0].tokenizer, settings.head, settings.bptt
        return TextClassifier(members, tokenizer, data.task, head=head, bptt=bptt), results

    def _reseeded(self, further: int, **training: Any) -> ClassifierStage:
        """Return the settings with a seed that is so much further, and other changes."""
        own = self.settings.training
        return replace(self.settings, training=replace(own, seed=own.seed + further, **training))

    def _train_direction(
        self,
        model: LanguageModel,
        settings: ClassifierStage,
        data: LabelledData,
        training: MakeDocuments,
        part: str,
    ) -> tuple[ClassifierNetwork, dict[str, Any]]:
        """Train the classifier of one direction from its language model."""
        torch.manual_seed(settings.training.seed)
        network = self._network(model, settings, data.task)

        def task() -> ClassificationTask:
            return self._task(network, model, settings, data, training())

        precision = self.machine.precision
        results = train_part(self.run, part, network, task, settings.training, precision)
        return network, results

    def _network(
        self, model: LanguageModel, settings: ClassifierStage, task: Task
    ) -> ClassifierNetwork:
        """Return the model's encoder under a new head."""
        dropout = settings.dropout.scaled(settings.dropout_multiplier)
        network = ClassifierNetwork(model.config, dropout, settings.head, task.outputs)
        network.encoder.load_state_dict(model.network.encoder.state_dict())
        return network.to(model.device)

    def _task(
        self,
        network: ClassifierNetwork,
        model: LanguageModel,
        settings: ClassifierStage,
        data: LabelledData,
        training: Sequence[Document],
    ) -> ClassificationTask:
        return ClassificationTask(
            network,
            settings,
            self.gradient_chunks,
            _labelled_ids(training, data.task, model),
            _labelled_ids(data.validation, data.task, model),
            data.task,
        )

    def _resolve_gradient_chunks(self) -> int:
        """Return how many last chunks of a document get gradients, the same when resumed."""
        settings = self.settings
        if settings.gradient_chunks != "auto":
            return settings.gradient_chunks
        at_hand = chunks_in_memory(
            self.models[0].config,
            settings.training.batch_size,
            settings.bptt,
            self.machine.device,
        )
        chunks: int = self.run.resolve_once("gradient_chunks", lambda: at_hand)
        return chunks


def of_mean_weight_one(documents: Sequence[Document]) -> list[Document]:
    """Return the documents, their weights divided by the mean of all."""
    mean = sum(document.weight for document in documents) / len(documents)
    return [replace(document, weight=document.weight / mean) for document in documents]


def _labelled_ids(documents: Sequence[Document], task: Task, model: LanguageModel) -> LabelledIds:
    """Return documents as ids in the model's order, with what is true of them."""
    ids = model.tokenizer.encode_batch([document.text for document in documents])
    weights = np.array([document.weight for document in documents])
    return LabelledIds(
        in_order(ids, model.member),
        targets_of(documents, task),
        None if np.unique(weights).size < 2 else weights / weights.mean(),
    )
