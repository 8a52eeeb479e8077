"""A language model gets the vocabulary of another text, before it is fine-tuned on it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ulmfit.config.conversions import TransferConfig
from ulmfit.config.stages import directions_of
from ulmfit.data.sources import read_many
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.vocabulary import coverage, known_as, with_vocabulary
from ulmfit.stages.finetune import text_store
from ulmfit.stages.record import describe_store, run_record, with_record
from ulmfit.stages.run_folder import RunFolder
from ulmfit.stages.tokenizer import load_tokenizer
from ulmfit.text.tokenizer import Tokenizer


def transfer(config: TransferConfig, *, quiet: bool = False) -> Path:
    """Give the language models that `config` names a new vocabulary; return their folder.

    How much of the text the old vocabulary knows is told, and kept in the record.

    Raises `UlmfitError` for wrong settings, bad text, or an output that is taken.
    """
    with RunFolder(config, quiet) as run:
        models = [
            LanguageModel.from_pretrained(config.pretrained, direction=direction)
            for direction in directions_of(config.directions)
        ]
        if config.tokenizer_folder is None:
            documents = read_many(config.texts, config.reading, labelled=False)
            tokenizer = Tokenizer.train((d.text for d in documents), config.tokenizer)
        else:
            tokenizer = load_tokenizer(config.tokenizer_folder)
        store = text_store(config, tokenizer, run)
        known = known_as(tokenizer, models[0].tokenizer)
        found = coverage(tokenizer, known, store.frequencies(tokenizer.vocab_size))
        run.log.say(str(found))
        run.log.write("coverage", **asdict(found))
        data = [describe_store("text", config.texts, store), str(found)]
        results = {"vocabulary": {"known types": found.types, "known tokens": found.tokens}}
        moved = [with_vocabulary(model, tokenizer, known) for model in models]
        record = run_record(config, data, results, {})
        moved[0].run = with_record(models[0].run, "transfer", record)
        save_language_models(moved, run.output, storage=config.storage, overwrite=run.may_replace())
        run.close()
        return run.output
