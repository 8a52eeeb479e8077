"""Labels for unlabelled documents by the classifier itself (Yarowsky 1995, Lee 2013)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import Task
from ulmfit.config.stages import TrainConfig
from ulmfit.data.answers import decisions
from ulmfit.data.pseudo_labels import aligned, sureness, surest
from ulmfit.data.sources import Document
from ulmfit.data.targets import Targets, label_counts, targets_of
from ulmfit.errors import ConfigError
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.stages.classifier_training import ClassifierTraining, LabelledData
from ulmfit.stages.co_training import counted_answers
from ulmfit.stages.run_folder import RunFolder
from ulmfit.stages.unlabelled import unlabelled_documents, unlabelled_files
from ulmfit.text.types import Text
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training import processes
from ulmfit.training.device import Precision


def check_self_training(config: TrainConfig, task: Task) -> None:
    """Refuse rounds of self-training without documents, and settings that do not fit the task."""
    if not config.self_training.rounds:
        return
    if config.self_training.share < 1 and task.kind == "number":
        raise ConfigError(
            f"setting 'self_training.share': found {config.self_training.share:g}, but the "
            "documents are labelled with numbers, none surer than another; leave it out"
        )
    if config.self_training.aligned and task.kind != "single_label":
        raise ConfigError(
            "setting 'self_training.aligned': found true, but the documents do not have one label "
            "each; leave it out"
        )
    if not unlabelled_files(config):
        raise ConfigError(
            f"setting 'self_training.rounds': found {config.self_training.rounds}, but there are "
            "no documents to label; give --unlabelled"
        )
    if config.language_model.skip:  # nobody else reads them before hours of training
        for _ in unlabelled_documents(config, UnicodeCheck(config.reading.strict)):
            pass


def self_trained(
    config: TrainConfig,
    run: RunFolder,
    stage: ClassifierTraining,
    classifier: TextClassifier,
    data: LabelledData,
) -> tuple[TextClassifier, dict[str, Any]]:
    """Return the classifier of the last round, `classifier` if there is none, and all results."""
    settings = config.self_training
    if not settings.rounds:
        return classifier, {}

    def labelled() -> list[Document]:
        found = labelling.by(teachers)
        run.log.say(f"self-training: learns from {len(found):,} documents that it has labelled")
        if not found:
            run.log.warn("self-training: no document without a label is left to learn from")
        return found

    labelling = Labelling(config, data, stage.machine.precision)
    others, results = stage.other_seeds(data, settings.teachers - 1)
    teachers = [classifier, *others]
    for number in range(1, settings.rounds + 1):
        classifier, measured = stage.train_again(data, cache(labelled), number, settings.epochs)
        teachers.append(classifier)
        results |= measured
    return classifier, results


class Labelling:
    """Unlabelled documents and what classifiers say of them; each of these reads them once.

    Texts that are labelled, or held out, are left out.
    """

    def __init__(self, config: TrainConfig, data: LabelledData, precision: Precision) -> None:
        """Texts are read with products in `precision`."""
        self.config, self.data, self.precision = config, data, precision
        self._asked = 0
        self._total: NDArray[np.float32] | None = None

    def by(self, teachers: Sequence[TextClassifier]) -> list[Document]:
        """Return documents with what `teachers` decide together, and how surely as weight.

        `teachers` are those of the last call and perhaps others behind them. With co-training, a
        linear model that learned from them weighs as much as all of them together. Of the
        documents, the share asked for is kept. Of several processes the first one decides.
        """

        def labels_and_weights() -> list[tuple[int, Any, float]]:
            task, answers = self.data.task, self._answers(teachers)
            kept = self._kept(answers)
            labels, sure = decisions(task, answers[kept]), sureness(task, answers[kept])
            return list(zip(kept.tolist(), labels, sure.tolist(), strict=True))

        return [
            replace(self._documents[place], label=_as_label(label), weight=weight)
            for place, label, weight in processes.agreed(labels_and_weights)
        ]

    def _answers(self, teachers: Sequence[TextClassifier]) -> NDArray[np.float32]:
        """Return what is answered of the documents by all together, [documents, outputs]."""
        settings, task, labelled = self.config.self_training, self.data.task, self.data.training
        answers = self._mean(teachers)
        if not len(answers):
            return answers
        if settings.co_training != "none":
            texts = [document.text for document in self._documents]
            counted = counted_answers(settings.co_training, labelled, texts, answers, task)
            answers = (answers + counted) / np.float32(2)
        if settings.aligned:
            answers = aligned(answers, label_counts(self._truth, len(task.labels)) / len(labelled))
        return answers

    def _kept(self, answers: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the places of the documents that are learned from."""
        share = self.config.self_training.share
        if share == 1.0:
            return np.arange(len(answers))
        return surest(self.data.task, answers, share, self._truth)

    @cached_property
    def _truth(self) -> Targets:
        return targets_of(self.data.training, self.data.task)

    @cached_property
    def _documents(self) -> list[Document]:
        known = {each.text for each in (*self.data.training, *self.data.validation)}
        return _drawn(self.config, known)

    def _mean(self, teachers: Sequence[TextClassifier]) -> NDArray[np.float32]:
        """Return the mean of the teachers' answers [documents, outputs]."""
        texts = [document.text for document in self._documents]
        for teacher in teachers[self._asked :]:
            reader = copy(teacher)
            reader.precision = self.precision
            answers = reader.predict_proba(texts)
            self._total = answers if self._total is None else self._total + answers
        self._asked = len(teachers)
        assert self._total is not None
        return self._total / np.float32(self._asked)


def _drawn(config: TrainConfig, known: set[Text]) -> list[Document]:
    """Return documents that are not known: all, or as many as asked for, each as likely."""
    most = config.self_training.documents
    generator = random.Random(config.classifier.training.seed)
    kept: list[tuple[int, Document]] = []
    unicode = UnicodeCheck(config.reading.strict)
    stream = unlabelled_documents(config, unicode)
    unknown = (document for document in stream if document.text not in known)
    for place, document in enumerate(unknown):  # reservoir sampling, algorithm R
        if len(kept) < most:
            kept.append((place, document))
        elif (chosen := generator.randrange(place + 1)) < most:
            kept[chosen] = (place, document)
    return [document for _, document in sorted(kept, key=lambda each: each[0])]


def _as_label(decided: Any) -> str | tuple[str, ...]:
    """Return a decision as a document's label is written; through JSON, tuples are lists."""
    return tuple(decided) if isinstance(decided, list | tuple) else str(decided)
