"""What each token contributes to an answer: integrated gradients, or leaving it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ulmfit.data.documents import in_order
from ulmfit.errors import ConfigError
from ulmfit.explain.leaving_out import pool_without_each
from ulmfit.explain.scores import answer, frozen
from ulmfit.explain.words import Words
from ulmfit.models.text_classifier import TextClassifier, answering
from ulmfit.text.tokenizer import BEGIN_ID, FIELD_ID

STRETCHES = 4
"""In so many, at first, the way from baseline to document is gone."""

STEPS = 4
"""Gradients taken in a stretch of the way, at the places of Gauss and Legendre."""

MOST_STEPS = 1024
"""Gradients of a document and label, about, after which no stretch is halved any more."""

GAP = 0.05
"""Stretches are halved until the contributions miss the change they explain by less than this share
of it, and what the stretches miss, added up, is less than this share of all ups and downs."""

SMALLEST_CHANGE = 0.01
"""Of a change smaller than this (of a probability; of a number's range), the gap is a share of
this."""

TOKENS_AT_ONCE = 16_384
"""Of the path from baseline to document, whose activations are in memory together."""

T = TypeVar("T")

MOST_WINDOWS = 128
"""Into so many windows, at most, words are put together that are left out at once."""


def integrated_gradients(
    classifier: TextClassifier, words: Words, labels: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the contributions [time, labels] of ids, and the answers [labels] they start from.

    Sundararajan et al. 2017: the gradients along the way from word vectors of zeros to those of
    the document, times the way. Begin and field marks stay as they are, and contribute nothing.
    The contributions of a label and its start add up to its answer, within `GAP` of the change.

    Raises `ConfigError` if captum, the extra `explain`, is not installed.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise ConfigError(
            "integrated gradients need captum, which is not installed; run pip install captum"
        ) from None

    ids = [in_order([words.ids], each.member)[0] for each in classifier.members]
    vectors, starts = _vectors(classifier, ids)
    method = IntegratedGradients(lambda *each: answer(classifier, each))
    begins = []
    contributions = np.zeros((len(words.ids), len(labels)))
    with frozen(classifier):
        for column, label in enumerate(labels):
            way = _Way(classifier, method, vectors, starts, label)
            for each, own in zip(_adding_up(way), classifier.members, strict=True):
                reading = in_order([np.arange(len(words.ids))], own.member)[0]
                contributions[reading, column] += each
            begins.append(way.answer_at(0.0))
    return contributions, np.array(begins)


def occlusion(
    classifier: TextClassifier, words: Words
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how each label's answer changes if a word is left out, [words, labels]; and answers.

    The change from the document without the word to the whole one. In a document of more than
    `MOST_WINDOWS` words, neighbours are left out together and share the change.
    """
    window = max(1, ceil(len(words.words) / MOST_WINDOWS))
    windows = words.places // window
    count = ceil(len(words.words) / window)
    objective = answering(classifier.task)
    by_member = []
    for each in classifier.members:
        network, order = each.network.eval(), in_order([np.arange(len(windows))], each.member)[0]
        left_out, pooled = pool_without_each(
            network.encoder, words.ids[order], windows[order], classifier.bptt
        )
        answers = objective.answers(network(pooled)).detach().cpu().numpy()
        by_member.append(answers[[0, *(1 + np.argsort(left_out))]])
    answers = classifier.joined(by_member)
    changes = (answers[0] - answers[1:]) / window
    left = len(words.words) - window * (count - 1)
    if count:
        changes[-1] *= window / left
    return changes.repeat(window, axis=0)[: len(words.words)], answers[0]


def _vectors(
    classifier: TextClassifier, ids: Sequence[NDArray[np.int64]]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return each member's word vectors [1, time, embedding], and those that it starts from."""
    vectors, starts = [], []
    for each, own in zip(classifier.members, ids, strict=True):
        encoder = each.network.encoder
        row = torch.from_numpy(own).to(encoder.embedding.weight.device)[None]
        with torch.no_grad():
            found = encoder.embed(row)
        marks = ((row == BEGIN_ID) | (row == FIELD_ID))[..., None]
        vectors.append(found)
        starts.append(torch.where(marks, found, torch.zeros_like(found)))
    return tuple(vectors), tuple(starts)


@dataclass(frozen=True)
class _Stretch:
    """A stretch of the way from baseline (0) to document (1), and the gradients along it."""

    begin: float
    end: float
    by_member: list[NDArray[np.float64]]
    """Contributions of each member's tokens, [time]."""

    change: float
    """Of the answer, from its begin to its end."""

    @property
    def missed(self) -> float:
        """What the contributions do not add up to, of the change."""
        return self.change - float(sum(each.sum() for each in self.by_member))


class _Way:
    """The straight way from the baseline's word vectors to the document's, for one label."""

    def __init__(
        self,
        classifier: TextClassifier,
        method: Any,
        vectors: tuple[Tensor, ...],
        starts: tuple[Tensor, ...],
        label: int,
    ) -> None:
        self._classifier, self._method, self._label = classifier, method, label
        self._vectors, self._starts = vectors, starts
        self._answers: dict[float, float] = {}
        self.width = _width(classifier)
        """How wide the range of answers is."""

    def answer_at(self, place: float) -> float:
        """Return the label's answer at a place of the way."""
        self._read([place])
        return self._answers[place]

    def stretches(self, edges: Sequence[tuple[float, float]]) -> list[_Stretch]:
        """Return the stretches between `edges`, some gone together."""
        self._read([place for pair in edges for place in pair])
        found: list[_Stretch] = []
        for part in self._parts(edges, STEPS):
            begins, ends = zip(*part, strict=True)
            contributions = self._method.attribute(
                self._at(ends),
                self._at(begins),
                target=self._label,
                n_steps=STEPS,
                internal_batch_size=max(len(part), TOKENS_AT_ONCE // self._vectors[0].shape[1]),
            )
            sums = [each.cpu().double().sum(2).numpy() for each in contributions]
            for row, (begin, end) in enumerate(part):
                change = self._answers[end] - self._answers[begin]
                found.append(_Stretch(begin, end, [each[row] for each in sums], change))
        return found

    def _read(self, places: Sequence[float]) -> None:
        """Read the label's answers at the places that are not known yet."""
        new = [place for place in dict.fromkeys(places) if place not in self._answers]
        for part in self._parts(new, 1):
            with torch.no_grad():
                found = answer(self._classifier, self._at(part))[:, self._label].tolist()
            self._answers.update(zip(part, found, strict=True))

    def _parts(self, rows: Sequence[T], times: int) -> list[Sequence[T]]:
        """Cut `rows`, each so many times a document, into what is in memory together."""
        size = max(1, TOKENS_AT_ONCE // (times * self._vectors[0].shape[1]))
        return [rows[first : first + size] for first in range(0, len(rows), size)]

    def _at(self, places: Sequence[float]) -> tuple[Tensor, ...]:
        """Return each member's word vectors [places, time, embedding]."""
        return tuple(
            start + start.new_tensor(places)[:, None, None] * (vector - start)
            for start, vector in zip(self._starts, self._vectors, strict=True)
        )


def _adding_up(way: _Way) -> list[NDArray[np.float64]]:
    """Return the contributions [time] of each member's tokens, to within `GAP`.

    The gradients of a stretch should add up to the change of the answer over it, which two more
    readings tell: only where they do not, the stretch is halved.
    """
    found = way.stretches(list(pairwise(np.linspace(0.0, 1.0, STRETCHES + 1).tolist())))
    steps = STEPS * STRETCHES
    change = way.answer_at(1.0) - way.answer_at(0.0)
    gap = GAP * max(abs(change), SMALLEST_CHANGE * way.width)
    while steps < MOST_STEPS:
        misses = [abs(each.missed) for each in found]
        ups_and_downs = GAP * sum(abs(each.change) for each in found)
        missed = abs(sum(each.missed for each in found))
        if missed <= gap and sum(misses) <= max(gap, ups_and_downs):
            break
        good = [each for each in found if abs(each.missed) <= max(misses) / 4]
        middles = [
            (each.begin, (each.begin + each.end) / 2, each.end)
            for each in found
            if abs(each.missed) > max(misses) / 4
        ]
        halves = way.stretches([half for edges in middles for half in pairwise(edges)])
        found = good + halves
        steps += STEPS * len(halves)
    by_member = zip(*(each.by_member for each in found), strict=True)
    return [np.sum(own, axis=0) for own in by_member]


def _width(classifier: TextClassifier) -> float:
    """Return how wide the range of answers is."""
    found = classifier.task.range
    return 1.0 if found is None else found[1] - found[0]
