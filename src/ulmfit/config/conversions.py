"""Settings of the commands that make one model of others, without training."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from ulmfit.config.artefact import OnnxPrecision, Storage
from ulmfit.config.data import Name, ReadingConfig
from ulmfit.config.model import Direction
from ulmfit.config.settings import settings
from ulmfit.config.stages import CalibrationConfig, Directions, Files, OutputConfig
from ulmfit.config.text import RuleSet, TokenizerConfig


@settings
class TransferConfig(OutputConfig):
    """Give a pretrained language model the vocabulary of the target text, before stage 2."""

    pretrained: Name = "wikipedia-en-small"
    """Folder, shipped name, or hub id of the language model."""

    directions: Directions = "both"
    """Which of its members."""

    texts: Files
    """Files of the target text; labels, if any, are not looked at."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where the text stands in the files."""

    tokenizer_folder: str | None = None
    """A folder whose tokenizer to use; without it, one is trained on the text."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """The tokenizer to train."""

    storage: Storage = "float32"
    """How the finished folder stores its matrices."""


@settings
class JoinConfig:
    """Make one model of several: directions trained side by side, or seeds to average."""

    models: tuple[Name, ...]
    """Folders or hub ids: language models, or classifiers of the same labels, that have a
    tokenizer and a shape in common."""

    output: Name
    """Folder to write. A language model's first member of a direction is the one that is used."""

    storage: Storage | None = None
    """How matrices are stored; without it, as the first model does."""

    overwrite: bool = False
    """Replace a model folder at `output`."""


@settings
class CalibrateConfig:
    """Fit a classifier's temperature and thresholds to documents it was not trained on."""

    model: Name
    """Folder or hub id of a classifier."""

    data: Name
    """Labelled documents, none of which it was trained on."""

    output: Name
    """Folder to write: the same classifier, calibrated."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where text and labels stand in the file."""

    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    """What is fitted."""

    overwrite: bool = False
    """Replace a model folder at `output`; it may be `model` itself."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `mps`."""


@settings
class ConvertConfig:
    """Turn models of fastai into a model folder, or such a folder into fastai's files or ONNX."""

    sources: Files
    """Files of weights that fastai saved, or archives of them (`.tgz`), one for each direction;
    with `to`, a model folder or hub id. May be given without `--sources`, in front."""

    output: Name
    """Folder to write."""

    vocab: Name | None = None
    """The words that the weights go with: a pickled or JSON list, or a text file with a word a
    line. An archive may hold it."""

    direction: Direction | None = None
    """Which way the source reads, where its name does not tell (`fwd`, `bwd`)."""

    labels: tuple[str, ...] = ()
    """Classes of a classifier, in the order of fastai's `dls.vocab`."""

    task: Literal["single_label", "multi_label"] = "single_label"
    """What a classifier decides: one of the labels, or any of them, as behind fastai's
    `MultiCategoryBlock`."""

    sentencepiece: Name | None = None
    """The SentencePiece model (`spm.model`) that cut the text into the vocabulary's pieces. Its own
    pieces are the vocabulary where `vocab` is not given, as in fastai 1. Needs the extra
    `sentencepiece`."""

    rules: Literal["auto"] | RuleSet = "auto"
    """Text rules that new text goes through. `auto`: those of 2018 where the vocabulary has their
    marks, else fastai 2's."""

    splitter: Literal["spacy", "pattern"] = "spacy"
    """What finds the words of new text. `spacy`: spaCy, as in fastai; needs the extra `spacy`.
    `pattern`: a regular expression that splits alike, mostly. Not asked with `sentencepiece`."""

    to: Literal["ulmfit", "fastai-2", "onnx"] = "ulmfit"
    """What to write: a model folder; of a language model, weights and vocabulary as fastai 2 saves
    them; of a classifier, a folder for ONNX Runtime, which needs no PyTorch. That takes the extra
    `onnx`."""

    precision: OnnxPrecision = "float32"
    """With `onnx`: arithmetic of the LSTMs. `int8`: products of whole numbers, 2 to 4 times as
    fast as PyTorch in float32; probabilities differ by five thousandths, in 5,000 reviews by five
    hundredths at most. In a batch they move with the texts beside them and the number of cores, in
    300 reviews by two hundredths."""

    overwrite: bool = False
    """Replace a model folder at `output`."""

    storage: Storage = "float32"
    """How the finished folder stores its matrices."""
