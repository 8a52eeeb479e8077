"""Settings of the commands that train: the stages of the method, and their parts."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Annotated, Literal

from pydantic import Field

from ulmfit.config.artefact import BeginMark, Storage, TaskKind
from ulmfit.config.data import LanesConfig, Name, ReadingConfig, ValidationConfig
from ulmfit.config.model import (
    CLASSIFIER_DROPOUT,
    ClassifierHeadConfig,
    Direction,
    Dropout,
    EncoderConfig,
    Preset,
    preset,
)
from ulmfit.config.settings import settings
from ulmfit.config.text import TokenizerConfig
from ulmfit.config.training import NotNegative, OptimizerConfig, TrainingConfig

Directions = Literal["forward", "backward", "both"]
Files = Annotated[tuple[Name, ...], Field(min_length=1)]


def directions_of(directions: Directions) -> tuple[Direction, ...]:
    """Return the directions that a setting asks for, in the order they are trained."""
    return ("forward", "backward") if directions == "both" else (directions,)


@settings
class OutputConfig:
    """Where a run puts its artefact and its working files."""

    output: Name
    """Folder of the finished artefact; while the run goes on, its checkpoints and log stand
    beside it in `OUTPUT.run`. The log stays, as `OUTPUT.log.jsonl`, and, with the extra `plots`,
    its learning curves as `OUTPUT.curves.png`."""

    resume: bool = False
    """Go on from the last checkpoint of an interrupted run with the same settings."""

    overwrite: bool = False
    """Replace an artefact or the rest of an interrupted run at `output`."""

    cache: Name = ".ulmfit-cache"
    """Folder of token files, shared between runs."""


@settings
class RegularizationConfig:
    """Penalties on the language model's activations (Merity et al. 2017, section 4.6)."""

    alpha: NotNegative = 2.0
    """AR: weight of the mean square of the dropped-out outputs."""

    beta: NotNegative = 1.0
    """TAR: weight of the mean square of the change of the raw outputs between time steps."""


@settings
class LanguageModelTrainingConfig:
    """How a language model is trained."""

    dropout: Dropout = field(default_factory=Dropout)
    """The five dropouts (fastai 2's values for language models)."""

    dropout_multiplier: NotNegative = 1.0
    """All five are multiplied by this."""

    lanes: LanesConfig = field(default_factory=LanesConfig)
    """Cutting the text into windows."""

    regularization: RegularizationConfig = field(default_factory=RegularizationConfig)
    """AR and TAR."""

    sampled_words: Annotated[int, Field(ge=0)] = 0
    """Words, about, over which the softmax of a training step is taken: the most frequent and,
    drawn anew, some of the others. 0: all. A quicker step on a CPU, for a loss that is estimated
    (`nn/sampled_softmax.py`); the measured one is exact."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(epochs=5.0))
    """The loop."""


@settings
class FromPretrainedConfig(OutputConfig):
    """Which language model a stage begins with."""

    pretrained: Name = "wikipedia-en-small"
    """Folder, shipped name, or hub id of the language model to start from."""

    from_scratch: bool = False
    """Take only the shape and the tokenizer of `pretrained`, and draw the weights anew: the paper's
    rows without pretraining (tables 4 and 7)."""

    directions: Directions = "both"
    """Which of its members to train; `both`: a forward and a backward one."""


@settings
class TokenizerStageConfig(OutputConfig):
    """Train a tokenizer on text and save it as a folder."""

    texts: Files
    """Files of text to learn from; `-` is standard input."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where the text stands in the files."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """What to learn."""


@settings
class ShapeConfig:
    """Shape of a network: a preset, and what is to differ from it."""

    preset: Preset = "small"
    """Shape of the network: `paper` 400/1150/3, `base` 400/1152/3, `small` for a CPU."""

    embedding_size: Annotated[int, Field(ge=1)] | None = None
    """Features of a word, in place of the preset's."""

    hidden_size: Annotated[int, Field(ge=1)] | None = None
    """Features of the inner layers, in place of the preset's."""

    layers: Annotated[int, Field(ge=1)] | None = None
    """Number of LSTM layers, in place of the preset's."""

    def encoder(self, vocab_size: int) -> EncoderConfig:
        """Return the shape of an encoder of so many words."""
        given = {name: getattr(self, name) for name in ("embedding_size", "hidden_size", "layers")}
        shape = preset(self.preset, vocab_size)
        return replace(shape, **{name: size for name, size in given.items() if size is not None})


@settings
class PretrainConfig(LanguageModelTrainingConfig, ShapeConfig, OutputConfig):
    """Train a language model from random weights on general text (stage 1)."""

    texts: Files
    """Files of general text; `-` is standard input."""

    validation: Name | None = None
    """A file of held-out text; without it, every hundredth document is held out, the first thousand
    of them."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where the text stands in the files."""

    tokenizer_folder: str | None = None
    """A folder whose tokenizer to use; without it, one is trained on the text."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """The tokenizer to train."""

    initial_weights: Literal["random", "counts"] = "counts"
    """What training begins with. `counts`: the embedding from the company that words keep in the
    text, the decoder's bias from their frequencies (`models/word_vectors.py`); all else at
    random."""

    directions: Directions = "both"
    """`both` trains one model after the other from the same token files."""

    begin_mark: BeginMark = "first"
    """Where the begin mark stands in a reversed text."""

    dropout_multiplier: NotNegative = 0.1
    """All five are multiplied by this. fastai pretrains with 0.1: much text, few passes."""

    regularization: RegularizationConfig = field(
        default_factory=lambda: RegularizationConfig(alpha=0.0, beta=0.0)
    )
    """AR and TAR; off by default, where one pass over much text cannot be learned by heart."""

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            batch_size=32,
            optimizer=OptimizerConfig(
                learning_rate=3e-3, betas=(0.9, 0.99), discriminative_factor=1.0
            ),
        )
    )
    """The loop."""

    storage: Storage = "float32"
    """How the finished folder stores its matrices."""


@settings
class FinetuneConfig(LanguageModelTrainingConfig, FromPretrainedConfig):
    """Fine-tune a pretrained language model on the target text (stage 2)."""

    texts: Files
    """Files of the target text, `-` being standard input; labels, if any, are not looked at."""

    validation_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of the documents held out to measure perplexity."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where the text stands in the files."""

    storage: Storage = "float32"
    """How the finished folder stores its matrices."""


@settings
class LanguageModelStage(LanguageModelTrainingConfig):
    """Stage 2 inside `train`: fine-tuning the language model on all text given."""

    skip: bool = False
    """Go straight from the pretrained model to the classifier (an ablation of the paper)."""


@settings
class ClassifierStage:
    """Stage 3 inside `train`: fine-tuning the classifier on the labelled documents."""

    task: Literal["auto"] | TaskKind = "auto"
    """What the labels ask for. `auto`: lists of labels any of them (`multi_label`), numbers of
    which one has a fraction a number (`number`), all else one of them (`single_label`)."""

    range: tuple[float, float] | None = None
    """Of numbers: the lowest and the highest there can be. Without it, those of the training
    documents, widened by a twentieth at both ends."""

    head: ClassifierHeadConfig = field(default_factory=ClassifierHeadConfig)
    """The two blocks."""

    dropout: Dropout = field(default_factory=lambda: CLASSIFIER_DROPOUT)
    """The five dropouts. Paper, section 4.1: 0.05, 0.4, 0.3, 0.5, 0.4."""

    dropout_multiplier: NotNegative = 1.0
    """All of the encoder's dropouts are multiplied by this."""

    bptt: Annotated[int, Field(ge=2)] = 70
    """Tokens of a chunk (BPT3C), by which the gradients' window is counted. Paper: 70."""

    variable_bptt: bool = False
    """Draw the chunk length anew for each batch of documents, as language modelling does."""

    gradient_chunks: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Gradients flow into the tokens of this many last chunks; earlier ones still count in the
    pools. `auto`: as many as half of the free memory holds, a power of two up to 16, resolved once
    and kept with the run."""

    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the target spread over all classes; of several labels, between yes and no."""

    focal_gamma: NotNegative = 0.0
    """Gamma of the focal loss (Lin et al. 2017, equation 4): documents that are easy count less,
    their loss times (1 - p)^gamma. 0: all alike; there it was 2, for one object in thousands."""

    class_weights: dict[str, float] | Literal["none", "balanced"] = "none"
    """Weight of each class in the loss; `balanced`: inverse to its frequency. Of several labels,
    a label's weight counts where it is there; `balanced`: documents without it over those with."""

    metric: Literal["loss", "accuracy", "macro_f1", "micro_f1"] = "loss"
    """What the best evaluation is chosen by; `micro_f1` is for several labels."""

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=10.0,
            batch_size=32,
            optimizer=OptimizerConfig(learning_rate=1e-2),
            unfreezing="gradual",
        )
    )
    """The loop. Paper: largest rate 0.01, gradual unfreezing."""


OF_LABELS = ("label_smoothing", "focal_gamma", "class_weights", "metric")
"""Settings of `ClassifierStage` that have no meaning for numbers."""


@settings
class CalibrationConfig:
    """What a classifier learns of itself from documents that it was not trained on."""

    temperature: bool = True
    """Fit the temperature of the averaged probabilities (Guo et al. 2017), so that they are right
    as often as they say. Which label is the likeliest does not change."""

    thresholds: Literal["none", "f1", "f2", "f0.5", "accuracy"] = "f1"
    """Of several labels: from which probability each is given, by what is best on the documents.
    `f2` weighs recall twice as much as precision, `f0.5` half as much. `none`: 0.5."""

    documents: Annotated[int, Field(ge=1)] = 50
    """With fewer documents than that nothing is fitted, and training says so."""

    documents_of_label: Annotated[int, Field(ge=1)] = 5
    """A label that fewer documents have, or lack, keeps the threshold 0.5."""


@settings
class SelfTrainingConfig:
    """Labels for the unlabelled documents by the classifier itself, which then learns from all.

    After Yarowsky 1995 and Lee 2013; no part of the paper. Each unlabelled document takes the label
    that forward and backward together think likeliest, and weighs as much as that is probable; the
    classifiers are then trained anew, from the same language models.
    """

    rounds: Annotated[int, Field(ge=0)] = 0
    """How often; 0: never. All classifiers so far label the documents of a round together."""

    teachers: Annotated[int, Field(ge=1)] = 1
    """Classifiers of each direction, of seeds of their own, before the first round: with few
    labels, what one of them learns hangs on its seed."""

    documents: Annotated[int, Field(ge=1)] = 10_000
    """Unlabelled documents that are labelled, at most; of more, so many are drawn."""

    co_training: Literal["none", "words", "characters"] = "none"
    """What a linear model counts that labels with them: words and pairs of words, or runs of up to
    four characters, for languages that put words together or apart by no space. It learns from the
    labelled documents and from the half that the classifiers are surest of, and weighs as much as
    all of them together (co-training, Blum & Mitchell 1998)."""

    aligned: bool = False
    """Whether each label's probability, in the mean of all these documents, is made its share
    among the labelled ones (distribution alignment, Berthelot et al. 2020). A classifier that leans
    to one label would otherwise teach the next one to lean further. Only for documents of one label
    each, the labelled ones drawn blindly from the same text."""

    share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of them that is learned from, the surest. Where each has one label, the labels have the
    shares that they have among the labelled documents. Not for numbers."""

    epochs: Annotated[float, Field(gt=0.0)] = 3.0
    """Length of each round, in passes over all documents."""


@settings
class TrainConfig(FromPretrainedConfig):
    """Train a text classifier: stages 2 and 3 from a pretrained language model."""

    data: Name
    """Labelled documents: a file, or a folder with a sub-folder a class."""

    unlabelled: tuple[Name, ...] = ()
    """Files of further text without labels, for the language model."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where text and labels stand in the files."""

    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Which labelled documents are held out."""

    language_model: LanguageModelStage = field(default_factory=LanguageModelStage)
    """Stage 2."""

    classifier: ClassifierStage = field(default_factory=ClassifierStage)
    """Stage 3."""

    self_training: SelfTrainingConfig = field(default_factory=SelfTrainingConfig)
    """Stage 3 again, with labels that the classifier gives to the unlabelled documents."""

    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    """Temperature and thresholds, fitted to the documents held out."""

    storage: Storage = "float32"
    """How the finished folder stores its matrices."""
