"""Everything a report tells, as plain data: what the page shows is this, and no more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from sklearn.model_selection import KFold

from ulmfit.config.artefact import Task
from ulmfit.data.sources import Document
from ulmfit.data.targets import Targets, targets_of
from ulmfit.explain.explanation import explain
from ulmfit.explain.page import shaded_text
from ulmfit.models.card import describe_task
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.models.tfidf import TfidfModel
from ulmfit.report.bootstrap import intervals, label_intervals
from ulmfit.report.observed import Miss, Observed
from ulmfit.training.calibration import fit_thresholds
from ulmfit.training.scores import Scores, scores_for

BASELINE = "TF-IDF and a linear model"
MOST_CLASSES = 40
"""Of more, the confusion matrix is left out; the pairs most often confused are always told."""

MOST_CONFUSIONS = 20
MOST_LABELS = 1_000
"""Of more, the labels' intervals are left out."""

Contents = dict[str, Any]


def describe(
    name: str, classifier: TextClassifier, documents: Iterator[Document], misses: int
) -> Contents:
    """Measure `classifier` on labelled documents and return what the report tells of it."""
    task = classifier.task
    scores, observed = scores_for(task), Observed(task, misses)
    while block := list(islice(documents, classifier.block_texts)):
        truth = targets_of(block, task)
        answers = classifier.predict_proba([document.text for document in block])
        scores.add(truth, answers)
        observed.add(block, truth, answers)
    truth, given = observed.joined()
    return {
        "model": {
            "name": name,
            "task": describe_task(task),
            "kind": task.kind,
            "members": [each.member.direction for each in classifier.members],
            "temperature": task.temperature,
            "runs": _runs(classifier.run),
        },
        "data": _data(task, observed, truth),
        "scores": _scores(task, scores, observed, truth, given),
        **_tables(scores, observed, truth, given),
        **_confusions(task, truth, given),
        "curves": _curves(classifier.run),
        "misses": [_miss(classifier, miss) for miss in observed.misses()],
    }


def compare(name: str, task: Task, answers: Any, truth: Targets) -> Contents:
    """Return the measures of another model's answers to the same documents."""
    scores = scores_for(task)
    scores.add(truth, answers)
    return {"model": name, **scores.results()}


def baseline_answers(
    task: Task, training: Sequence[Document], documents: Sequence[Document], characters: bool
) -> Any:
    """Return the answers of the linear baseline, which learns from `training`.

    It counts words or, for `characters`, runs of them.
    """
    texts, truth = [document.text for document in training], targets_of(training, task)
    model = TfidfModel(task, characters).fit(texts, truth)
    return model.answers([document.text for document in documents])


def baseline_task(task: Task, training: Sequence[Document], characters: bool) -> Task:
    """Return `task` as the baseline decides it: thresholds of its own where ours are fitted.

    They are fitted by F1 to answers on a third of `training` from the other two, in turn.
    """
    plain = replace(task, temperature=1.0, thresholds=None)
    if task.thresholds is None:
        return plain
    texts, truth = [document.text for document in training], targets_of(training, plain)
    answers = np.zeros(truth.shape, dtype=np.float32)
    for others, held_out in KFold(3, shuffle=True, random_state=0).split(texts):
        model = TfidfModel(plain, characters).fit([texts[i] for i in others], truth[others])
        answers[held_out] = model.answers([texts[i] for i in held_out])
    return replace(plain, thresholds=fit_thresholds(truth, answers, "f1", least=5))


def _data(task: Task, observed: Observed, truth: Any) -> Contents:
    words = observed.words
    quantiles = np.percentile(words, [0, 10, 50, 90, 100]).tolist()
    data: Contents = {
        "documents": len(words),
        "words": dict(zip(("least", "10 %", "median", "90 %", "most"), quantiles, strict=True)),
        "numbers": None,
        "labels_of_document": None,
    }
    if task.kind == "multi_label":
        counts = np.bincount(np.diff(truth.indptr)).tolist()
        data["labels_of_document"] = {str(n): count for n, count in enumerate(counts) if count}
    if task.kind == "number":
        low, middle, high = np.percentile(truth, [0, 50, 100]).tolist()
        data["numbers"] = {"least": low, "median": middle, "most": high}
    return data


def _tables(scores: Scores, observed: Observed, truth: Any, given: Any) -> Contents:
    """Return the tables of the scores; to each label its interval, its errors, and its lengths."""
    tables: Contents = scores.tables()
    rows = tables.get("labels", [])
    if not rows:
        return tables
    spread = label_intervals(truth, given) if len(rows) <= MOST_LABELS else None
    right, columns = np.asarray(truth.multiply(given).sum(0)).ravel(), truth.tocsc()
    given_at_all = np.asarray(given.sum(0)).ravel()
    for place, row in enumerate(rows):
        low, high = (None, None) if spread is None else spread[place]
        documents = columns.indices[columns.indptr[place] : columns.indptr[place + 1]]
        row |= {
            "f1_low": low,
            "f1_high": high,
            "missed": int(row["support"] - right[place]),
            "given_wrongly": int(given_at_all[place] - right[place]),
            "median_words": float(np.median(observed.words[documents])) if len(documents) else None,
        }
    return tables


def _scores(
    task: Task, scores: Scores, observed: Observed, truth: Any, given: Any
) -> list[Contents]:
    """Return each measure with the interval that it lies in, drawn anew."""
    spread = intervals(task, truth, given, observed.losses)
    rows = []
    for name, value in scores.results().items():
        low, high = spread.get(name, (None, None))
        rows.append({"measure": name, "value": value, "low": low, "high": high})
    return rows


def _confusions(task: Task, truth: Any, given: Any) -> Contents:
    """Return the matrix of counts [true, given], if it is small, and the commonest mistakes."""
    if task.kind != "single_label":
        return {"confusion": None, "confusions": []}
    counts = (truth.T @ given).tocoo()
    cells = sorted(
        (
            (int(count), task.labels[row], task.labels[column])
            for row, column, count in zip(counts.row, counts.col, counts.data, strict=True)
            if row != column and count
        ),
        reverse=True,
    )
    small = len(task.labels) <= MOST_CLASSES
    return {
        "confusion": counts.toarray().astype(int).tolist() if small else None,
        "confusions": [
            {"true": true, "given": said, "count": count}
            for count, true, said in cells[:MOST_CONFUSIONS]
        ],
    }


def _curves(run: dict[str, Any]) -> list[Contents]:
    """Return the losses by batch of each part that was trained: in training, and held out."""
    return [
        {
            "stage": stage,
            "part": part,
            "training": _losses(results.get("training_losses", [])),
            "held_out": _losses(results.get("history", [])),
        }
        for stage, record in run.items()
        for part, results in record.get("results", {}).items()
        if results.get("training_losses") or _losses(results.get("history", []))
    ]


def _losses(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("batch", "loss")
    return [{k: each[k] for k in names} for each in measured if each.get("loss") is not None]


def _runs(run: dict[str, Any]) -> list[Contents]:
    return [
        {
            "stage": stage,
            "date": record.get("date", ""),
            "machine": record.get("machine", ""),
            "data": record.get("data", []),
            "settings": json.dumps(record.get("settings", {}), indent=2, ensure_ascii=False),
        }
        for stage, record in run.items()
    ]


def _miss(classifier: TextClassifier, miss: Miss) -> Contents:
    """Return a document that is far off, with what spoke for the decision."""
    found = explain(classifier, miss.document.text, method="occlusion")
    return {
        "where": miss.document.where.rpartition("/")[2],
        "truth": miss.document.label,
        "decided": miss.decided,
        "loss": miss.loss,
        "explained": found.labels[0],
        "answer": float(found.answers[0]),
        "words": [
            [word.text, round(float(value), 5)]
            for word, value in zip(found.words, found.contributions[:, 0], strict=True)
        ],
        "html": shaded_text(found, 0),
    }
