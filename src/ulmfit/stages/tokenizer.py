"""Training a tokenizer alone, to be shared by several pretraining runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ulmfit.config.artefact import ArtefactConfig
from ulmfit.config.stages import TokenizerStageConfig
from ulmfit.data.sources import read_many
from ulmfit.models.card import card
from ulmfit.models.folder import read_config, resolve, write_folder
from ulmfit.stages.record import run_record
from ulmfit.stages.run_folder import RunFolder
from ulmfit.stages.standard_input import with_standard_input
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.unicode import UnicodeCheck


def train_tokenizer(config: TokenizerStageConfig, *, quiet: bool = False) -> Path:
    """Learn a tokenizer from the text that `config` names and return its folder.

    Raises `UlmfitError` for bad text or an output that is taken.
    """
    with RunFolder(config, quiet) as run:
        config = replace(config, texts=with_standard_input(run, config.texts))
        unicode = UnicodeCheck(config.reading.strict)
        documents = read_many(config.texts, config.reading, labelled=False, unicode=unicode)
        tokenizer = Tokenizer.train((document.text for document in documents), config.tokenizer)
        run.log.warn(unicode.report())
        results = {"tokenizer": {"vocab_size": tokenizer.vocab_size}}
        data = [Path(path).name for path in config.texts]
        artefact = ArtefactConfig(
            kind="tokenizer",
            tokenizer=config.tokenizer,
            run={"tokenizer": run_record(config, data, results, {})},
        )
        files = {"tokenizer.json": tokenizer.to_json()}
        write_folder(run.output, artefact, files, card(artefact), overwrite=run.may_replace())
        run.close()
    return run.output


def load_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer of a folder of any kind, a shipped model, or a model on the hub."""
    folder = resolve(name)
    settings = read_config(folder).tokenizer
    return Tokenizer.from_json((folder / "tokenizer.json").read_bytes(), settings)
