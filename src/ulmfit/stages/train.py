"""Stages 2 and 3: from a pretrained language model and labelled documents to a classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ulmfit.config.artefact import Task
from ulmfit.config.stages import ClassifierStage, TrainConfig
from ulmfit.config.training import TrainingConfig
from ulmfit.data.documents import training_batches
from ulmfit.data.lanes import count_tokens
from ulmfit.data.sources import Document, read_documents
from ulmfit.data.splits import split_labelled
from ulmfit.data.targets import alike_labels, kind_of, make_task, targets_of
from ulmfit.data.token_store import TokenStore, fingerprint_texts, open_or_build
from ulmfit.errors import ConfigError
from ulmfit.models.card import describe_task
from ulmfit.stages.calibrate import calibrate_on
from ulmfit.stages.classification import class_weights, objective_of
from ulmfit.stages.classifier_training import ClassifierTraining, LabelledData
from ulmfit.stages.finetune import load_for_training
from ulmfit.stages.language_modelling import Documents, train_language_model
from ulmfit.stages.machine import resolve_machine
from ulmfit.stages.record import describe_store, run_record, with_record
from ulmfit.stages.run_folder import RunFolder
from ulmfit.stages.self_training import check_self_training, self_trained
from ulmfit.stages.unlabelled import unlabelled_documents, unlabelled_fingerprint
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text, columns_of
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training import processes

HELD_OUT_EVERY, HELD_OUT_AT_MOST = 20, 200
"""One unlabelled document in so many, up to so many, is held out to measure perplexity."""


def train(config: TrainConfig, *, quiet: bool = False) -> Path:
    """Train the classifier that `config` describes and return its folder.

    Each direction goes through both stages by itself; the probabilities are averaged.

    Raises `UlmfitError` for wrong settings, bad data, or an output that is taken.
    """
    check_machine(config)
    with processes.joined(), RunFolder(config, quiet) as run:
        machine = resolve_machine(run, config.classifier.training)
        data = read_labelled(config, run)
        check_self_training(config, data.task)
        if fingerprint := unlabelled_fingerprint(config):
            run.check_unchanged("unlabelled text", fingerprint)
        models = load_for_training(run, config, settings=config.language_model)
        text = text_of(config, data, fingerprint, models[0].tokenizer, run)
        stage = ClassifierTraining(run, models, config.classifier, machine)
        results: dict[str, Any] = {}
        for model in models:
            model.network.to(machine.device)
            if text is not None:
                results[f"language model, {model.member.direction}"] = train_language_model(
                    run, model, config.language_model, *text, machine.precision
                )
        classifier, measured = stage.train(data)
        results |= measured
        classifier, measured = self_trained(config, run, stage, classifier, data)
        results |= measured
        if processes.is_first():  # which alone writes it
            calibrated = calibrate_on(classifier, data.validation, config.calibration)
            if not calibrated and data.task.kind != "number":
                run.log.say(_uncalibrated(config, len(data.validation)))
            results |= calibrated
        resolved = {**machine.record(), "gradient_chunks": stage.gradient_chunks}
        record = run_record(config, _described(config, data, text), results, resolved)
        classifier.run = with_record(models[0].run, "train", record)
        if processes.is_first():
            overwrite = run.may_replace()
            classifier.save_pretrained(run.output, storage=config.storage, overwrite=overwrite)
        run.close()
        return run.output


def check_machine(config: TrainConfig) -> None:
    """Refuse a machine for stage 2 alone: the whole run is on the classifier's."""
    for name in ("device", "precision", "threads"):
        given = getattr(config.language_model.training, name)
        used = getattr(config.classifier.training, name)
        if given not in (used, getattr(TrainingConfig(), name)):
            raise ConfigError(
                f"setting 'language_model.training.{name}': found {given!r}, but the whole run has "
                f"'classifier.training.{name}' = {used!r}; give it there"
            )


def read_labelled(config: TrainConfig, run: RunFolder) -> LabelledData:
    """Read, split and check the labelled documents."""
    unicode = UnicodeCheck(config.reading.strict)
    column = config.validation.column
    documents = list(
        read_documents(
            config.data,
            config.reading,
            labelled=True,
            unicode=unicode,
            extra_column=column,
            weighted=True,
        )
    )
    seed = config.classifier.training.seed
    asked = config.classifier.task
    kind = kind_of(documents) if asked == "auto" else asked
    training, validation = split_labelled(
        documents, config.validation, config.reading, seed, unicode, kind
    )
    task = make_task(training, kind, config.classifier.range)
    _check_stage(config.classifier, training, validation, task)
    run.check_unchanged("data", _fingerprint(training, validation))
    run.log.warn(unicode.report())
    hint = "; if not so, give --classifier.task" if asked == "auto" else ""
    run.log.say(f"{describe_task(task)}{hint}")
    run.log.say(f"{len(training):,} labelled documents to train on, {len(validation):,} held out")
    run.log.warn(alike_labels(task))
    return LabelledData(training, validation, task)


def _check_stage(
    settings: ClassifierStage,
    training: Sequence[Document],
    validation: Sequence[Document],
    task: Task,
) -> None:
    """Refuse settings and labels that do not fit the data now, not after hours of stage 2."""
    targets_of(validation, task)
    weights = class_weights(settings.class_weights, targets_of(training, task), task)
    objective_of(task, settings, weights)
    if settings.metric == "micro_f1" and task.kind == "single_label":
        raise ConfigError(
            "setting 'classifier.metric': micro_f1 of one label a document is its accuracy; give "
            "accuracy"
        )
    lengths, batch_size = np.ones(len(training)), settings.training.batch_size
    training_batches(lengths, batch_size, np.random.default_rng(0))


def _fingerprint(training: Sequence[Document], validation: Sequence[Document]) -> str:
    """Return a hash of the texts, labels and weights, and of which are held out."""
    parts = [("training", training), ("validation", validation)]
    return fingerprint_texts(
        text
        for name, part in parts
        for document in part
        for text in (name, document.label or "", _weighted_text(document))
    )


def _weighted_text(document: Document) -> Text:
    """Return the text, and before it the weight if it is another than that of all."""
    if document.weight == 1.0:
        return document.text
    return (str(document.weight), *columns_of(document.text))


def text_of(
    config: TrainConfig,
    data: LabelledData,
    fingerprint: str,
    tokenizer: Tokenizer,
    run: RunFolder,
) -> tuple[Documents, Documents | None] | None:
    """Return the text of stage 2 and the text to measure perplexity on; None if it is skipped.

    Held out are the labelled validation documents and a few of the unlabelled ones, whose files
    have this fingerprint.
    """
    if config.language_model.skip:
        return None
    labelled = [document.text for document in (*data.training, *data.validation)]
    unicode = UnicodeCheck(config.reading.strict)

    def texts() -> Iterator[Text]:
        yield from labelled
        yield from (document.text for document in unlabelled_documents(config, unicode))

    both = fingerprint_texts(labelled) + fingerprint
    store = open_or_build(texts, both, tokenizer, Path(config.cache), unicode=unicode)
    run.log.warn(unicode.report())
    run.log.say(
        f"the language model reads {len(store):,} documents, {len(store) - len(labelled):,} of "
        f"them without a label, {len(store.tokens):,} tokens in all"
    )
    held_out = _held_out(store, len(data.training), len(labelled))
    if count_tokens(store, held_out) < 2:  # none, or an empty document
        return (store, None), None
    kept = np.setdiff1d(np.arange(len(store)), held_out)
    return (store, kept), (store, held_out)


def _held_out(store: TokenStore, training: int, labelled: int) -> np.ndarray:
    """Return the indices of the documents of `store` that the language model is measured on."""
    first = labelled + HELD_OUT_EVERY - 1
    unlabelled = np.arange(first, len(store), HELD_OUT_EVERY)[:HELD_OUT_AT_MOST]
    return np.concatenate([np.arange(training, labelled), unlabelled])


def _uncalibrated(config: TrainConfig, held_out: int) -> str:
    """Say why the probabilities are as the members give them, and what to do about it."""
    return (
        f"the probabilities are not calibrated: {held_out} documents held out, "
        f"{config.calibration.documents} are needed; hold out more (--validation.fraction), or run "
        "`ulmfit calibrate` on others"
    )


def _described(
    config: TrainConfig, data: LabelledData, text: tuple[Documents, Documents | None] | None
) -> list[str]:
    """Return a line for the labelled documents and one for the text of stage 2."""
    lines = [
        f"labelled: {Path(config.data).name}: {len(data.training):,} documents to train on, "
        f"{len(data.validation):,} held out"
    ]
    if text is not None:
        (store, _), _ = text
        lines.append(describe_store("text", [config.data, *config.unlabelled], store))
    return lines
