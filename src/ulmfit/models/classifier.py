"""What every classifier answers, however its members compute: no PyTorch here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import Task
from ulmfit.data.answers import decisions, tempered
from ulmfit.data.documents import TOKEN_BUDGET
from ulmfit.text.blocks import blocks_of
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text, checked_texts

BLOCK_TEXTS = 2_048
BLOCK_ANSWERS = 4_000_000
"""A stream of texts is predicted in blocks of at most so many texts, so many probabilities and,
about, so many characters."""

Ids = NDArray[np.int64]


class Classifier(ABC):
    """Members whose answers are averaged, with the tokenizer that they share."""

    tokenizer: Tokenizer
    task: Task
    """What is decided of a document."""

    run: Mapping[str, Any]
    """The record of how it was made, by stage."""

    @property
    @abstractmethod
    def shares(self) -> Sequence[float]:
        """The members' weights in the average."""

    @abstractmethod
    def answers_by_member(
        self, documents: Sequence[Ids], token_budget: int
    ) -> list[NDArray[np.float32]]:
        """Return each member's own answers [documents, outputs] to ids in forward order."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, sorted; columns of the probabilities are in this order. None, of a number."""
        return self.task.labels

    @property
    def text_columns(self) -> int | None:
        """How many texts a document had in training; None if that is not on record."""
        reading = self.run.get("train", {}).get("settings", {}).get("reading", {})
        columns = reading.get("text_columns")
        return None if columns is None else len(columns)

    @property
    def block_texts(self) -> int:
        """How many texts are predicted at a time: fewer of thousands of labels."""
        return max(1, min(BLOCK_TEXTS, BLOCK_ANSWERS // self.task.outputs))

    def predict(self, texts: Sequence[Text], *, abstain_below: float = 0.0) -> list[Any]:
        """Return what is decided of each text, in order.

        The likeliest label, or None if it is less probable than `abstain_below`; a tuple of those
        at or above their thresholds, if there may be several; a number.
        """
        return decisions(self.task, self.predict_proba(texts), abstain_below)

    def predict_proba(
        self, texts: Sequence[Text], *, token_budget: int = TOKEN_BUDGET
    ) -> NDArray[np.float32]:
        """Return the probabilities [texts, labels] of each text, in order; numbers [texts, 1].

        A text's answers do not depend on the others, to 1e-5 in float32. `token_budget` bounds
        the tokens of a batch, and with them the memory.
        """
        blocks = list(self.predict_blocks(texts, token_budget=token_budget))
        return np.concatenate([np.empty((0, self.task.outputs), np.float32), *blocks])

    def predict_blocks(
        self, texts: Iterable[Text], *, token_budget: int = TOKEN_BUDGET
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the answers [block, outputs] of a stream of texts, in order.

        Memory does not grow with the number of texts.
        """
        for block in blocks_of(checked_texts(texts), self.block_texts):
            ids = self.tokenizer.encode_batch(block)
            yield self.answers_of(ids, token_budget=token_budget).astype(np.float32)

    def answers_of(
        self, documents: Sequence[Ids], *, token_budget: int = TOKEN_BUDGET
    ) -> NDArray[np.float64]:
        """Return the answers [documents, outputs] to documents as ids, in forward order."""
        return self.joined(self.answers_by_member(documents, token_budget))

    def joined(self, by_member: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Return the classifier's answers made of each member's own, [documents, outputs].

        They are averaged by the members' weights, then sharpened or flattened by the temperature.
        """
        mean = np.average(by_member, axis=0, weights=np.array(self.shares))
        return tempered(self.task.kind, mean, self.task.temperature)

    def member_probabilities(
        self, texts: Sequence[Text], *, token_budget: int = TOKEN_BUDGET
    ) -> list[NDArray[np.float32]]:
        """Return each member's own answers [texts, outputs], before they are averaged."""
        return self.answers_by_member(
            self.tokenizer.encode_batch(list(checked_texts(texts))), token_budget
        )
