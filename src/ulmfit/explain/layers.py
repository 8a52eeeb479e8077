"""What each layer learned: the contexts that most excite its units, and words of like meaning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ulmfit.config.artefact import Member
from ulmfit.data.documents import in_order
from ulmfit.nn.awd_lstm import AWDLSTM
from ulmfit.text.tokenizer import BEGIN_ID, SPECIAL_TOKENS, Tokenizer
from ulmfit.text.types import Text

BEFORE, AFTER = 10, 4
"""Tokens shown around the one that excites a unit."""

LONGEST = 2_000
"""Tokens of a document that are read, at most."""

SHORTEST_WORD = 4
"""Characters of a word whose neighbours are shown."""

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Context:
    """A place in a document at which a unit is excited."""

    before: str
    token: str
    after: str
    value: float


@dataclass(frozen=True)
class Unit:
    """A unit of a layer, and where it is most excited, each time in another document."""

    number: int
    contrast: float
    """How far its excitement there is above its mean, in its own deviations."""

    contexts: list[Context]


def exciting_contexts(
    encoder: AWDLSTM,
    tokenizer: Tokenizer,
    member: Member,
    texts: Sequence[Text],
    *,
    units: int,
    contexts: int,
) -> list[list[Unit]]:
    """Return, for each layer from the lowest, the `units` with the most contrast."""
    documents = [ids[:LONGEST] for ids in tokenizer.encode_batch(texts)]
    read = in_order(documents, member)
    kept = [_Excitement(layer.size, contexts) for layer in _layers(encoder)]
    for number, ids in enumerate(read):
        words = np.flatnonzero(ids != BEGIN_ID)
        for excitement, outputs in zip(kept, _outputs(encoder, ids), strict=True):
            excitement.add(number, words, outputs[words])
    backward = member.direction == "backward"
    return [
        [
            Unit(
                unit,
                float(excitement.contrast()[unit]),
                [
                    _context(tokenizer, read[document], time, value, backward)
                    for value, document, time in excitement.places(unit)
                ],
            )
            for unit in np.argsort(-excitement.contrast(), kind="stable")[:units]
        ]
        for excitement in kept
    ]


def nearest_words(
    encoder: AWDLSTM, tokenizer: Tokenizer, texts: Sequence[Text], *, words: int, neighbours: int
) -> dict[str, list[tuple[str, float]]]:
    """Return the pieces most like each of the commonest words, by the cosine of their vectors."""
    counts = Counter(
        int(i) for ids in tokenizer.encode_batch(texts) for i in ids if i >= len(SPECIAL_TOKENS)
    )
    names = [token.strip() for token in tokenizer.tokens(range(tokenizer.vocab_size))]
    common = [i for i, _ in counts.most_common() if _is_word(names[i])]
    alike = {names[i]: i for i in reversed(common)}  # of pieces that read alike, the commonest
    chosen = [i for i in common if alike[names[i]] == i][:words]
    vectors = encoder.embedding.weight.detach().float()
    directions = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)
    found: dict[str, list[tuple[str, float]]] = {}
    for place in chosen:
        likeness = directions @ directions[place]
        likeness[: len(SPECIAL_TOKENS)] = -1
        order = likeness.argsort(descending=True).tolist()
        others = [i for i in order if names[i] and names[i].lower() != names[place].lower()]
        found[names[place]] = [(names[i], float(likeness[i])) for i in others[:neighbours]]
    return found


class _Excitement:
    """The largest outputs of each unit of a layer so far, one a document, and their spread."""

    def __init__(self, size: int, contexts: int) -> None:
        self.values = np.full((contexts, size), -np.inf)
        self.documents = np.zeros((contexts, size), dtype=np.int64)
        self.times = np.zeros((contexts, size), dtype=np.int64)
        self.count, self.sum, self.squares = 0, np.zeros(size), np.zeros(size)

    def add(self, document: int, places: Ids, outputs: NDArray[np.float32]) -> None:
        """Take up the outputs [words, units] at some `places` [words] of a document."""
        if not len(outputs):
            return
        self.count += len(outputs)
        self.sum += outputs.sum(0, dtype=np.float64)
        self.squares += np.square(outputs, dtype=np.float64).sum(0)
        times = outputs.argmax(0)
        values = outputs[times, np.arange(outputs.shape[1])]
        least = self.values.argmin(0)
        units = np.arange(len(least))
        better = values > self.values[least, units]
        rows, columns = least[better], units[better]
        self.values[rows, columns] = values[better]
        self.documents[rows, columns] = document
        self.times[rows, columns] = places[times[better]]

    def contrast(self) -> NDArray[np.float64]:
        """Return how far each unit's mean excitement is above its mean, in deviations."""
        if not self.count:
            return np.zeros(len(self.sum))
        mean = self.sum / self.count
        spread = np.sqrt(np.maximum(self.squares / self.count - mean**2, 1e-12))
        found = np.where(np.isfinite(self.values), self.values, mean)
        return np.asarray((found.mean(0) - mean) / spread)

    def places(self, unit: int) -> Iterator[tuple[float, int, int]]:
        """Yield value, document and time of a unit's contexts, the strongest first."""
        for row in np.argsort(-self.values[:, unit], kind="stable"):
            if np.isfinite(self.values[row, unit]):
                yield (
                    float(self.values[row, unit]),
                    int(self.documents[row, unit]),
                    int(self.times[row, unit]),
                )


@torch.no_grad()
def _outputs(encoder: AWDLSTM, ids: Ids) -> Iterator[NDArray[np.float32]]:
    """Yield the outputs [time, units] of each layer, from the lowest."""
    row = torch.from_numpy(ids).to(encoder.embedding.weight.device)[None]
    inputs: Tensor = encoder.embed(row)
    for layer, state in zip(encoder.prepare(), encoder.initial_state(1), strict=True):
        (inputs,), _ = layer([inputs], state)
        yield inputs[0].float().cpu().numpy()


def _layers(encoder: AWDLSTM) -> list[Any]:
    return list(encoder.layers)


def _context(tokenizer: Tokenizer, ids: Ids, time: int, value: float, backward: bool) -> Context:
    """Return what stands around a token, in the order people read."""
    before, after = ids[max(0, time - BEFORE) : time], ids[time + 1 : time + 1 + AFTER]
    before, after = before[before != BEGIN_ID], after[after != BEGIN_ID]
    if backward:
        before, after = after[::-1], before[::-1]
    token = tokenizer.decode(ids[time : time + 1])
    return Context(tokenizer.decode(before), token, tokenizer.decode(after), value)


def _is_word(name: str) -> bool:
    return len(name) >= SHORTEST_WORD and name.isalpha()
