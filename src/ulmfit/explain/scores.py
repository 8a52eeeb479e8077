"""A classifier's answer as a function of word vectors, so that gradients reach the words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ulmfit.config.artefact import Task
from ulmfit.models.text_classifier import TextClassifier, answering
from ulmfit.nn import pooling


def answer(classifier: TextClassifier, vectors: Sequence[Tensor]) -> Tensor:
    """Return the answers [batch, outputs] of word vectors [batch, time, embedding], one a member.

    What `predict_proba` gives for the documents they are the vectors of, all of one length.
    """
    objective = answering(classifier.task)
    mean, shares = torch.zeros(()), 0.0
    for each, own in zip(classifier.members, vectors, strict=True):
        outputs, _ = each.network.encoder(own)
        lengths = torch.full((len(own),), own.shape[1], device=own.device)
        start = pooling.initial(len(own), outputs.shape[2], like=outputs)
        pooled = pooling.finish(pooling.pool(start, outputs, lengths))
        share = each.member.weight
        mean = mean.to(own.device) + share * objective.answers(each.network(pooled))
        shares += share
    return tempered(classifier.task, mean / shares)


def tempered(task: Task, mean: Tensor) -> Tensor:
    """Sharpen or flatten averaged probabilities by the task's temperature; see `data.answers`."""
    if task.kind == "number" or task.temperature == 1.0:
        return mean
    numbers = torch.finfo(mean.dtype)
    above_zero = mean.clamp_min(numbers.tiny)  # 0 and 1 have no slope
    if task.kind == "single_label":
        return (above_zero.log() / task.temperature).softmax(1)
    below_one = above_zero.clamp_max(1 - numbers.eps / 2)
    return (below_one.logit() / task.temperature).sigmoid()


@contextmanager
def frozen(classifier: TextClassifier) -> Iterator[None]:
    """Ask for no gradients of the weights: those of the vectors are all that is wanted."""
    parameters = [p for each in classifier.members for p in each.network.parameters()]
    asked = [p.requires_grad for p in parameters]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p, before in zip(parameters, asked, strict=True):
            p.requires_grad_(before)
