"""Stage 1: a language model learns from general text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ulmfit.config.artefact import Member
from ulmfit.config.model import Direction
from ulmfit.config.stages import PretrainConfig, directions_of
from ulmfit.data.sources import read_many
from ulmfit.data.token_store import TokenStore, fingerprint_files, open_or_build
from ulmfit.errors import DataError
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.models.word_vectors import counted_weights
from ulmfit.stages.language_modelling import part_of, train_language_model
from ulmfit.stages.machine import resolve_machine
from ulmfit.stages.record import describe_store, run_record
from ulmfit.stages.run_folder import RunFolder
from ulmfit.stages.standard_input import with_standard_input
from ulmfit.stages.tokenizer import load_tokenizer
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training import processes

HELD_OUT_EVERY, HELD_OUT_AT_MOST = 100, 1_000
"""Without a validation file, one document in so many is held out, and so many at most: they are
read at every evaluation."""


def pretrain(config: PretrainConfig, *, quiet: bool = False) -> Path:
    """Train the language models that `config` asks for and return the folder that holds them.

    Raises `UlmfitError` for wrong settings, bad text, or an output that is taken.
    """
    with processes.joined(), RunFolder(config, quiet) as run:
        config = replace(config, texts=with_standard_input(run, config.texts))
        machine = resolve_machine(run, config.training)
        tokenizer = _tokenizer(config, run)
        training, validation = _stores(config, tokenizer, run)
        models: list[LanguageModel] = []
        counted: dict[str, Tensor] = {}
        results: dict[str, Any] = {}
        for direction in directions_of(config.directions):
            model = _new_model(config, tokenizer, direction)
            fresh = not run.began(part_of(direction))
            # The other processes are given the first one's weights when training begins.
            if fresh and config.initial_weights == "counts" and processes.is_first():
                counted = counted or _counted(training, model, run)
                model.network.load_state_dict(counted, strict=False)
            model.network.to(machine.device)
            results[direction] = train_language_model(
                run, model, config, (training, None), (validation, None), machine.precision
            )
            models.append(model)
        data = [
            describe_store("training", config.texts, training),
            describe_store("validation", [config.validation or "held out"], validation),
        ]
        models[0].run = {"pretrain": run_record(config, data, results, machine.record())}
        if processes.is_first():
            save_language_models(
                models, run.output, storage=config.storage, overwrite=run.may_replace()
            )
        run.close()
        return run.output


def _new_model(config: PretrainConfig, tokenizer: Tokenizer, direction: Direction) -> LanguageModel:
    """Return a language model of random weights, the same for the same seed."""
    torch.manual_seed(config.training.seed)
    dropout = config.dropout.scaled(config.dropout_multiplier)
    network = LanguageModelNetwork(config.encoder(tokenizer.vocab_size), dropout)
    member = Member(direction=direction, prefix=direction, begin_mark=config.begin_mark)
    return LanguageModel(network, tokenizer, member, bptt=config.lanes.bptt)


def _counted(store: TokenStore, model: LanguageModel, run: RunFolder) -> dict[str, Tensor]:
    """Return the weights that the counts of the text give, the same for both directions."""
    run.log.say("counting neighbours")
    frequencies = store.frequencies(model.config.vocab_size)
    return counted_weights(store.tokens, frequencies, model.config.embedding_size)


def _tokenizer(config: PretrainConfig, run: RunFolder) -> Tokenizer:
    """Return the tokenizer of the folder named, of the interrupted run, or a newly trained one."""
    if config.tokenizer_folder is not None:
        return load_tokenizer(config.tokenizer_folder)
    trained = processes.from_first(lambda: _trained_tokenizer(config, run))
    return Tokenizer.from_json(trained, config.tokenizer)


def _trained_tokenizer(config: PretrainConfig, run: RunFolder) -> bytes:
    kept = run.path / "tokenizer.json"
    if not kept.exists():
        run.log.say("training the tokenizer")
        tokenizer = Tokenizer.train(_held_in(config), config.tokenizer)
        temporary = kept.with_name("tokenizer.json.tmp")
        temporary.write_bytes(tokenizer.to_json())
        temporary.replace(kept)
    return kept.read_bytes()


def _stores(
    config: PretrainConfig, tokenizer: Tokenizer, run: RunFolder
) -> tuple[TokenStore, TokenStore]:
    """Return the token stores of the training and of the validation text."""
    text = fingerprint_files(config.texts, config.reading)
    if config.validation is None:
        share = f"one in {HELD_OUT_EVERY}, {HELD_OUT_AT_MOST} at most"
        held_in, held_out = f"{text} without {share}", f"{text} of it {share}"
    else:
        held_in, held_out = text, fingerprint_files([config.validation], config.reading)
    run.check_unchanged("tokenizer", tokenizer.fingerprint)
    run.check_unchanged("text", f"{held_in}, {held_out}")
    cache, unicode = Path(config.cache), UnicodeCheck(config.reading.strict)
    training = open_or_build(
        lambda: _held_in(config, unicode), held_in, tokenizer, cache, unicode=unicode
    )
    run.log.warn(unicode.report())
    unicode = UnicodeCheck(config.reading.strict)
    validation = open_or_build(
        lambda: _held_out(config, unicode), held_out, tokenizer, cache, unicode=unicode
    )
    if config.validation is not None:
        run.log.warn(unicode.report())
    return training, validation


def _held_in(config: PretrainConfig, unicode: UnicodeCheck | None = None) -> Iterator[Text]:
    if config.validation is not None:
        yield from _texts(config.texts, config, unicode)
        return
    index, held_out = -1, _held_out_indices()
    for index, text in enumerate(_texts(config.texts, config, unicode)):
        if index not in held_out:
            yield text
    if index == 0:
        raise DataError(
            f"{config.texts[0]}: a single document, which is held out to measure on; give more, or "
            "held-out text with --validation"
        )


def _held_out(config: PretrainConfig, unicode: UnicodeCheck | None = None) -> Iterator[Text]:
    if config.validation is not None:
        return _texts([config.validation], config, unicode)
    indices = _held_out_indices()
    return islice(_texts(config.texts, config, unicode), 0, indices.stop, indices.step)


def _held_out_indices() -> range:
    return range(0, HELD_OUT_EVERY * HELD_OUT_AT_MOST, HELD_OUT_EVERY)


def _texts(
    paths: Iterable[str], config: PretrainConfig, unicode: UnicodeCheck | None = None
) -> Iterator[Text]:
    documents = read_many(paths, config.reading, labelled=False, unicode=unicode)
    return (document.text for document in documents)
