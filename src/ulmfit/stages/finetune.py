"""Stage 2: a pretrained language model learns the language of the target text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulmfit.config.conversions import TransferConfig
from ulmfit.config.stages import (
    FinetuneConfig,
    FromPretrainedConfig,
    LanguageModelTrainingConfig,
    directions_of,
)
from ulmfit.data.lanes import count_tokens
from ulmfit.data.sources import read_many
from ulmfit.data.token_store import TokenStore, fingerprint_files, open_or_build
from ulmfit.models.folder import read_config, resolve
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.stages.language_modelling import Documents, train_language_model
from ulmfit.stages.machine import resolve_machine
from ulmfit.stages.record import describe_store, run_record, with_record
from ulmfit.stages.run_folder import RunFolder
from ulmfit.stages.standard_input import with_standard_input
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training import processes


def finetune(config: FinetuneConfig, *, quiet: bool = False) -> Path:
    """Fine-tune the language models that `config` names and return the folder that holds them.

    Raises `UlmfitError` for wrong settings, bad text, or an output that is taken.
    """
    with processes.joined(), RunFolder(config, quiet) as run:
        config = replace(config, texts=with_standard_input(run, config.texts))
        machine = resolve_machine(run, config.training)
        models = load_for_training(run, config, settings=config)
        store = text_store(config, models[0].tokenizer, run)
        training, validation = _split(store, config)
        results: dict[str, Any] = {}
        for model in models:
            model.network.to(machine.device)
            results[model.member.direction] = train_language_model(
                run, model, config, training, validation, machine.precision
            )
        data = [describe_store("text", config.texts, store)]
        record = run_record(config, data, results, machine.record())
        models[0].run = with_record(models[0].run, "finetune", record)
        models[0].bptt = config.lanes.bptt
        if processes.is_first():
            save_language_models(
                models, run.output, storage=config.storage, overwrite=run.may_replace()
            )
        run.close()
        return run.output


def load_for_training(
    run: RunFolder, config: FromPretrainedConfig, settings: LanguageModelTrainingConfig
) -> list[LanguageModel]:
    """Load a language model's directions, with the dropouts they are to be trained with.

    Raises `ArtefactError` if one of them is missing, `ResumeError` if the run began with another.
    """
    directions = directions_of(config.directions)
    models = [LanguageModel.from_pretrained(config.pretrained, direction=d) for d in directions]
    weights = read_config(resolve(config.pretrained)).files["model.safetensors"]
    run.check_unchanged("pretrained model", weights.sha256)
    dropout = settings.dropout.scaled(settings.dropout_multiplier)
    for model in models:
        if config.from_scratch:
            torch.manual_seed(settings.training.seed)
            model.network, model.run = LanguageModelNetwork(model.config, dropout), {}
        model.network.encoder.dropout, model.network.head.dropout = dropout, dropout.output
    return models


def text_store(
    config: FinetuneConfig | TransferConfig, tokenizer: Tokenizer, run: RunFolder
) -> TokenStore:
    """Return the token store of all the target text."""
    fingerprint = fingerprint_files(config.texts, config.reading)
    run.check_unchanged("text", fingerprint)
    unicode = UnicodeCheck(config.reading.strict)

    def texts() -> Iterator[Text]:
        documents = read_many(config.texts, config.reading, labelled=False, unicode=unicode)
        return (document.text for document in documents)

    store = open_or_build(texts, fingerprint, tokenizer, Path(config.cache), unicode=unicode)
    run.log.warn(unicode.report())
    return store


def _split(store: TokenStore, config: FinetuneConfig) -> tuple[Documents, Documents | None]:
    """Draw which documents are held out to measure perplexity."""
    held_out = int(len(store) * config.validation_fraction)
    order = np.random.default_rng(config.training.seed).permutation(len(store))
    if count_tokens(store, order[:held_out]) < 2:  # none, or an empty document
        return (store, None), None
    return (store, np.sort(order[held_out:])), (store, np.sort(order[:held_out]))
