"""Text rules, applied before words are split.

A rule is a regex substitution whose replacement says which part of the match each of its
pieces stands for; that is all it takes to follow every character back to the original text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST_ASKED = 2**16
"""Characters of a text of which a rule is asked whether it concerns it."""

Piece = tuple[str, int]
"""A piece of a replacement, and the group of the match that it stands for (0: the whole)."""


@dataclass(frozen=True)
class Rule:
    """A named substitution: each match of `pattern` becomes the pieces that `replace` returns."""

    name: str
    pattern: re.Pattern[str]
    replace: Callable[[re.Match[str]], Sequence[Piece]]
    quick: Callable[[str], str] | None = None
    """The same for a whole text at once, where Python has it."""
    concerns: Callable[[str], bool] | None = None
    """False only of a text without a match, where that is quicker to tell than by the pattern.
    Not asked of long texts: it may take memory."""

    def apply(self, text: str) -> str:
        """Return `text` after the substitution."""
        if self.quick:
            return self.quick(text)
        if self.concerns and len(text) <= LONGEST_ASKED and not self.concerns(text):
            return text
        return self.pattern.sub(lambda match: "".join(p for p, _ in self.replace(match)), text)

    def apply_aligned(self, text: str, spans: NDArray[np.int64]) -> tuple[str, NDArray[np.int64]]:
        """Return `text` after the substitution and the span of each of its characters.

        `spans` [len(text), 2]: where each character of `text` comes from.
        """
        texts, parts, end = [], [], 0
        for match in self.pattern.finditer(text):
            texts.append(text[end : match.start()])
            parts.append(spans[end : match.start()])
            end = match.end()
            for piece, group in self.replace(match):
                start, stop = match.span(group)
                texts.append(piece)
                parts.append(_piece_spans(piece, text[start:stop], spans[start:stop]))
        if not end:
            return text, spans
        return "".join([*texts, text[end:]]), np.concatenate([*parts, spans[end:]])


def apply_rules(rules: Iterable[Rule], text: str) -> str:
    """Return `text` after all `rules`, in their order."""
    for rule in rules:
        text = rule.apply(text)
    return text


def apply_rules_aligned(rules: Iterable[Rule], text: str) -> tuple[str, NDArray[np.int64]]:
    """Return `apply_rules(rules, text)` and where each of its characters comes from.

    The second value is [length of the result, 2]: start and end in the original text.
    """
    starts = np.arange(len(text), dtype=np.int64)
    spans = np.stack([starts, starts + 1], axis=1)
    for rule in rules:
        text, spans = rule.apply_aligned(text, spans)
    return text, spans


def _piece_spans(piece: str, source: str, spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Spans [len(piece), 2] of a piece: character by character where only the case differs."""
    if not piece:
        return spans[:0]
    if piece in (source, source.lower()):
        lengths = [1] * len(source) if piece == source else [len(c.lower()) for c in source]
        return np.repeat(spans, lengths, axis=0)
    whole = np.array([[spans[:, 0].min(), spans[:, 1].max()]], dtype=np.int64)
    return np.repeat(whole, len(piece), axis=0)
