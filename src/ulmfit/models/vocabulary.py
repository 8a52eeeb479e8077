"""From one vocabulary to another: a language model keeps what it knows of the words they share.

Howard & Ruder 2018 give a word of the target text that the pretrained model does not know the mean
of all rows of the embedding, and the mean bias. Here a token gets the mean row of what the old
tokenizer makes of it: its own row if it is known, those of its pieces if the old tokens are
smaller, and the mean of all where the old tokenizer knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ulmfit.config.model import Dropout
from ulmfit.models.language_model import LanguageModel
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.text.marks import MARKS, join_words
from ulmfit.text.tokenizer import BYTE_LEVEL, SPECIAL_TOKENS, Tokenizer

SHOWN = 20
"""Unknown tokens that a report names."""

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Coverage:
    """How much of a vocabulary, and of a text, an older vocabulary knows."""

    types: float
    """Share of the tokens of the new vocabulary, special ones left out."""

    tokens: float
    """Share of the tokens of the text."""

    unknown: tuple[str, ...]
    """The most frequent tokens that are not known, as they read, the most frequent first."""

    def __str__(self) -> str:
        """Return one line."""
        shown = ", ".join(map(repr, self.unknown)) or "none"
        return (
            f"known: {self.types:.1%} of the vocabulary, {self.tokens:.1%} of the text; "
            f"most frequent unknown: {shown}"
        )


def known_as(new: Tokenizer, old: Tokenizer) -> list[Ids]:
    """Return, for each id of `new`, the ids of `old` that stand for the same text; perhaps none."""
    same = {word: i for i, word in enumerate(old.words())}
    kinds = {new.config.kind, old.config.kind}
    by_name = len(kinds) == 1 or kinds <= {*BYTE_LEVEL}  # which spell bytes alike
    unspoken = [i for word in (*SPECIAL_TOKENS, *MARKS) if (i := same.get(word)) is not None]
    pieces = map(_text, new.tokens(range(new.vocab_size)))
    if new.config.kind == "word" and old.config.kind in BYTE_LEVEL:
        pieces = map(_after_a_word, pieces)
    encoded = old.encode_batch(list(pieces))
    found: list[Ids] = []
    for word, ids in zip(new.words(), encoded, strict=True):
        if word in same and (by_name or word in (*SPECIAL_TOKENS, *MARKS)):
            found.append(np.array([same[word]], dtype=np.int64))
        elif word in MARKS:
            found.append(np.array([], dtype=np.int64))
        else:
            found.append(ids[~np.isin(ids, unspoken)])
    return found


def _text(piece: str) -> str:
    """Return a piece as text to encode; nothing of one that is part of a character."""
    return "" if "\ufffd" in piece or piece in SPECIAL_TOKENS else piece


def _after_a_word(word: str) -> str:
    """Return a word as it stands behind another, with the space that pieces begin with."""
    return join_words(["a", word])[1:] if word else ""


def coverage(tokenizer: Tokenizer, known: Sequence[Ids], counts: NDArray[np.int64]) -> Coverage:
    """Return what `known_as` found, over all tokens and weighted by `counts` [vocab] of a text."""
    is_known = np.array([len(ids) > 0 for ids in known])
    counts = counts.copy()
    counts[: len(SPECIAL_TOKENS)] = 0
    unknown = np.flatnonzero(~is_known & (counts > 0))
    frequent = unknown[np.argsort(-counts[unknown], kind="stable")][:SHOWN]
    return Coverage(
        types=float(is_known[len(SPECIAL_TOKENS) :].mean()),
        tokens=float(counts[is_known].sum() / max(1, counts.sum())),
        unknown=tuple(tokenizer.tokens(frequent)),
    )


def with_vocabulary(
    model: LanguageModel, tokenizer: Tokenizer, known: Sequence[Ids]
) -> LanguageModel:
    """Return a copy of `model` that reads with `tokenizer`, its rows as `known_as` found them."""
    shape = replace(model.config, vocab_size=tokenizer.vocab_size)
    network = LanguageModelNetwork(shape, Dropout())
    state = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    for name in ("encoder.embedding.weight", "head.bias"):
        state[name] = _mean_rows(state[name], known)
    network.load_state_dict(state)
    return LanguageModel(network, tokenizer, model.member, bptt=model.bptt, run=model.run)


def _mean_rows(values: Tensor, known: Sequence[Ids]) -> Tensor:
    """Return the mean of the rows `known[i]` of `values` [old, ...] as row i; of all for none."""
    rows = values.reshape(len(values), -1)
    lengths = np.array([len(ids) for ids in known])
    offsets = torch.from_numpy(np.cumsum(lengths) - lengths)
    means = F.embedding_bag(torch.from_numpy(np.concatenate(known)), rows, offsets, mode="mean")
    means[torch.from_numpy(lengths == 0)] = rows.mean(0)
    return means.reshape(len(known), *values.shape[1:])
