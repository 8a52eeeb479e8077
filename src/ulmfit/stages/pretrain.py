"""Stage 1: a language model learns from general text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from ulmfit.config.artefact import Member
from ulmfit.config.model import preset
from ulmfit.config.stages import PretrainConfig, directions_of
from ulmfit.config.text import TokenizerConfig
from ulmfit.data.sources import read_many
from ulmfit.data.token_store import TokenStore, fingerprint_files, open_or_build
from ulmfit.models.folder import read_config, resolve
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.stages.language_modelling import train_language_model
from ulmfit.stages.machine import resolve_machine
from ulmfit.stages.record import describe_store, run_record
from ulmfit.stages.run_folder import RunFolder
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text
from ulmfit.text.unicode import UnicodeCheck

HELD_OUT_EVERY = 100
"""Without a validation file, one document in this many is held out."""


def pretrain(config: PretrainConfig, *, quiet: bool = False) -> Path:
    """Train the language models that `config` asks for and return the folder that holds them.

    Raises `UlmfitError` for wrong settings, bad text, or an output that is taken.
    """
    with RunFolder(config, quiet) as run:
        device, precision = resolve_machine(run, config.training)
        tokenizer = _tokenizer(config, run)
        training, validation = _stores(config, tokenizer)
        encoder = preset(config.preset, tokenizer.vocab_size)
        models: list[LanguageModel] = []
        results: dict[str, Any] = {}
        for direction in directions_of(config.directions):
            member = Member(direction=direction, prefix=direction, begin_mark=config.begin_mark)
            torch.manual_seed(config.training.seed)
            dropout = config.dropout.scaled(config.dropout_multiplier)
            network = LanguageModelNetwork(encoder, dropout).to(device)
            results[direction] = train_language_model(
                run, network, member, config, (training, None), (validation, None), precision
            )
            models.append(LanguageModel(network, tokenizer, member, bptt=config.lanes.bptt))
        data = [
            describe_store("training", config.texts, training),
            describe_store("validation", [config.validation or "held out"], validation),
        ]
        resolved = {"precision": precision, "device": device.type}
        models[0].run = {"pretrain": run_record(config, data, results, resolved)}
        save_language_models(models, run.output, storage=config.storage, overwrite=config.overwrite)
        run.remove()
        return run.output


def _tokenizer(config: PretrainConfig, run: RunFolder) -> Tokenizer:
    """Return the tokenizer of the folder named, of the interrupted run, or a newly trained one."""
    if config.tokenizer_folder is not None:
        folder = resolve(config.tokenizer_folder)
        settings: TokenizerConfig = read_config(folder).tokenizer
        return Tokenizer.from_json((folder / "tokenizer.json").read_bytes(), settings)
    kept = run.path / "tokenizer.json"
    if kept.exists():
        return Tokenizer.from_json(kept.read_bytes(), config.tokenizer)
    run.log.say("training the tokenizer")
    tokenizer = Tokenizer.train(_held_in(config)(), config.tokenizer)
    temporary = kept.with_name("tokenizer.json.tmp")
    temporary.write_bytes(tokenizer.to_json())
    temporary.replace(kept)
    return tokenizer


def _stores(config: PretrainConfig, tokenizer: Tokenizer) -> tuple[TokenStore, TokenStore]:
    """Return the token stores of the training and of the validation text."""
    cache = Path(config.cache)
    files = fingerprint_files(config.texts, config.reading)
    if config.validation is None:
        return (
            open_or_build(_held_in(config), f"{files} held in", tokenizer, cache),
            open_or_build(_held_out(config), f"{files} held out", tokenizer, cache),
        )
    held_out = fingerprint_files([config.validation], config.reading)
    return (
        open_or_build(_held_in(config), files, tokenizer, cache),
        open_or_build(_held_out(config), held_out, tokenizer, cache),
    )


def _held_in(config: PretrainConfig) -> Callable[[], Iterable[Text]]:
    every = HELD_OUT_EVERY if config.validation is None else 0
    return lambda: (text for i, text in _texts(config, config.texts) if not every or i % every)


def _held_out(config: PretrainConfig) -> Callable[[], Iterable[Text]]:
    if config.validation is not None:
        path = config.validation
        return lambda: (text for _, text in _texts(config, [path]))
    return lambda: (text for i, text in _texts(config, config.texts) if i % HELD_OUT_EVERY == 0)


def _texts(config: PretrainConfig, paths: Iterable[str]) -> Iterator[tuple[int, Text]]:
    unicode = UnicodeCheck(config.reading.strict)
    documents = read_many(paths, config.reading, labelled=False, unicode=unicode)
    return ((i, document.text) for i, document in enumerate(documents))
