"""Stage 1: a language model learns from general text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from ulmfit.config.artefact import Member
from ulmfit.config.model import Direction, EncoderConfig, preset
from ulmfit.config.stages import Directions, PretrainConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.data.sources import read_many
from ulmfit.data.token_store import TokenStore, fingerprint_files, open_or_build
from ulmfit.models.folder import read_config, resolve
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.stages.language_modelling import LanguageModelTask
from ulmfit.stages.record import describe_store, run_record
from ulmfit.stages.run_folder import RunFolder
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training.device import Precision, resolve_device, resolve_precision
from ulmfit.training.loop import train

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
        models, results = [], {}
        for direction in directions_of(config.directions):
            member = Member(
                direction=direction, prefix=direction, begin_mark=config.begin_mark
            )
            network, results[direction] = _train_direction(
                config, run, encoder, member, (training, validation), device, precision
            )
            models.append(LanguageModel(network, tokenizer, member, bptt=config.lanes.bptt))
        data = [
            describe_store("training", config.texts, training),
            describe_store("validation", [config.validation or "held out"], validation),
        ]
        resolved = {"precision": precision, "device": device.type}
        models[0].run = {"pretrain": run_record(config, data, results, resolved)}
        save_language_models(
            models, run.output, storage=config.storage, overwrite=config.overwrite
        )
        run.remove()
        return run.output


def directions_of(directions: Directions) -> tuple[Direction, ...]:
    """Return the directions that a setting asks for, in the order they are trained."""
    return ("forward", "backward") if directions == "both" else (directions,)


def resolve_machine(run: RunFolder, training: Any) -> tuple[torch.device, Precision]:
    """Settle device, precision and threads for the whole run, resumed or not."""
    device = resolve_device(training.device)
    precision = run.resolve_once("precision", resolve_precision(training.precision, device))
    threads = run.resolve_once("threads", training.threads or torch.get_num_threads())
    torch.set_num_threads(threads)
    return device, precision


def _train_direction(
    config: PretrainConfig,
    run: RunFolder,
    encoder: EncoderConfig,
    member: Member,
    stores: tuple[TokenStore, TokenStore],
    device: torch.device,
    precision: Precision,
) -> tuple[LanguageModelNetwork, dict[str, Any]]:
    """Train the model of one direction, or take it from where the run left it."""
    part = f"language_model.{member.direction}"
    torch.manual_seed(config.training.seed)
    network = LanguageModelNetwork(encoder, config.dropout.scaled(config.dropout_multiplier))
    network.to(device)
    done = run.finished(part)
    if done is not None:
        network.load_state_dict(done[0])
        return network, done[1]
    task = LanguageModelTask(
        network,
        member,
        config.lanes,
        config.regularization,
        config.training.batch_size,
        config.training.seed,
        (stores[0], None),
        (stores[1], None),
    )
    results = train(
        task,
        config.training,
        title=part,
        precision=precision,
        log=run.log,
        checkpoint=run.checkpoint(part),
    )
    run.finish(part, network.state_dict(), results)
    return network, results


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
