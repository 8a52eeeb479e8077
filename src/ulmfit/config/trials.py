"""Settings of the commands that try and time, before a training."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Annotated, Literal

from pydantic import Field

from ulmfit.config.data import Name, ReadingConfig, ValidationConfig
from ulmfit.config.model import Direction
from ulmfit.config.settings import settings
from ulmfit.config.stages import ClassifierStage, LanguageModelStage, ShapeConfig, TrainConfig


@settings
class TrialConfig:
    """What is tried on the data at hand, before a training."""

    data: Name
    """Labelled documents."""

    unlabelled: tuple[Name, ...] = ()
    """Files of further text without labels, for the language model."""

    pretrained: Name = "wikipedia-en-small"
    """Folder, shipped name, or hub id of the language model; for a classifier, best one that is
    fine-tuned already."""

    direction: Direction = "forward"
    """Which of its members."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where text and labels stand in the files."""

    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Which labelled documents are held out."""

    language_model: LanguageModelStage = field(default_factory=LanguageModelStage)
    """Stage 2."""

    classifier: ClassifierStage = field(default_factory=ClassifierStage)
    """Stage 3."""

    @classmethod
    def passed_over(cls) -> set[str]:
        """Return the settings of `ulmfit train` that a trial has no use for, though files do."""
        return {each.name for each in fields(TrainConfig)} - {each.name for each in fields(cls)}


@settings
class FindRateConfig(TrialConfig):
    """Try learning rates on the data at hand, before training: which learn, which are too high."""

    stage: Literal["classifier", "language_model"] = "classifier"
    """What is to be trained."""

    last_layer_alone: bool = False
    """Train the last layer group and nothing else, as gradual unfreezing begins: the paper's way to
    the rate of the last layer (section 3.2)."""

    lowest: Annotated[float, Field(gt=0.0)] = 1e-5
    """Rate of the first step."""

    highest: Annotated[float, Field(gt=0.0)] = 1.0
    """Rate of the last step."""

    steps: Annotated[int, Field(ge=20)] = 100
    """Steps, a batch each; the rate grows by the same factor from one to the next."""

    output: Name | None = None
    """Picture of the losses, a `.png` file; needs the extra `plots`."""


@settings
class ProfileConfig(TrialConfig):
    """Tell where the time of a training goes, on this machine and data, and what to change."""

    steps: Annotated[int, Field(ge=1)] = 10
    """Steps measured of each stage, and of each phase of unfreezing."""

    output: Name | None = None
    """A `.json` file for the figures, besides the printed ones."""


@settings
class BenchConfig(ShapeConfig):
    """Tell how fast each part of the method is on this machine, on made-up text."""

    vocab_size: Annotated[int, Field(ge=100)] = 16_000
    """Words of the made-up text."""

    batch_size: Annotated[int, Field(ge=2)] = 64
    """Lanes of the language model."""

    documents: Annotated[int, Field(ge=2)] = 32
    """Documents of a batch of the classifier."""

    words: Annotated[int, Field(ge=2)] = 250
    """Words of a document, about, and at most: its half to its whole."""

    bptt: Annotated[int, Field(ge=2)] = 70
    """Tokens between two cuts of the gradient."""

    sampled_words: Annotated[int, Field(ge=1)] = 3_000
    """Words of the second way of training the language model, a softmax over some of them."""

    steps: Annotated[int, Field(ge=1)] = 2
    """Training steps timed in a round."""

    rounds: Annotated[int, Field(ge=1)] = 3
    """Rounds: each times every part once."""

    device: str = "auto"
    """`auto` (CUDA if there is one, else the CPU), `cpu`, `cuda`, `mps`."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of training; reading is in float32, and in this too."""

    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of PyTorch; 0: PyTorch's own choice."""

    output: Name | None = None
    """A `.json` file for the figures, besides the printed ones."""
