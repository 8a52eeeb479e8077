"""A text classifier: one or more members whose answers are averaged, and a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ulmfit.config.artefact import ArtefactConfig, Member, Storage, Task
from ulmfit.config.model import ClassifierHeadConfig, Dropout
from ulmfit.data.documents import in_order
from ulmfit.errors import ArtefactError
from ulmfit.models.classifier import Classifier
from ulmfit.models.folder import load_whole, resolve
from ulmfit.models.networks import ClassifierNetwork, check_vocabulary
from ulmfit.models.reading import encode_documents, pool_documents
from ulmfit.models.saving import checked_storage, save_model
from ulmfit.models.weights import load_into, prefixed, restore
from ulmfit.nn.objectives import MultiLabel, Number, Objective, SingleLabel
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text, checked_texts
from ulmfit.training.device import Precision, resolve_device, resolve_precision

if TYPE_CHECKING:
    from ulmfit.explain.explanation import Explanation

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class ClassifierMember:
    """One classifier of the ensemble: which way it reads, and its network."""

    member: Member
    network: ClassifierNetwork


class TextClassifier(Classifier):
    """Classifiers of the same labels that share one tokenizer (Howard & Ruder 2018, section 3)."""

    def __init__(
        self,
        members: Sequence[ClassifierMember],
        tokenizer: Tokenizer,
        task: Task,
        *,
        head: ClassifierHeadConfig,
        bptt: int = 70,
        run: Mapping[str, Any] | None = None,
        precision: Precision = "float32",
    ) -> None:
        """Join the members.

        `run` is the record of how they were made; texts are read with products in `precision`.

        Raises `ArtefactError` if a member and the tokenizer differ in the size of the vocabulary.
        """
        for each in members:
            check_vocabulary(each.network.encoder, tokenizer)
        self.members, self.tokenizer, self.task = list(members), tokenizer, task
        self.head, self.bptt, self.precision = head, bptt, precision
        self.run: dict[str, Any] = dict(run or {})
        for member in self.members:
            member.network.eval()

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        precision: str = "float32",
    ) -> TextClassifier:
        """Load a classifier from a folder or a hub id. `device` may be `auto`: a GPU, if any.

        `precision` is that of the products with which texts are read: `float32`, in which a text's
        answers do not depend on the others; `bfloat16`, 1.5 to 1.9 times as fast on a processor
        that multiplies faster in it, with answers that differ from float32's by a thousandth, at
        most by 0.02 in 5,000 reviews, and by 0.004 with the texts beside it; `auto`, whichever is
        faster here.

        Raises `ArtefactError` if the folder is damaged or holds something else, `ConfigError` if
        there is no such device or precision.
        """
        folder, where = resolve(name, revision), resolve_device(device)
        arithmetic = resolve_precision(precision, where)
        return load_whole(folder, lambda config: cls._loaded(folder, config, where, arithmetic))

    @classmethod
    def _loaded(
        cls, folder: Path, config: ArtefactConfig, device: torch.device, precision: Precision
    ) -> TextClassifier:
        if config.kind == "onnx_classifier":
            raise ArtefactError(
                f"{folder}: a classifier in ONNX, which can only be asked; give the folder that it "
                "was converted from"
            )
        if config.kind != "text_classifier" or not (config.encoder and config.head and config.task):
            raise ArtefactError(f"{folder}: holds a {config.kind}, not a text classifier")
        tokenizer = Tokenizer.from_json((folder / "tokenizer.json").read_bytes(), config.tokenizer)
        tensors = restore(folder / "model.safetensors")
        members = []
        for member in config.members:
            outputs = config.task.outputs
            network = ClassifierNetwork(config.encoder, Dropout(), config.head, outputs)
            load_into(network, tensors, member.prefix)
            members.append(ClassifierMember(member, network.to(device)))
        return cls(
            members,
            tokenizer,
            config.task,
            head=config.head,
            bptt=config.bptt,
            run=dict(config.run),
            precision=precision,
        )

    @property
    def shares(self) -> list[float]:
        """The members' weights in the average."""
        return [each.member.weight for each in self.members]

    def save_pretrained(
        self, folder: str | Path, *, storage: Storage = "float32", overwrite: bool = False
    ) -> None:
        """Write the classifier as a folder.

        Raises `ArtefactError` if it cannot be written, `ConfigError` if there is no such storage.
        """
        tensors: dict[str, Tensor] = {}
        for each in self.members:
            tensors |= prefixed(each.network.state_dict(), each.member.prefix)
        save_model(folder, self.artefact(storage), tensors, self.tokenizer, overwrite=overwrite)

    def artefact(self, storage: Storage) -> ArtefactConfig:
        """Return what `config.json` tells of the classifier, its matrices stored so."""
        return ArtefactConfig(
            kind="text_classifier",
            tokenizer=self.tokenizer.config,
            encoder=self.members[0].network.encoder.config,
            head=self.head,
            bptt=self.bptt,
            task=self.task,
            members=tuple(each.member for each in self.members),
            storage=checked_storage(storage),
            run=self.run,
        )

    def answers_by_member(
        self, documents: Sequence[Ids], token_budget: int
    ) -> list[NDArray[np.float32]]:
        """Return each member's own answers [documents, outputs] to ids in forward order."""
        objective = answering(self.task)
        return [
            member_answers(
                each.network,
                objective,
                in_order(documents, each.member),
                token_budget,
                self.precision,
            )
            for each in self.members
        ]

    def explain(
        self,
        text: Text,
        *,
        method: Literal["integrated_gradients", "occlusion"] = "integrated_gradients",
        labels: Sequence[str] | None = None,
    ) -> Explanation:
        """Return what each word contributes to the answers; see `explain.explanation.explain`."""
        from ulmfit.explain.explanation import explain

        return explain(self, text, method=method, labels=labels)

    def encode(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Return document vectors [texts, members * 3 * embedding size]: the pooled outputs."""
        ids = self.tokenizer.encode_batch(list(checked_texts(texts)))
        vectors = [
            encode_documents(
                each.network.encoder,
                in_order(ids, each.member),
                precision=self.precision,
            )
            for each in self.members
        ]
        return np.concatenate(vectors, axis=1)


def answering(task: Task) -> Objective:
    """Return how the answers to `task` are made of a network's outputs."""
    if task.range is not None:
        return Number(*task.range)
    return SingleLabel() if task.kind == "single_label" else MultiLabel()


@torch.no_grad()
def member_answers(
    network: ClassifierNetwork,
    objective: Objective,
    documents: Sequence[Ids],
    token_budget: int,
    precision: Precision = "float32",
) -> NDArray[np.float32]:
    """Return a network's answers [documents, outputs] of ids in the order it reads them."""
    network.eval()
    result = np.empty((len(documents), network.outputs), dtype=np.float32)
    encoder = network.encoder
    for indices, pooled in pool_documents(encoder, documents, token_budget, precision):
        result[indices] = objective.answers(network(pooled)).cpu().numpy()
    return result
