"""Writing a model as a folder, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ulmfit.config.artefact import ArtefactConfig
from ulmfit.models.card import card
from ulmfit.models.folder import TOKENIZER, WEIGHTS, Content, write_folder
from ulmfit.models.weights import weights_file
from ulmfit.text.tokenizer import Tokenizer


def save_model(
    folder: str | Path,
    config: ArtefactConfig,
    tensors: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    *,
    overwrite: bool,
) -> None:
    """Write weights, as `config.storage` says, tokenizer and card. Raises `ArtefactError`."""
    files: dict[str, Content] = {
        WEIGHTS: weights_file(tensors, config.storage),
        TOKENIZER: tokenizer.to_json(),
    }
    write_folder(folder, config, files, card(config), overwrite=overwrite)
