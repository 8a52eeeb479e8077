"""Stage 2: a pretrained language model learns the language of the target text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulmfit.config.model import Direction, Dropout
from ulmfit.config.stages import FinetuneConfig, directions_of
from ulmfit.data.sources import read_many
from ulmfit.data.token_store import TokenStore, fingerprint_files, open_or_build
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.stages.language_modelling import Documents, train_language_model
from ulmfit.stages.machine import resolve_machine
from ulmfit.stages.record import describe_store, run_record
from ulmfit.stages.run_folder import RunFolder
from ulmfit.text.types import Text
from ulmfit.text.unicode import UnicodeCheck


def finetune(config: FinetuneConfig, *, quiet: bool = False) -> Path:
    """Fine-tune the language models that `config` names and return the folder that holds them.

    Raises `UlmfitError` for wrong settings, bad text, or an output that is taken.
    """
    with RunFolder(config, quiet) as run:
        device, precision = resolve_machine(run, config.training)
        models: list[LanguageModel] = []
        results: dict[str, Any] = {}
        for direction in directions_of(config.directions):
            model = load_for_training(
                config.pretrained, direction, config.dropout.scaled(config.dropout_multiplier)
            )
            store = _store(config, model, run)
            training, validation = _split(store, config)
            model.network.to(device)
            torch.manual_seed(config.training.seed)
            results[direction] = train_language_model(
                run, model.network, model.member, config, training, validation, precision
            )
            models.append(model)
        data = [describe_store("text", config.texts, store)]
        record = run_record(config, data, results, {"precision": precision, "device": device.type})
        models[0].run = {**models[0].run, "finetune": record}
        save_language_models(models, run.output, storage=config.storage, overwrite=config.overwrite)
        run.remove()
        return run.output


def load_for_training(name: str, direction: Direction, dropout: Dropout) -> LanguageModel:
    """Load a pretrained language model and give it the dropouts it is to be trained with."""
    model = LanguageModel.from_pretrained(name, direction=direction)
    model.network.encoder.dropout = dropout
    model.network.head.dropout = dropout.output
    return model


def _store(config: FinetuneConfig, model: LanguageModel, run: RunFolder) -> TokenStore:
    """Return the token store of all text, by the pretrained model's tokenizer."""
    fingerprint = fingerprint_files(config.texts, config.reading)
    unicode = UnicodeCheck(config.reading.strict)

    def texts() -> Iterator[Text]:
        documents = read_many(config.texts, config.reading, labelled=False, unicode=unicode)
        return (document.text for document in documents)

    store = open_or_build(texts, fingerprint, model.tokenizer, Path(config.cache))
    run.log.warn(unicode.report())
    return store


def _split(store: TokenStore, config: FinetuneConfig) -> tuple[Documents, Documents | None]:
    """Draw which documents are held out to measure perplexity."""
    held_out = int(len(store) * config.validation_fraction)
    order = np.random.default_rng(config.training.seed).permutation(len(store))
    if held_out == 0:
        return (store, None), None
    return (store, np.sort(order[held_out:])), (store, np.sort(order[:held_out]))
