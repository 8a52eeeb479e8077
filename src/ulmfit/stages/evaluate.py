"""Measuring a finished model on documents it has not seen."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from rich.cells import cell_len

from ulmfit import __version__
from ulmfit.config.artefact import Task
from ulmfit.config.questions import EvaluateConfig
from ulmfit.config.settings import to_dict
from ulmfit.data.sources import read_documents
from ulmfit.data.targets import Targets, targets_of
from ulmfit.data.token_store import open_or_build
from ulmfit.errors import ArtefactError
from ulmfit.models.card import is_number
from ulmfit.models.folder import kind_of, read_config, resolve
from ulmfit.models.language_model import LanguageModel
from ulmfit.models.loading import load_classifier
from ulmfit.stages.language_modelling import evaluate_language_model
from ulmfit.stages.output_file import check_not_read, named_output, whole_file
from ulmfit.stages.record import describe_machine
from ulmfit.stages.warning import warn_of, warn_of_columns
from ulmfit.text.types import Text
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training.allocator import keep_freed_memory
from ulmfit.training.device import resolve_device
from ulmfit.training.scores import scores_for

Results = dict[str, Any]


def evaluate(config: EvaluateConfig, *, quiet: bool = False) -> str:
    """Measure the model and return its results as a table; `config.output` gets them as JSON.

    Raises `UlmfitError` for a wrong setting, bad data, a label the classifier does not know, or
    a damaged model.
    """
    output = None if config.output is None else named_output(config.output, ".json")
    check_not_read(output, config.data)
    unicode = UnicodeCheck(config.reading.strict)
    with nullcontext() if output is None else whole_file(output) as file:
        results = measure(config, unicode, quiet)
        if file is not None:
            _write(file, config, results)
    warn_of(unicode, quiet)
    return table(results)


def measure(config: EvaluateConfig, unicode: UnicodeCheck, quiet: bool = False) -> Results:
    """Return the results of a model of either kind."""
    keep_freed_memory()
    config = replace(config, model=str(resolve(config.model)))
    kind = kind_of(Path(config.model))
    if kind == "tokenizer":
        raise ArtefactError(f"{config.model}: holds a tokenizer; there is nothing to measure")
    if kind == "language_model":
        return evaluate_language_models(config, unicode)
    return evaluate_classifier(config, unicode, quiet)


def evaluate_classifier(config: EvaluateConfig, unicode: UnicodeCheck, quiet: bool) -> Results:
    """Return the measures of the task, and those of each label.

    The file is read twice, for its labels first: one that is not known is told at once.
    """
    model = load_classifier(config.model, device=config.device)
    warn_of_columns(model, len(config.reading.text_columns), quiet)
    targets = _targets(config, model.task)
    scores = scores_for(model.task)
    for block in model.predict_blocks(_texts(config, unicode, labelled=True)):
        scores.add(targets[scores.documents : scores.documents + len(block)], block)
    return {"documents": scores.documents, **scores.results(), **scores.tables()}


def evaluate_language_models(config: EvaluateConfig, unicode: UnicodeCheck) -> Results:
    """Return the perplexities and bits per byte of each direction; every token is scored once."""
    device = resolve_device(config.device)
    artefact = read_config(resolve(config.model))
    by_member: list[Results] = []
    with TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        for direction in dict.fromkeys(member.direction for member in artefact.members):
            model = LanguageModel.from_pretrained(config.model, direction=direction, device=device)
            store = open_or_build(
                lambda: _texts(config, unicode, labelled=False),
                "evaluated",
                model.tokenizer,
                Path(cache),
            )
            total = evaluate_language_model(model.network, model.member, model.bptt, store)
            by_member.append(
                {
                    "member": direction,
                    "perplexity": total.perplexity,
                    "word_perplexity": total.word_perplexity,
                    "bits_per_byte": total.bits_per_byte,
                    "loss": total.loss,
                    "tokens": total.tokens,
                }
            )
        return {"documents": len(store), "members": by_member}


def _targets(config: EvaluateConfig, task: Task) -> Targets:
    """Return what is true of each document."""
    return targets_of(
        [
            replace(document, text="")  # the labels fit in memory, the texts may not
            for document in read_documents(config.data, config.reading, labelled=True)
        ],
        task,
    )


def _texts(config: EvaluateConfig, unicode: UnicodeCheck, *, labelled: bool) -> Iterator[Text]:
    documents = read_documents(config.data, config.reading, labelled=labelled, unicode=unicode)
    return (document.text for document in documents)


def table(results: Results) -> str:
    """Return results for people: the single numbers, then a row for each class or member."""
    single = {name: value for name, value in results.items() if is_number(value)}
    width = max(map(len, single)) + 2
    lines = [f"{name:<{width}}{_shown(value)}" for name, value in single.items()]
    for rows in results.values():
        if isinstance(rows, list) and rows:
            lines += ["", *_columns(rows)]
    return "\n".join(lines)


def _columns(rows: list[Results]) -> list[str]:
    cells = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(_padded, row, widths, range(len(row)))) for row in cells]


def _padded(cell: str, width: int, column: int) -> str:
    """Fill a cell up to the width it takes on a terminal: names to the left, numbers right."""
    blanks = " " * (width - cell_len(cell))
    return blanks + cell if column else cell + blanks


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _write(file: TextIO, config: EvaluateConfig, results: Results) -> None:
    """Write the results with what gave them; a measure that is not finite becomes null."""
    record = {
        **results,
        "settings": to_dict(config),
        "ulmfit": __version__,
        "machine": describe_machine(),
    }
    json.dump(finite(record), file, indent=2, ensure_ascii=False, allow_nan=False)
    file.write("\n")


def finite(value: Any) -> Any:
    """Return plain values with null for each number that is not finite, as JSON has it."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
