"""What `config.json` of a model folder holds (format version 1)."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field

from ulmfit.config.model import ClassifierHeadConfig, Direction, EncoderConfig
from ulmfit.config.settings import settings
from ulmfit.config.text import TokenizerConfig

FORMAT_VERSION = 1

BeginMark = Literal["first", "last"]
Storage = Literal["float32", "float16", "int8"]
OnnxPrecision = Literal["float32", "int8"]
TaskKind = Literal["single_label", "multi_label", "number"]
Kind = Literal["tokenizer", "language_model", "text_classifier", "onnx_classifier"]


@settings
class FileRecord:
    """Size and hash by which a file of the folder is known to be whole and unaltered."""

    bytes: Annotated[int, Field(ge=0)]
    """Size of the file."""

    sha256: str
    """Hash of its bytes, in hexadecimal."""


@settings
class Member:
    """One model of the folder: its direction and where its weights are."""

    direction: Direction
    """Which way it reads."""

    prefix: Annotated[str, Field(pattern=r"^(forward|backward)(_[0-9]+)?$")]
    """Its direction, and `_2` and so on of further ones. Its tensors' names in `model.safetensors`
    begin with this and a dot; in ONNX, its file is named so."""

    weight: Annotated[float, Field(gt=0.0)] = 1.0
    """Its share when the members' probabilities are averaged."""

    begin_mark: BeginMark = "first"
    """Where the begin mark stands in a text reversed for a backward member: `first`, so that a
    document opens with it in both directions; `last`, as in fastai, where all ids are reversed."""


@settings
class Task:
    """What a classifier decides."""

    kind: TaskKind = "single_label"
    """`single_label`: exactly one of the labels, probabilities by softmax. `multi_label`: any of
    them, or none, a probability each by a sigmoid. `number`: a number, of a range."""

    labels: tuple[str, ...] = ()
    """Names of the labels, sorted; a label's index is its place here. None, of a number."""

    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    """The averaged probabilities are sharpened (below 1) or flattened (above 1) by it: what their
    logarithms, or log-odds if there are several labels, are divided by (Guo et al. 2017)."""

    thresholds: tuple[float, ...] | None = None
    """Of several labels: the probability from which each is given; None: 0.5."""

    range: tuple[float, float] | None = None
    """Of a number: the lowest and the highest that can be answered."""

    @property
    def outputs(self) -> int:
        """Columns of the answers: one for each label; one for a number."""
        return 1 if self.kind == "number" else len(self.labels)


@settings
class ArtefactConfig:
    """The whole of `config.json`."""

    format_version: int = FORMAT_VERSION
    """Version of this format; a reader refuses one it does not know."""

    kind: Kind
    """What the folder holds."""

    tokenizer: TokenizerConfig
    """How `tokenizer.json` was made, text rules included."""

    encoder: EncoderConfig | None = None
    """Shape of every member's AWD-LSTM."""

    head: ClassifierHeadConfig | None = None
    """Shape of every member's classifier head."""

    bptt: Annotated[int, Field(ge=2)] = 70
    """Tokens of a chunk in training, and of a window where a language model is evaluated."""

    task: Task | None = None
    """What a classifier decides."""

    members: tuple[Member, ...] = ()
    """The models, whose probabilities are averaged."""

    storage: Storage = "float32"
    """How matrices are stored: as they are, in float16, or in int8 with a float32 scale a row
    (tensor `NAME.scale`; value = int8 x scale). Vectors are always float32."""

    files: dict[str, FileRecord] = field(default_factory=dict)
    """Every other file the folder needs, by name."""

    run: dict[str, Any] = field(default_factory=dict)
    """Full settings and results of the runs that made it, by stage."""
