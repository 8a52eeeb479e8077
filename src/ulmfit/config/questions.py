"""Settings of the commands that ask a finished model, or the log of a run."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from ulmfit.config.data import Name, ReadingConfig
from ulmfit.config.model import Direction
from ulmfit.config.settings import settings
from ulmfit.config.stages import Files


@settings
class EvaluateConfig:
    """Measure a model on held-out data: a classifier's errors, a language model's perplexity."""

    model: Name
    """Folder, shipped name, or hub id."""

    data: Name
    """Labelled documents for a classifier, text for a language model."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where text and labels stand in the file."""

    output: Name | None = None
    """A `.json` file for the results, besides the printed ones."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `mps`."""


@settings
class ReportConfig:
    """Write a page that shows how good a classifier is, where it errs, and why."""

    model: Name
    """Folder or hub id of a classifier."""

    data: Name
    """Labelled documents that it was not trained on."""

    output: Name
    """The page, a `.html` file; the same as JSON goes beside it."""

    training: Name | None = None
    """The labelled documents that it was trained on: a linear baseline learns from them too."""

    baseline: Literal["words", "characters"] = "words"
    """What the linear baseline counts: words and pairs of words; or runs of up to four characters,
    for languages that put words together (Finnish, Korean) or apart by no space (Chinese)."""

    others: tuple[Name, ...] = ()
    """Folders of other classifiers of the same labels, to compare with."""

    misses: Annotated[int, Field(ge=0)] = 20
    """Documents shown on which it is furthest from the truth, their words shaded."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where text and labels stand in the files."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `mps`."""


@settings
class PredictConfig:
    """Predict the label of each document, in order, in constant memory."""

    model: Name
    """Folder or hub id of a classifier."""

    data: Name = "-"
    """A file of documents, or `-` for standard input, a document a line."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where the text stands in the file."""

    output: Name = "-"
    """`.csv` or `.jsonl` file of labels and probabilities, or `-` for standard output."""

    keep: tuple[str, ...] = ()
    """Columns of `data`, such as an id or the text, that are written in front of the answers."""

    format: Literal["auto", "csv", "jsonl"] = "auto"
    """Of the output. `auto`: by its name; csv on standard output."""

    abstain_below: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Leave the label empty where the likeliest is less probable than that. For one label a
    document; `ulmfit evaluate` tells how many are left, and how many of them right."""

    token_budget: Annotated[int, Field(ge=1)] = 65_536
    """Tokens of a batch at most, unless a single document is longer."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `mps`."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the products. `bfloat16` is 1.5 to 1.9 times as fast on a processor that
    multiplies faster in it, which `auto` tries; probabilities then differ by a thousandth, and now
    and then by two hundredths."""


@settings
class ExplainConfig:
    """Tell what each word of a document contributes to a classifier's answer."""

    model: Name
    """Folder or hub id of a classifier."""

    text: tuple[str, ...] = ()
    """The document, if it has several columns one after the other; or `data`, and which of it."""

    data: Name | None = None
    """A file of documents."""

    row: Annotated[int, Field(ge=1)] = 1
    """Which document of `data`, from 1."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where the text stands in the file."""

    method: Literal["integrated_gradients", "occlusion"] = "integrated_gradients"
    """`integrated_gradients` (Sundararajan et al. 2017): contributions that add up to the answer;
    needs the extra `explain`. `occlusion`: the change if a word is left out."""

    labels: tuple[str, ...] = ()
    """Labels to explain; without them, those that are decided."""

    output: Name | None = None
    """A `.html` page with the words shaded, or a `.json` file; without it, the terminal."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `mps`."""


@settings
class VisualizeConfig:
    """Show what a model learned: what excites its units, and words of like meaning."""

    model: Name
    """Folder, shipped name, or hub id of a language model or a classifier."""

    data: Name
    """A file of documents to read."""

    output: Name
    """The page, a `.html` file."""

    direction: Direction | None = None
    """Which of the model's members; without it, its first."""

    documents: Annotated[int, Field(ge=1)] = 500
    """How many documents are read, at most, from the first on."""

    units: Annotated[int, Field(ge=1)] = 12
    """Units shown of each layer: those whose strongest moments stand out most."""

    contexts: Annotated[int, Field(ge=1)] = 6
    """Moments shown of each unit."""

    words: Annotated[int, Field(ge=0)] = 40
    """Words whose nearest ones are shown: the commonest of the documents."""

    neighbours: Annotated[int, Field(ge=1)] = 8
    """Nearest words shown of each."""

    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Where the text stands in the file."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `mps`."""


@settings
class GenerateConfig:
    """Continue a text with a language model."""

    model: Name
    """Folder, shipped name, or hub id of a language model."""

    direction: Direction | None = None
    """Which of the model's members; without it, its first. One that reads backward continues a text
    towards its beginning."""

    prompt: str = ""
    """The text to continue; read once."""

    tokens: Annotated[int, Field(ge=1)] = 50
    """How many tokens to add."""

    temperature: Annotated[float, Field(ge=0.0)] = 0.8
    """Below 1 sharper, above 1 flatter; 0 takes the likeliest token."""

    top_k: Annotated[int, Field(ge=0)] = 0
    """Draw among this many likeliest tokens; 0: all."""

    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Draw among the likeliest tokens that together reach this probability."""

    min_p: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Draw among the tokens at least so many times as likely as the likeliest."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the draws."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `mps`."""


@settings
class CurvesConfig:
    """Draw the learning curves of a run, or of several, as a picture. Needs the extra `plots`."""

    logs: Files
    """Logs of runs: `OUTPUT.log.jsonl` or, while the run goes on, `OUTPUT.run/log.jsonl`."""

    output: Name = "curves.png"
    """The picture, a `.png` file."""


@settings
class InspectConfig:
    """Tell what a model folder holds, after checking that it is whole."""

    model: Name
    """Folder, shipped name, or hub id."""
