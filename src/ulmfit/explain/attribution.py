"""What each token contributes to an answer: integrated gradients, or leaving it out."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ulmfit.errors import ConfigError
from ulmfit.explain.leaving_out import pool_without_each
from ulmfit.explain.scores import answer, frozen
from ulmfit.explain.words import Words
from ulmfit.models.reading import in_order
from ulmfit.models.text_classifier import TextClassifier, answering
from ulmfit.text.tokenizer import BEGIN_ID, FIELD_ID

FEWEST_STEPS, MOST_STEPS = 16, 512
GAP = 0.05
"""Steps are doubled until the contributions miss the change they explain by less than this share
of it."""

SMALLEST_CHANGE = 0.01
"""Of a change smaller than this (of a probability; of a number's range), the gap is a share of
this."""

TOKENS_AT_ONCE = 16_384
"""Of the path from baseline to document, whose activations are in memory together."""

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
            "integrated gradients need captum; install the extra: pip install 'ulmfit[explain]'"
        ) from None

    ids = [in_order([words.ids], each.member)[0] for each in classifier.members]
    vectors, starts = _vectors(classifier, ids)
    method = IntegratedGradients(lambda *each: answer(classifier, each))
    with torch.no_grad():
        start, end = (answer(classifier, each)[0] for each in (starts, vectors))
    contributions = np.zeros((len(words.ids), len(labels)))
    with frozen(classifier):
        for column, label in enumerate(labels):
            change = float(end[label] - start[label])
            gap = GAP * max(abs(change), SMALLEST_CHANGE * _width(classifier))
            found = _adding_up(method, vectors, starts, label, change, gap)
            for each, own in zip(found, classifier.members, strict=True):
                by_time = each[0].double().sum(1).cpu().numpy()
                reading = in_order([np.arange(len(words.ids))], own.member)[0]
                contributions[reading, column] += by_time
    return contributions, start.double().cpu().numpy()[list(labels)]


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


def _adding_up(
    method: Any,
    vectors: tuple[Tensor, ...],
    starts: tuple[Tensor, ...],
    label: int,
    change: float,
    gap: float,
) -> tuple[Tensor, ...]:
    """Return each member's gradients times the way; steps are doubled until `change` is met."""
    steps = FEWEST_STEPS
    while True:
        found: tuple[Tensor, ...] = method.attribute(
            vectors,
            starts,
            target=label,
            n_steps=steps,
            internal_batch_size=max(1, TOKENS_AT_ONCE // vectors[0].shape[1]),
        )
        total = sum(float(each.double().sum()) for each in found)
        if abs(total - change) <= gap or steps >= MOST_STEPS:
            return found
        steps *= 2


def _width(classifier: TextClassifier) -> float:
    """Return how wide the range of answers is."""
    found = classifier.task.range
    return 1.0 if found is None else found[1] - found[0]
