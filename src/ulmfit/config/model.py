"""Settings of the language model and of the classifier, with the presets."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import Field

from ulmfit.config.settings import settings

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Direction = Literal["forward", "backward"]
Preset = Literal["small", "base", "paper"]


@settings
class Dropout:
    """The five dropouts of the AWD-LSTM (Merity et al. 2017, section 4)."""

    embedding: Probability = 0.02
    """Whole words set to zero, their rows' share."""

    input: Probability = 0.25
    """On the embedded words, one mask over time."""

    hidden: Probability = 0.15
    """Between the layers, one mask over time."""

    weight: Probability = 0.2
    """On the recurrent weights (weight drop), one mask a forward pass."""

    output: Probability = 0.1
    """On the last layer's outputs before the decoder, one mask over time."""

    def scaled(self, multiplier: float) -> Dropout:
        """Return all five multiplied by `multiplier`, at most 0.95 each."""
        return Dropout(
            **{f.name: min(0.95, getattr(self, f.name) * multiplier) for f in fields(self)}
        )


CLASSIFIER_DROPOUT = Dropout(embedding=0.05, input=0.4, hidden=0.3, weight=0.5, output=0.4)
"""Howard & Ruder 2018, section 4.1 (output: the first block's)."""


@settings
class EncoderConfig:
    """Shape of the AWD-LSTM: `layers` LSTMs, the last one back to the embedding size."""

    vocab_size: Annotated[int, Field(ge=4)]
    """Number of ids, special tokens included."""

    embedding_size: Annotated[int, Field(ge=1)] = 400
    """Features of a word and of the last layer's output. Paper: 400."""

    hidden_size: Annotated[int, Field(ge=1)] = 1150
    """Features of the inner layers. Paper: 1150; fastai: 1152."""

    layers: Annotated[int, Field(ge=1)] = 3
    """Number of LSTM layers. Paper: 3."""

    @property
    def layer_shapes(self) -> list[tuple[int, int]]:
        """Features of each LSTM's input and output, the lowest first."""
        sizes = [self.hidden_size] * (self.layers - 1) + [self.embedding_size]
        return list(zip([self.embedding_size, *sizes[:-1]], sizes, strict=True))


PRESETS: dict[Preset, tuple[int, int, int]] = {
    "small": (256, 640, 3),
    "base": (400, 1152, 3),
    "paper": (400, 1150, 3),
}
"""Embedding size, hidden size and layers of each preset."""


def preset(name: Preset, vocab_size: int) -> EncoderConfig:
    """Return the named shape: `paper` (400/1150/3), `base` (400/1152/3) or `small`."""
    embedding_size, hidden_size, layers = PRESETS[name]
    return EncoderConfig(
        vocab_size=vocab_size, embedding_size=embedding_size, hidden_size=hidden_size, layers=layers
    )


@settings
class ClassifierHeadConfig:
    """The two blocks over concat pooling (Howard & Ruder 2018, section 3.3)."""

    hidden_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (50,)
    """Features of the linear layers between pooling and classes. Paper: one of 50."""

    dropout: Probability = 0.1
    """Before each linear layer but the first, whose dropout is the encoder's `output`."""
