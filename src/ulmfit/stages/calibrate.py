"""Probabilities that can be believed, and thresholds that suit: fitted after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import Task
from ulmfit.config.conversions import CalibrateConfig
from ulmfit.config.stages import CalibrationConfig
from ulmfit.data.answers import tempered
from ulmfit.data.sources import Document, read_documents
from ulmfit.data.targets import targets_of
from ulmfit.errors import ConfigError, DataError
from ulmfit.models.folder import check_replaceable, read_config, resolve
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.stages.record import run_record, with_record
from ulmfit.stages.warning import warn_of, warn_of_columns
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training.calibration import fit_temperature, fit_thresholds
from ulmfit.training.device import resolve_device
from ulmfit.training.scores import scores_for

CELLS = 10_000_000
"""Documents times labels that are fitted to, at most: with thousands of labels, a part of the
documents."""


def calibrate(config: CalibrateConfig, *, quiet: bool = False) -> str:
    """Write the classifier with the temperature and thresholds fitted; return what they change.

    Raises `UlmfitError` for a wrong setting, bad data, too few documents, a model that answers
    with numbers, or an output that is taken.
    """
    source = resolve(config.model)
    if (output := Path(config.output)).exists():
        check_replaceable(output.resolve(), config.overwrite)
    classifier = TextClassifier.from_pretrained(source, device=resolve_device(config.device))
    if classifier.task.kind == "number":
        raise ConfigError(f"{config.model}: answers with numbers; there is nothing to calibrate")
    warn_of_columns(classifier, len(config.reading.text_columns), quiet)
    unicode = UnicodeCheck(config.reading.strict)
    documents = list(read_documents(config.data, config.reading, labelled=True, unicode=unicode))
    if len(documents) < config.calibration.documents:
        raise DataError(
            f"{config.data}: {len(documents)} documents, too few to calibrate by; give "
            f"{config.calibration.documents}, or lower --calibration.documents"
        )
    results = calibrate_on(classifier, documents, config.calibration)
    record = run_record(config, [f"{Path(config.data).name}: {len(documents):,}"], results, {})
    classifier.run = with_record(classifier.run, "calibrate", record)
    storage = read_config(source).storage
    classifier.save_pretrained(config.output, storage=storage, overwrite=config.overwrite)
    warn_of(unicode, quiet)
    return "\n".join(_described(results))


def calibrate_on(
    classifier: TextClassifier, documents: Sequence[Document], settings: CalibrationConfig
) -> dict[str, dict[str, Any]]:
    """Fit the task of `classifier` to `documents`; return its measures before and after.

    What is not fitted anew stays as it is; thresholds go with the temperature they were found at.
    Nothing changes, and nothing is returned, with too few documents or for a number.
    """
    if len(documents) < settings.documents or classifier.task.kind == "number":
        return {}
    before = classifier.task
    documents = _at_most(documents, CELLS // len(before.labels))
    truth = targets_of(documents, before)
    classifier.task = replace(before, temperature=1.0)
    mean = classifier.predict_proba([document.text for document in documents])

    def answers(task: Task) -> NDArray[np.float32]:
        return tempered(task.kind, mean, task.temperature).astype(mean.dtype)

    task = before
    if settings.temperature:
        task = replace(task, temperature=fit_temperature(task, truth, mean), thresholds=None)
    if settings.thresholds != "none" and task.kind == "multi_label":
        least = settings.documents_of_label
        found = fit_thresholds(truth, answers(task), settings.thresholds, least)
        task = replace(task, thresholds=found)
    classifier.task = task
    measured = {}
    for name, each in {"before": before, "after": task}.items():
        scores = scores_for(each)
        scores.add(truth, answers(each))
        measured[f"calibration, {name}"] = scores.results() | {"temperature": each.temperature}
    return measured


def _at_most(documents: Sequence[Document], most: int) -> Sequence[Document]:
    """Return `documents` or, of more than `most`, so many of them, evenly spaced."""
    if len(documents) <= most:
        return documents
    return [documents[len(documents) * place // most] for place in range(most)]


def _described(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return a row for each measure: its name, before and after."""
    before, after = results.values()
    width = max(map(len, before)) + 2
    rows = [f"{name:<{width}}{before[name]:10.4f}{after[name]:10.4f}" for name in before]
    return [f"{'':<{width}}{'before':>10}{'after':>10}", *rows]
