"""Stage 3: a fine-tuned encoder and a new head learn the labels (section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ulmfit.config.artefact import Task
from ulmfit.config.stages import OF_LABELS, ClassifierStage
from ulmfit.data.documents import TOKEN_BUDGET, bptt_batch, training_batches
from ulmfit.data.lanes import draw_lengths
from ulmfit.data.targets import Targets, dense, label_counts
from ulmfit.errors import ConfigError
from ulmfit.models.networks import ClassifierNetwork
from ulmfit.models.reading import chunk_tensors, chunk_tokens
from ulmfit.models.text_classifier import answering, member_answers
from ulmfit.nn.objectives import MultiLabel, Objective, SingleLabel
from ulmfit.nn.text_reader import read_document_batch
from ulmfit.training import processes
from ulmfit.training.loop import StepLoss
from ulmfit.training.scores import scores_for

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledIds:
    """Documents as ids, in the order the member reads them, with what is true of them."""

    documents: Sequence[Ids]
    targets: Targets

    weights: NDArray[np.float64] | None = None
    """[documents], of mean 1; None: all 1."""

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.documents)


@dataclass(frozen=True)
class DocumentBatch:
    """The documents of a training batch, and the tokens by which their window is counted."""

    indices: Ids
    bptt: int


class ClassificationTask:
    """Predict what whole documents are labelled with, read chunk by chunk (BPT3C)."""

    def __init__(
        self,
        network: ClassifierNetwork,
        settings: ClassifierStage,
        gradient_chunks: int,
        training: LabelledIds,
        validation: LabelledIds | None,
        task: Task,
    ) -> None:
        """Train `network` on `training`; gradients flow into the last `gradient_chunks` chunks."""
        self.module: nn.Module = network
        self.network, self.settings = network, settings
        self.gradient_chunks = gradient_chunks
        self.training, self.validation = training, validation
        self.device = network.encoder.embedding.weight.device
        self.task = task
        weights = class_weights(settings.class_weights, training.targets, task)
        self.objective = objective_of(task, settings, weights)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return the network's layer groups, lowest first."""
        return self.network.layer_groups()

    def batch_count(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return len(self._epoch(epoch))

    def batches(self, epoch: int, start: int) -> Iterator[DocumentBatch]:
        """Yield the batches of an epoch from number `start`."""
        settings = self.settings
        for number, indices in enumerate(self._epoch(epoch)):
            if number >= start:
                rng = np.random.default_rng([settings.training.seed, epoch, number])
                drawn = int(draw_lengths(rng, settings.bptt, 1)[0])
                bptt = drawn if settings.variable_bptt else settings.bptt
                yield DocumentBatch(indices, bptt)

    def loss(self, batch: DocumentBatch) -> StepLoss:
        """Return the mean loss of a batch of documents.

        Several processes read their share of the documents each; all see the joint batch in the
        head, batch normalization included, and the losses add up to the joint one.
        """
        indices = sorted(batch.indices, key=lambda i: -len(self.training.documents[i]))
        documents = [self.training.documents[i] for i in indices]
        pooled = self._pooled(documents, batch.bptt)
        targets = self._tensor(dense(self.training.targets[indices]))
        weights = self.training.weights
        loss = self.objective.loss(
            self.network(pooled),
            targets,
            None if weights is None else self._tensor(weights[indices]),
        )
        return StepLoss(loss / processes.count(), sum(map(len, documents)))

    def evaluate(self) -> dict[str, float]:
        """Return the measures of the task on the validation documents."""
        if self.validation is None or len(self.validation) == 0:
            return {}
        documents = self.validation.documents
        turns = processes.own_turns(len(documents))
        own = member_answers(self.network, self.objective, documents[turns], TOKEN_BUDGET)
        joint = processes.joint_rows(torch.from_numpy(own), turns, len(documents))
        scores = scores_for(self.task)
        scores.add(self.validation.targets, joint.numpy())
        return scores.results()

    def criterion(self, metrics: dict[str, float]) -> float:
        """Return the metric asked for, turned so that lower is better."""
        metric = self.settings.metric
        return metrics["loss"] if metric == "loss" else -metrics[metric]

    def carried(self) -> dict[str, Tensor]:
        """Return nothing: each document starts afresh."""
        return {}

    def carry(self, tensors: dict[str, Tensor]) -> None:
        """Take up nothing."""

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        """Return values on the device, fractions in float32: some GPUs have no float64."""
        tensor = torch.from_numpy(values)
        return (tensor.float() if tensor.is_floating_point() else tensor).to(self.device)

    def _pooled(self, documents: list[Ids], bptt: int) -> Tensor:
        """Return the pooled outputs [documents, 3 * features]; the longest document comes first."""
        encoder = self.network.encoder
        turns = processes.own_turns(len(documents))
        own = documents[turns]
        masks = encoder.draw_masks(len(documents))
        if not own:
            nothing = encoder.embedding.weight.new_zeros(0, 3 * encoder.config.embedding_size)
            # With gradients, as the others' have them where the encoder alone learns.
            return processes.joint_rows(nothing.requires_grad_(), turns, len(documents))
        chunked = bptt_batch(own, self.gradient_chunks * bptt, chunk_tokens(self.device))
        pooled = read_document_batch(
            encoder,
            chunk_tensors(chunked, self.device),
            count=chunked.count,
            batch_size=len(own),
            gradient_chunks=chunked.window_count,
            masks=None if masks is None else masks.rows(turns),
        )
        return processes.joint_rows(pooled, turns, len(documents))

    def _epoch(self, epoch: int) -> list[Ids]:
        lengths = [len(document) for document in self.training.documents]
        rng = np.random.default_rng([self.settings.training.seed, epoch])
        return training_batches(lengths, self.settings.training.batch_size, rng)


def objective_of(task: Task, settings: ClassifierStage, weights: Tensor | None = None) -> Objective:
    """Return what is learned for `task`, with the `weights` of the labels, if any.

    Raises `ConfigError` for a setting that has no meaning for a number.
    """
    if task.kind != "number":
        kind = SingleLabel if task.kind == "single_label" else MultiLabel
        return kind(weights, settings.label_smoothing, settings.focal_gamma)
    default = ClassifierStage()
    for name in OF_LABELS:
        found, neutral = getattr(settings, name), getattr(default, name)
        if found != neutral:
            raise ConfigError(
                f"setting 'classifier.{name}': found {found!r}, but the documents are labelled "
                f"with numbers; leave it out or, if a recipe set it, give {neutral!r}"
            )
    return answering(task)


def class_weights(setting: dict[str, float] | str, targets: Targets, task: Task) -> Tensor | None:
    """Return the weight of each label [labels] in the loss, or None.

    `balanced`: documents / (classes * documents of the class), as scikit-learn has it; of several
    labels, documents without the label / documents with it.

    Raises `ConfigError` for a weight of an unknown label, or one that is not above 0.
    """
    if setting == "none" or task.kind == "number":
        return None
    labels = task.labels
    if isinstance(setting, str):
        counts = np.maximum(label_counts(targets, len(labels)), 1)
        documents = targets.shape[0]
        if task.kind == "multi_label":
            return torch.from_numpy(np.maximum(documents - counts, 1) / counts).float()
        return torch.from_numpy(documents / (len(labels) * counts)).float()
    for name, weight in setting.items():
        if weight <= 0:
            raise ConfigError(
                f"setting 'classifier.class_weights': label '{name}' has weight {weight}; "
                "give one above 0"
            )
        if name not in labels:
            raise ConfigError(
                f"setting 'classifier.class_weights': label '{name}' is none of the training "
                f"data's; its labels are {', '.join(labels[:20])}"
            )
    return torch.tensor([setting.get(label, 1.0) for label in labels])
