"""From fastai's files to a model folder, and from a model folder to fastai's files or to ONNX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ulmfit.config.artefact import ArtefactConfig, Member, Task
from ulmfit.config.conversions import ConvertConfig
from ulmfit.config.model import Direction
from ulmfit.config.text import TokenizerConfig
from ulmfit.errors import ArtefactError, ConfigError
from ulmfit.interop.archives import is_archive, unpack
from ulmfit.interop.export import export_fastai
from ulmfit.interop.fastai import FastaiModel, read_fastai
from ulmfit.interop.sentencepiece import pieces_of, read_pieces, rows_of_pieces
from ulmfit.interop.vocabulary import MARKS_2018, our_words, read_vocabulary, rows_of
from ulmfit.models.folder import CONFIG, check_replaceable
from ulmfit.models.saving import save_model
from ulmfit.models.weights import prefixed
from ulmfit.text.tokenizer import Tokenizer

WEIGHTS, WORDS = (".pth", ".h5"), (".pkl", ".json", ".txt")
"""Endings of the files in an archive."""


@dataclass(frozen=True)
class Source:
    """A file of weights, and the vocabulary that came with it."""

    weights: Path
    vocabulary: Path | None
    name: str
    """As the user gave it; tells the direction, perhaps."""


def convert(config: ConvertConfig, *, quiet: bool = False) -> Path:
    """Convert fastai's weights to a model folder, or such a folder to another form.

    Each source is a member of the folder: a language model, or a classifier with its labels.
    Returns the path of what was written.

    Raises `ArtefactError` for files that are damaged, hostile or not of fastai, `ConfigError` for
    a setting that is missing or does not fit them.
    """
    output = Path(config.output)
    if config.to != "onnx" and config.precision != "float32":
        raise ConfigError(
            f"setting 'precision': found '{config.precision}', which is of ONNX; leave it out, or "
            "give --to onnx"
        )
    if config.to != "ulmfit":
        _check_one_folder(config)
    if config.to == "fastai-2":
        return export_fastai(config.sources[0], output, overwrite=config.overwrite)
    if config.to == "onnx":
        return _to_onnx(config, output)
    check_replaceable(output.resolve(), config.overwrite)
    with TemporaryDirectory() as unpacked:
        sources = [
            _source(Path(path), Path(unpacked) / str(i) / Path(path).name)
            for i, path in enumerate(config.sources)
        ]
        words, labels = _vocabulary(config, sources)
        models = [read_fastai(source.weights) for source in sources]
        _check_alike(models, words)
        members = _members(config, sources)
        tokenizer, rows = _tokenizer(config, words)
        task, places = _task(config, models[0], labels)
        tensors: dict[str, Tensor] = {}
        for model, member in zip(models, members, strict=True):
            tensors |= prefixed(_own_weights(model, rows, places), member.prefix)
    artefact = ArtefactConfig(
        kind="language_model" if task is None else "text_classifier",
        tokenizer=tokenizer.config,
        encoder=replace(models[0].encoder, vocab_size=tokenizer.vocab_size),
        head=models[0].head,
        task=task,
        members=tuple(members),
        storage=config.storage,
        run={"convert": {"data": _described(config, sources, words)}},
    )
    save_model(output, artefact, tensors, tokenizer, overwrite=config.overwrite)
    return output


def _check_one_folder(config: ConvertConfig) -> None:
    """Refuse more than one source, and settings that tell what a model folder tells itself."""
    if len(config.sources) != 1:
        raise ConfigError(f"setting 'sources': give one model folder to convert to {config.to}")
    unset = ConvertConfig(sources=config.sources, output=config.output)
    told = ("vocab", "direction", "labels", "task", "sentencepiece", "rules", "splitter")
    unused = ("storage", "precision") if config.to == "fastai-2" else ()
    for name in (*told, *unused):
        if (found := getattr(config, name)) != getattr(unset, name):
            reason = "a model folder tells that itself" if name in told else "it is not for fastai"
            raise ConfigError(f"setting '{name}': found {found!r}, but {reason}; leave it out")


def _to_onnx(config: ConvertConfig, output: Path) -> Path:
    try:
        from ulmfit.interop.onnx import export_onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ConfigError(
            "setting 'to': onnx needs the package onnx; pip install onnx onnxruntime"
        ) from None
    return export_onnx(
        config.sources[0],
        output,
        storage=config.storage,
        precision=config.precision,
        overwrite=config.overwrite,
    )


def _source(path: Path, folder: Path) -> Source:
    """Return the weights at `path`, or those in the archive there, unpacked into `folder`."""
    if (path / CONFIG).is_file():
        raise ConfigError(
            f"setting 'sources': {path} is a model folder already; give --to onnx or --to fastai-2"
        )
    if not path.is_file():
        found = "no file" if path.exists() else "no such file"
        raise ArtefactError(f"{path}: {found}; check the path")
    if not is_archive(path):
        return Source(path, None, path.name)
    folder.mkdir(parents=True)
    files = unpack(path, folder)
    weights = [file for file in files if file.suffix in WEIGHTS]
    words = [file for file in files if file.suffix in WORDS]
    if len(weights) != 1 or len(words) > 1:
        raise ArtefactError(
            f"{path}: has {len(weights)} files of weights and {len(words)} vocabularies, not one "
            "of each; unpack it and give the files"
        )
    return Source(weights[0], words[0] if words else None, f"{path.name}/{weights[0].name}")


def _vocabulary(config: ConvertConfig, sources: Sequence[Source]) -> tuple[list[str], list[str]]:
    """Return the words, which all sources share, and the labels that stand with them, if any."""
    given = [Path(config.vocab)] if config.vocab is not None else []
    paths = given or [source.vocabulary for source in sources if source.vocabulary is not None]
    if not paths and config.sentencepiece is not None:
        return pieces_of(Path(config.sentencepiece)), []
    if not paths:
        raise ConfigError("setting 'vocab': missing; give the vocabulary that the weights go with")
    words, labels = read_vocabulary(paths[0])
    for path in paths[1:]:
        if read_vocabulary(path)[0] != words:
            raise ArtefactError(
                f"{path.name}: not the same words as in {paths[0].name}; convert these models to "
                "a folder each"
            )
    return words, labels


def _check_alike(models: Sequence[FastaiModel], words: Sequence[str]) -> None:
    first = models[0]
    for model in models:
        if model.encoder.vocab_size != len(words):
            raise ArtefactError(
                f"{model.path.name}: the embedding has {model.encoder.vocab_size:,} rows and the "
                f"vocabulary {len(words):,} words; give the vocabulary that goes with it"
            )
        shape = (model.encoder, model.head, model.classes)
        if shape != (first.encoder, first.head, first.classes):
            raise ArtefactError(
                f"{model.path.name}: of another kind or shape than {first.path.name}; convert "
                "these models to a folder each"
            )


def _members(config: ConvertConfig, sources: Sequence[Source]) -> list[Member]:
    """Return the members, one a source, each with its direction."""
    directions = [config.direction or _direction_in(source.name) for source in sources]
    members = []
    for source, direction in zip(sources, directions, strict=True):
        if direction is None:
            raise ConfigError(
                f"setting 'direction': missing, and the name '{source.name}' does not tell whether "
                "it reads forward or backward"
            )
        if directions.count(direction) > 1:
            raise ConfigError(
                f"setting 'sources': two of them read {direction}; give one of each direction"
            )
        members.append(Member(direction=direction, prefix=direction, begin_mark="last"))
    return members


def _direction_in(name: str) -> Direction | None:
    """Return the direction that a name like `lstm_bwd.pth` tells of."""
    words = re.split(r"[^a-z]+", name.lower())
    forward = {"fwd", "forward", "forwards"} & {*words}
    backward = {"bwd", "backward", "backwards"} & {*words}
    if forward and not backward:
        return "forward"
    return "backward" if backward and not forward else None


def _tokenizer(config: ConvertConfig, words: Sequence[str]) -> tuple[Tokenizer, np.ndarray]:
    """Return the tokenizer, and the row [vocab] that each of its words has among `words`."""
    rules = config.rules
    if rules == "auto":
        rules = "fastai-2018" if MARKS_2018 & {*words} else "fastai-2"
    if config.sentencepiece is not None:
        tokenizer = read_pieces(Path(config.sentencepiece), rules)
        return tokenizer, rows_of_pieces(tokenizer, words)
    own = our_words(words)
    settings = TokenizerConfig(
        kind="word", vocab_size=len(own), min_frequency=1, rules=rules, splitter=config.splitter
    )
    return Tokenizer.from_words(own, settings), rows_of(own, words)


def _task(
    config: ConvertConfig, model: FastaiModel, labels: Sequence[str]
) -> tuple[Task | None, np.ndarray]:
    """Return the task of a classifier, and the place that each of its labels, sorted, had."""
    if model.head is None:
        if config.labels:
            raise ConfigError(
                f"setting 'labels': given, but {model.path.name} holds no classifier, whose "
                "labels they could be; leave them out"
            )
        return None, np.empty(0, dtype=np.int64)
    labels = config.labels or labels
    if len({*labels}) < len(labels) or "" in labels:
        raise ConfigError(
            f"setting 'labels': one of {', '.join(map(repr, labels[:10]))} is empty or stands in "
            "them twice; give each its own name"
        )
    if len(labels) != model.classes:
        raise ConfigError(
            f"setting 'labels': {len(labels)} labels ({', '.join(labels[:10])}), but the "
            f"classifier has {model.classes} classes; give one for each, in the order of fastai's "
            "`dls.vocab`"
        )
    if config.task == "single_label" and len(labels) < 2:
        raise ConfigError(
            f"setting 'task': found 'single_label', but the classifier has the one label "
            f"{labels[0]!r}; give --task multi_label if documents have it or not; a model of "
            "numbers is not converted"
        )
    places = np.argsort(np.array(labels, dtype=object))
    return Task(kind=config.task, labels=tuple(sorted(labels))), places


def _own_weights(model: FastaiModel, rows: np.ndarray, places: np.ndarray) -> dict[str, Tensor]:
    """Return the weights of a model, its words and its labels in our order."""
    tensors = model.read(rows)
    if model.head is None:
        return tensors
    last = f"head.blocks.{len(model.head.hidden_sizes)}.2"
    for name in (f"{last}.weight", f"{last}.bias"):
        tensors[name] = tensors[name][torch.from_numpy(places)]
    return tensors


def _described(config: ConvertConfig, sources: Sequence[Source], words: Sequence[str]) -> list[Any]:
    given = config.vocab or config.sentencepiece
    vocabulary = Path(given).name if given else "in the archive"
    lines = [f"weights of fastai: {source.name}" for source in sources]
    return [*lines, f"vocabulary: {vocabulary}, {len(words):,} words"]
