"""Files of weights that fastai saved, read as the weights of our networks.

Weights are matched by name and shape, never by position; what is missing, not expected or of
another shape is listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from ulmfit.config.model import ClassifierHeadConfig, Dropout, EncoderConfig
from ulmfit.errors import ArtefactError
from ulmfit.interop.fastai_names import (
    TIED,
    as_fastai_2,
    from_fastai_2,
    in_blocks,
    is_copy,
    is_quasi_recurrent,
    to_fastai_2,
)
from ulmfit.interop.torch_files import StoredTensor, read_torch_file
from ulmfit.interop.vocabulary import moved_rows
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.models.weights import is_finite

EMBEDDING, DECODER_BIAS = "encoder.embedding.weight", "head.bias"
"""Our tensors with a row for each word."""

LEFT_OUT = re.compile(r"head\.bias|head\.blocks\.\d+\.2\.bias|.+\.num_batches_tracked")
"""Our tensors that a file may lack: zeros take their place."""

HEAD_WEIGHT = re.compile(r"head\.blocks\.(\d{1,3})\.2\.weight")
"""Our matrices of a classifier's head, and which block each is of."""


@dataclass(frozen=True)
class FastaiModel:
    """A model in a file of fastai, its weights not read yet."""

    path: Path
    encoder: EncoderConfig
    head: ClassifierHeadConfig | None
    """Of a classifier."""

    classes: int
    """Of a classifier; otherwise 0."""

    stored: Mapping[str, StoredTensor]
    """By our names."""

    def read(self, rows: NDArray[np.int64] | None = None) -> dict[str, Tensor]:
        """Return the weights in float32, integers as they are, by our names.

        With `rows` [new], those of words are moved to a new vocabulary: see `moved_rows`. What
        fastai leaves out is added: biases of zeros.

        Raises `ArtefactError` for weights that are damaged or not finite.
        """
        with torch.device("meta"):
            wanted = self._network().state_dict()
        tensors: dict[str, Tensor] = {}
        for name, like in wanted.items():
            blocks = (
                self._blocks(name, like.is_floating_point())
                if name in self.stored
                else iter([torch.zeros(like.shape)])
            )
            if rows is not None and name in (EMBEDDING, DECODER_BIAS):
                tensors[name] = moved_rows(blocks, rows)
            else:
                tensors[name] = torch.cat(list(blocks)) if like.ndim else next(blocks)
        return tensors

    def _blocks(self, name: str, fractions: bool) -> Iterator[Tensor]:
        """Yield the rows of a tensor, some at a time: of weights, or of counts."""
        stored = self.stored[name]
        if stored.storage.dtype.is_floating_point != fractions:
            kind = str(stored.storage.dtype).removeprefix("torch.")
            raise ArtefactError(
                f"{self.path}: '{to_fastai_2(name)}' holds numbers of the type {kind}; "
                "get another file"
            )
        for block in stored.blocks() if stored.shape else [stored.read()]:
            if not fractions:
                yield block
                continue
            if not is_finite(block):
                raise ArtefactError(
                    f"{self.path}: '{to_fastai_2(name)}' holds NaN or infinite weights; "
                    "get another file"
                )
            if name.endswith("running_var") and bool((block < 0).any()):
                raise ArtefactError(
                    f"{self.path}: '{to_fastai_2(name)}' holds variances below 0; get another file"
                )
            yield block.to(torch.float32)

    def _network(self) -> nn.Module:
        if self.head is None:
            return LanguageModelNetwork(self.encoder, Dropout())
        return ClassifierNetwork(self.encoder, Dropout(), self.head, self.classes)


def read_fastai(path: Path) -> FastaiModel:
    """Return the model in a file that fastai 1 or 2, or the scripts of 2018, saved.

    A language model, with or without its optimiser; an encoder; a classifier.

    Raises `ArtefactError` if it is none of these, or lists what is missing, not expected, or of
    another shape than the rest of the file asks for.
    """
    content = read_torch_file(path)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, StoredTensor)
        for name, tensor in content.items()
    ):
        raise ArtefactError(f"{path}: holds no weights by name; give a file that fastai saved")
    blocks = in_blocks(content)
    given = {as_fastai_2(blocks.get(name) or name): tensor for name, tensor in content.items()}
    _refuse_strangers(path, given)
    own = {from_fastai_2(name): tensor for name, tensor in given.items() if not is_copy(name)}
    model = _described(path, own)
    _check_tied(path, given)
    return model


def _refuse_strangers(path: Path, given: Mapping[str, Any]) -> None:
    """Refuse what is no AWD-LSTM, by its first name that tells."""
    for name in given:
        if is_quasi_recurrent(name):
            raise ArtefactError(f"{path}: '{name}': a QRNN; only models of LSTMs can be converted")
    if "0.encoder.weight" not in given:
        first = ", ".join(f"'{name}'" for name in list(given)[:3])
        raise ArtefactError(
            f"{path}: no AWD-LSTM of fastai: no embedding, its first weights are {first}; give a "
            "language model, an encoder or a text classifier"
        )


def _described(path: Path, stored: Mapping[str, StoredTensor]) -> FastaiModel:
    """Return the model that the shapes tell of, once all of them agree."""
    vocab_size, embedding_size = _shape(path, stored, EMBEDDING, 2)
    layers = len(
        [name for name in stored if re.fullmatch(r"encoder\.layers\.\d+\.weight_hh", name)]
    )
    if layers == 0:
        raise ArtefactError(f"{path}: an embedding without LSTMs; give a whole encoder")
    hidden_size = _shape(path, stored, "encoder.layers.0.weight_hh", 2)[1]
    blocks = [found for name in stored if (found := HEAD_WEIGHT.fullmatch(name))]
    in_order = sorted(blocks, key=lambda found: int(found[1]))
    outputs = [_shape(path, stored, found[0], 2)[0] for found in in_order]
    try:
        encoder = EncoderConfig(
            vocab_size=vocab_size,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            layers=layers,
        )
        head = ClassifierHeadConfig(hidden_sizes=tuple(outputs[:-1])) if outputs else None
    except ValidationError:
        raise ArtefactError(
            f"{path}: {vocab_size:,} words, {embedding_size:,} and {hidden_size:,} features: no "
            "such model can be; get another file"
        ) from None
    model = FastaiModel(path, encoder, head, outputs[-1] if outputs else 0, stored)
    _check_shapes(model)
    return model


def _shape(path: Path, stored: Mapping[str, StoredTensor], name: str, rank: int) -> tuple[int, ...]:
    if name not in stored or len(stored[name].shape) != rank:
        raise ArtefactError(f"{path}: no matrix '{to_fastai_2(name)}'; give a whole model")
    return stored[name].shape


def _check_shapes(model: FastaiModel) -> None:
    """Refuse a file whose tensors are not those of one network."""
    with torch.device("meta"):
        wanted = {n: tuple(t.shape) for n, t in model._network().state_dict().items()}
    found = {name: tensor.shape for name, tensor in model.stored.items()}
    faults = [
        f"missing '{to_fastai_2(name)}'"
        for name in wanted
        if name not in found and not LEFT_OUT.fullmatch(name)
    ]
    faults += [f"not expected '{to_fastai_2(name)}'" for name in found if name not in wanted]
    faults += [
        f"'{to_fastai_2(name)}' is {list(found[name])}, expected {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    if faults:
        raise ArtefactError(
            f"{model.path}: not the weights of one AWD-LSTM: {'; '.join(faults)}; get another file"
        )


def _check_tied(path: Path, given: Mapping[str, StoredTensor]) -> None:
    """Refuse other matrices under the embedding's other names: nothing is dropped unseen."""
    embedding = given["0.encoder.weight"]
    for name in TIED:
        other = given.get(name)
        if other is None or other == embedding:
            continue
        same = other.shape == embedding.shape and torch.equal(other.read(), embedding.read())
        # A copy with NaN equals nothing: that is told where the embedding's rows are read.
        if not same and embedding.read().isfinite().all():
            raise ArtefactError(
                f"{path}: '{name}' is not the embedding's matrix; a model whose decoder is not "
                "tied to its embedding cannot be converted"
            )
