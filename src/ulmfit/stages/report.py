"""The command that writes a report: a page for people, the same as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ulmfit import __version__
from ulmfit.config.artefact import Task
from ulmfit.config.questions import ReportConfig
from ulmfit.config.settings import to_dict
from ulmfit.data.sources import Document, read_documents
from ulmfit.data.targets import targets_of
from ulmfit.errors import ConfigError, DataError
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.report.contents import (
    BASELINE,
    Contents,
    baseline_answers,
    baseline_task,
    compare,
    describe,
)
from ulmfit.report.page import render
from ulmfit.stages.evaluate import finite
from ulmfit.stages.output_file import check_not_read, named_output, whole_file
from ulmfit.stages.record import describe_machine
from ulmfit.stages.warning import warn_of, warn_of_columns
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training.device import resolve_device


def report(config: ReportConfig, *, quiet: bool = False) -> str:
    """Write the report as `config.output`, and beside it the same as JSON; return its path.

    Raises `UlmfitError` for a wrong setting, bad data, a label the classifier does not know, or
    a model of other labels to compare with.
    """
    page = named_output(config.output, ".html")
    data = page.with_suffix(".json")
    for each in (page, data):
        check_not_read(each, config.data, config.training)
    _check_own(data)
    unicode = UnicodeCheck(config.reading.strict)
    with whole_file(page) as page_file, whole_file(data) as data_file:
        contents = _contents(config, unicode, quiet)
        page_file.write(render(contents))
        for miss in contents["misses"]:
            del miss["html"]
        json.dump(contents, data_file, indent=1, ensure_ascii=False, allow_nan=False)
    warn_of(unicode, quiet)
    return str(page)


def _check_own(path: Path) -> None:
    """Raise `ConfigError` if what stands at `path`, which nobody named, is no earlier report."""
    try:
        written = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except (OSError, ValueError, RecursionError):
        written = {}
    if written is not None and not (isinstance(written, dict) and "comparison" in written):
        raise ConfigError(
            f"setting 'output': {path}, where the report goes as JSON, is something else; give "
            "another name, or move it away"
        )


def _contents(config: ReportConfig, unicode: UnicodeCheck, quiet: bool) -> Contents:
    """Return everything that the report tells; labels that are not known are told at once."""
    classifier = _load(config, config.model)
    warn_of_columns(classifier, len(config.reading.text_columns), quiet)
    targets_of([replace(each, text="") for each in _documents(config)], classifier.task)
    documents = _documents(config, unicode)
    contents = describe(_name(config.model), classifier, documents, config.misses)
    contents["data"]["name"] = _name(config.data)
    contents |= _compared(config, contents, classifier.task)
    contents |= {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "ulmfit": __version__,
        "settings": to_dict(config),
    }
    found: Contents = finite(contents)
    return found


def _compared(config: ReportConfig, contents: Contents, task: Task) -> Contents:
    """Return the measures of this model, of others, and of the linear baseline."""
    own = {row["measure"]: row["value"] for row in contents["scores"]}
    rows: list[Contents] = [{"model": contents["model"]["name"], **own}]
    for name in config.others:
        other = _load(config, name)
        if (other.task.kind, other.task.labels) != (task.kind, task.labels):
            raise ConfigError(
                f"setting 'others': {name} answers otherwise than {config.model}; compare models "
                "of the same labels"
            )
        documents = list(_documents(config))
        answers = other.predict_proba([document.text for document in documents])
        rows.append(compare(_name(name), other.task, answers, targets_of(documents, task)))
    if config.training is None:
        return {"comparison": rows, "baseline": None, "training": None}
    training = list(read_documents(config.training, config.reading, labelled=True))
    documents = list(_documents(config))
    characters = config.baseline == "characters"
    try:
        plain = baseline_task(task, training, characters)
        answers = baseline_answers(plain, training, documents, characters)
    except ValueError as error:  # scikit-learn's, of too few labels, documents or words
        raise DataError(
            f"{config.training}: the baseline cannot learn from it: {error}; give more documents"
        ) from None
    rows.append(compare(BASELINE, plain, answers, targets_of(documents, task)))
    return {
        "comparison": rows,
        "baseline": len(training),
        "training": _name(config.training),
    }


def _load(config: ReportConfig, name: str) -> TextClassifier:
    return TextClassifier.from_pretrained(name, device=resolve_device(config.device))


def _documents(config: ReportConfig, unicode: UnicodeCheck | None = None) -> Iterator[Document]:
    return read_documents(config.data, config.reading, labelled=True, unicode=unicode)


def _name(path: Any) -> str:
    return Path(path).name
