"""Ids of text by the `tokenizers` library; a long text in windows, in memory of a window's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tokenizers
from numpy.typing import NDArray

Ids = NDArray[np.int64]

# Every run is bounded, so that a pre-token is: a million letters cost time and memory in
# proportion. Each pattern looks ahead only; from the start of a pre-token it examines fewer
# than `REACH` characters. That makes cutting a long text exact (`LibraryEncoder._windows`).
_LETTER = r"\p{L}\p{M}\u200c\u200d"  # the joiners stand within words of many scripts
_WORD = rf"{_LETTER}\p{{N}}_"
_APOSTROPHE = r"['\u2019]"
BPE_PATTERN = (
    rf"{_APOSTROPHE}(?:[sdmt]|ll|ve|re)(?![{_LETTER}])"
    rf"| ?[{_LETTER}]{{1,32}}| ?\p{{N}}{{1,4}}| ?[^\s{_LETTER}\p{{N}}]{{1,32}}"
    r"|\s{1,32}(?!\S)|\s{1,32}"
)
WORD_PATTERN = (
    rf"[{_WORD}]{{1,64}}?(?=n{_APOSTROPHE}t(?![{_WORD}]))|n{_APOSTROPHE}t(?![{_WORD}])"
    rf"|{_APOSTROPHE}(?:[sdm]|ll|ve|re)(?![{_WORD}])"
    r"|\p{N}{1,16}(?:[.,]\p{N}{1,16}){1,3}"
    rf"|[{_WORD}]{{1,64}}|\n{{1,2}}|[^\s{_WORD}]"
)
# Words as they stand, and line breaks. The name of a special token is cut; but `<unk>` may be one,
# for that is what it says.
_NAME = "<(?=(?:pad|bos|fld)>)"
SPACED_PATTERN = rf"\n|{_NAME}|(?:(?!{_NAME})\S){{1,64}}"
REACH = 80


class LibraryEncoder:
    """Ids as the library's tokenizer gives them, its pre-tokens cut by one of the patterns above.

    `window`: characters of a long text that are encoded at once; at least twice `REACH`.
    """

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        self._library = library

    def encode_batch(self, texts: Sequence[str], window: int) -> list[Ids]:
        """Return the ids [n] of each text; those that fit a window are encoded in parallel."""
        short = [text for text in texts if len(text) <= window]
        if len(short) == 1:
            encodings = iter([self._library.encode(short[0], add_special_tokens=False)])
        else:
            encodings = iter(self._library.encode_batch_fast(short, add_special_tokens=False))
        return [
            np.array(next(encodings).ids, dtype=np.int64)
            if len(text) <= window
            else np.concatenate([ids for ids, _ in self._windows(text, window)])
            for text in texts
        ]

    def encode_with_offsets(self, text: str, window: int) -> tuple[Ids, Ids]:
        """Return the ids [n] of a text, and where each stands in it: start and end [n, 2]."""
        ids, offsets = zip(*self._windows(text, window), strict=True)
        return np.concatenate(ids), np.concatenate(offsets)

    def _windows(self, text: str, window: int) -> Iterator[tuple[Ids, Ids]]:
        """Yield ids [n] and offsets [n, 2] of successive pieces, together those of the whole text.

        A pre-token that starts `REACH` or more before a window's end cannot depend on what comes
        after it, so the last such start is a place where the whole text is cut, too. (Where a
        window holds no start but its own, the rest of it is white space between words.)
        """
        start = 0
        while len(text) - start > window:
            ids, offsets, opens = self._encode_window(text[start : start + window])
            limit = window - REACH
            below = opens[(opens > 0) & (opens <= limit)]
            cut = int(below[-1]) if below.size else limit
            kept = offsets[:, 0] < cut
            yield ids[kept], offsets[kept] + start
            start += cut
        ids, offsets, _ = self._encode_window(text[start:])
        yield ids, offsets + start

    def _encode_window(self, text: str) -> tuple[Ids, Ids, Ids]:
        """Ids [n], offsets [n, 2], and the starts of pre-tokens [m]."""
        encoding = self._library.encode(text, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        words = np.array(encoding.word_ids, dtype=np.int64)
        opens = offsets[np.diff(words, prepend=-1) != 0, 0]
        return np.array(encoding.ids, dtype=np.int64), offsets, opens
