"""Writing a model as a folder, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from torch import Tensor

from ulmfit.config.artefact import ArtefactConfig, Storage
from ulmfit.errors import ConfigError
from ulmfit.models.card import card
from ulmfit.models.folder import TOKENIZER, WEIGHTS, Content, write_folder
from ulmfit.models.weights import weights_file
from ulmfit.text.tokenizer import Tokenizer


def checked_storage(storage: str) -> Storage:
    """Return `storage`; raises `ConfigError` if there is none of that name."""
    if storage not in (known := get_args(Storage)):
        raise ConfigError(f"setting 'storage': found '{storage}'; use {', '.join(known)}")
    return storage  # type: ignore[return-value]


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
