"""A language model of ours as fastai 2 saves one: weights a direction, and one vocabulary."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ulmfit.config.artefact import ArtefactConfig
from ulmfit.errors import ArtefactError, ConfigError
from ulmfit.interop.fastai_names import TIED, to_fastai_2
from ulmfit.interop.vocabulary import FASTAI_NAMES
from ulmfit.models.folder import beside, read_config, recover, resolve, swap
from ulmfit.models.language_model import LanguageModel
from ulmfit.text.tokenizer import BYTE_LEVEL

VOCABULARY = "vocab.pkl"


def export_fastai(name: str, output: Path, *, overwrite: bool = False) -> Path:
    """Write the language model called `name` as `forward.pth`, `backward.pth` and `vocab.pkl`.

    fastai loads a pair of them with `pretrained_fnames=["forward", "vocab"]`, from its folder
    `models`, into an AWD-LSTM of the same shape.

    Raises `ConfigError` if it is no language model, or reads pieces of bytes, `ArtefactError` if
    `output` cannot be written, or is there and is not to be replaced, or holds other files.
    """
    config: ArtefactConfig = read_config(resolve(name))
    if config.kind != "language_model":
        raise ConfigError(f"{name}: holds a {config.kind}; only language models go to fastai")
    if config.tokenizer.kind in BYTE_LEVEL:
        raise ConfigError(
            f"{name}: reads pieces of bytes ({config.tokenizer.kind}), which fastai does not; give "
            "it words first, with ulmfit transfer --tokenizer.kind word --tokenizer.rules fastai-2 "
            "--tokenizer.splitter spacy"
        )
    recover(output)
    _check_replaceable(output, overwrite)
    partial = beside(output, "partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for member in config.members:
            model = LanguageModel.from_pretrained(name, direction=member.direction)
            torch.save(fastai_weights(model), partial / f"{member.direction}.pth")
        with (partial / VOCABULARY).open("wb") as file:
            pickle.dump(fastai_words(model.tokenizer.words()), file)
        swap(partial, output)
    except (OSError, RuntimeError) as error:  # torch.save tells of a full disk so
        raise ArtefactError(f"{output}: cannot be written: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return output


def _check_replaceable(output: Path, overwrite: bool) -> None:
    if not output.exists():
        return
    if not overwrite:
        raise ArtefactError(f"{output}: exists already; choose another --output, or overwrite it")
    ours = {VOCABULARY, "forward.pth", "backward.pth"}
    if not output.is_dir() or not {path.name for path in output.iterdir()} <= ours:
        raise ArtefactError(
            f"{output}: holds more than weights for fastai, so it is not overwritten; choose "
            "another --output"
        )


def fastai_weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights by fastai 2's names, and in its order: it matches them by position."""
    state = {to_fastai_2(name): tensor for name, tensor in model.network.state_dict().items()}
    state |= dict.fromkeys(TIED, state["0.encoder.weight"])
    return {name: state[name] for name in _in_order(model.config.layers)}


def _in_order(layers: int) -> Iterator[str]:
    yield from ("0.encoder.weight", "0.encoder_dp.emb.weight")
    for layer in range(layers):
        yield f"0.rnns.{layer}.weight_hh_l0_raw"
        yield from (f"0.rnns.{layer}.module.{n}_l0" for n in ("weight_ih", "bias_ih", "bias_hh"))
    yield from ("1.decoder.weight", "1.decoder.bias")


def fastai_words(words: Sequence[str]) -> list[str]:
    """Return the words of a tokenizer of ours with fastai's names for the special tokens."""
    return [FASTAI_NAMES.get(word, word) for word in words]
