"""Why a document is answered as it is: one call, one object, plain data."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ulmfit.config.artefact import Task
from ulmfit.data.answers import decisions
from ulmfit.data.documents import in_order
from ulmfit.errors import ConfigError
from ulmfit.explain.attribution import integrated_gradients, occlusion
from ulmfit.explain.words import Word, Words, split_words
from ulmfit.models.text_classifier import TextClassifier, answering
from ulmfit.text.types import Text, columns_of, text_of_columns
from ulmfit.text.unicode import replace_surrogates

Method = Literal["integrated_gradients", "occlusion"]


@dataclass(frozen=True)
class Explanation:
    """What each word of a document contributes to the answers on it.

    Answers are probabilities or, of a regression, a number.
    """

    text: Text
    task: Task
    method: Method
    labels: tuple[str, ...]
    """Those explained; of a number, the one name `number`."""

    answers: NDArray[np.float64]
    """The answer for each of `labels`, [labels]."""

    words: list[Word]

    contributions: NDArray[np.float64]
    """What each word adds to each answer, [words, labels]."""

    start: NDArray[np.float64] | None
    """The answers without any word, [labels], to which the contributions are added; None where
    they do not add up (`occlusion`)."""

    running: dict[str, NDArray[np.float64]]
    """The answers after each word that a member has read, [words, labels], by the member's name:
    `forward`, or `forward_2` of several. Backward ones read the last word first."""

    decision: Any
    """What is decided of the document."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "text": self.text,
            "method": self.method,
            "decision": self.decision,
            "answers": dict(zip(self.labels, self.answers.tolist(), strict=True)),
            "start": None
            if self.start is None
            else dict(zip(self.labels, self.start.tolist(), strict=True)),
            "words": [
                {
                    "word": word.text,
                    "column": word.column,
                    "start": word.start,
                    "end": word.end,
                    "contributions": dict(zip(self.labels, row.tolist(), strict=True)),
                }
                for word, row in zip(self.words, self.contributions, strict=True)
            ],
            "running": {
                name: [dict(zip(self.labels, row, strict=True)) for row in rows.tolist()]
                for name, rows in self.running.items()
            },
        }


def explain(
    classifier: TextClassifier,
    text: Text,
    *,
    method: Method = "integrated_gradients",
    labels: Sequence[str] | None = None,
) -> Explanation:
    """Return what each word of `text` contributes to the answers for `labels`.

    Without `labels`, those that are decided; or, if none is, the likeliest. `integrated_gradients`
    (Sundararajan et al. 2017) are fine-grained and add up; `occlusion` leaves words out and reads
    again.

    A lone surrogate counts as U+FFFD. Raises `ConfigError` for an unknown label or method, or if
    captum is not installed.
    """
    if method not in get_args(Method):
        raise ConfigError(f"method: found {method!r}; give {' or '.join(get_args(Method))}")
    text = text_of_columns(map(replace_surrogates, columns_of(text)))
    # Contributions are in float32, and add up to what is answered in it.
    classifier = copy(classifier)
    classifier.precision = "float32"
    answers = np.asarray(classifier.predict_proba([text])[0], dtype=np.float64)
    places = _places(classifier.task, answers, labels)
    words = split_words(classifier.tokenizer, text)
    start: NDArray[np.float64] | None = None
    if method == "occlusion":
        changes, _ = occlusion(classifier, words)
        contributions = changes[:, places]
    else:
        by_id, start = integrated_gradients(classifier, words, places)
        contributions = words.sums(by_id)
    task = classifier.task
    return Explanation(
        text=text,
        task=task,
        method=method,
        labels=tuple(task.labels[i] for i in places) if task.labels else ("number",),
        answers=answers[places],
        words=words.words,
        contributions=contributions,
        start=start,
        running={
            each.member.prefix: _running(classifier, number, words)[:, places]
            for number, each in enumerate(classifier.members)
        },
        decision=decisions(task, answers[None])[0],
    )


def _places(task: Task, answers: NDArray[np.float64], labels: Sequence[str] | None) -> list[int]:
    """Return which outputs are to be explained."""
    if task.kind == "number":
        if labels:
            raise ConfigError(f"labels: found {labels[0]!r}, but the classifier answers a number")
        return [0]
    if labels is None:
        decided = decisions(task, answers[None])[0]
        several = decided if isinstance(decided, tuple) else (decided,)
        return [task.labels.index(label) for label in several] or [int(answers.argmax())]
    for label in labels:
        if label not in task.labels:
            raise ConfigError(
                f"labels: found {label!r}, which is none of the classifier's: "
                f"{', '.join(task.labels[:20])}"
            )
    return [task.labels.index(label) for label in labels]


@torch.no_grad()
def _running(classifier: TextClassifier, number: int, words: Words) -> NDArray[np.float64]:
    """Return a member's own answers [words, outputs] when it has read as far as each word."""
    each = classifier.members[number]
    network, objective = each.network, answering(classifier.task)
    (ids,) = in_order([words.ids], each.member)
    (places,) = in_order([words.places], each.member)
    row = torch.from_numpy(ids).to(network.encoder.embedding.weight.device)[None]
    outputs = network.encoder(network.encoder.embed(row))[0][0].float()
    counts = torch.arange(1, len(outputs) + 1)[:, None]
    means = (outputs.cpu().double().cumsum(0) / counts).to(outputs)  # some GPUs have no float64
    pooled = torch.cat([outputs, outputs.cummax(0).values, means], dim=1)
    read: dict[int, int] = {}
    for time, place in enumerate(places.tolist()):  # marks go with the word before them
        read[place if place >= 0 else next(reversed(read), -1)] = time
    times = [read[place] for place in range(len(words.words))]
    if not times:
        return np.zeros((0, classifier.task.outputs))
    answers = objective.answers(network(pooled[times]))
    return np.asarray(answers.cpu().double().numpy())
