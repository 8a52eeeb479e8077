"""A stream of texts in lists of bounded size, so that a corpus is never held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ulmfit.text.types import Text, columns_of

BLOCK_CHARACTERS = 8_000_000
"""Characters from which on a block is full."""


def blocks_of(texts: Iterable[Text], most: int) -> Iterator[list[Text]]:
    """Yield the texts in lists of `most` at most, or of fewer long ones; none is empty."""
    block: list[Text] = []
    characters = 0
    for text in texts:
        block.append(text)
        characters += sum(map(len, columns_of(text)))
        if len(block) >= most or characters >= BLOCK_CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block
