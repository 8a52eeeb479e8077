"""Ids of text by the pieces of a SentencePiece model, in memory of a window's size.

Text is normalised first (compatibility forms, runs of white space made one space), and a word
keeps the space before it as `▁`. A long text is cut at a space, where no piece can cross; only one
that has none in a whole window is cut within a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

Ids = NDArray[np.int64]

SPACE = "▁"
"""What stands for a space in a piece."""


def pieces_tokenizer(
    pieces: Sequence[tuple[str, float]], special: Sequence[str], unknown: int, charsmap: bytes
) -> str:
    """Return the JSON of a tokenizer of `pieces`, each with its log-probability.

    `unknown` is the id of what no piece stands for, `charsmap` SentencePiece's compiled rules of
    normalisation. No text can become one of the `special` pieces: their names are cut.
    """
    library = tokenizers.Tokenizer(models.Unigram(list(pieces), unknown))
    compiled = [normalizers.Precompiled(charsmap)] if charsmap else []
    spaces = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    library.normalizer = normalizers.Sequence([*compiled, *spaces])
    names = "|".join(name[1:] for name in special)
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(SPACE, prepend_scheme="always"),
            pre_tokenizers.Split(Regex(f"<(?=(?:{names}))"), "isolated"),
        ]
    )
    library.decoder = decoders.Metaspace(SPACE, prepend_scheme="always")
    return str(library.to_str())


class PiecesEncoder:
    """Ids as the library's tokenizer of pieces gives them.

    `window`: characters of a long text that are encoded at once.
    """

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        self._library = library

    def encode_batch(self, texts: Sequence[str], window: int) -> list[Ids]:
        """Return the ids [n] of each text; those that fit a window are encoded in parallel."""
        short = [text for text in texts if len(text) <= window]
        encodings = iter(self._library.encode_batch_fast(short, add_special_tokens=False))
        return [
            _ids(next(encodings)) if len(text) <= window else self._encode_long(text, window)
            for text in texts
        ]

    def encode_with_offsets(self, text: str, window: int) -> tuple[Ids, Ids]:
        """Return the ids [n] of a text, and where each stands in it: start and end [n, 2].

        What normalisation put in stands where the text goes on; a span is never empty.
        """
        ids, spans = [], []
        for start, part in _windows(text, window):
            encoding = self._library.encode(part, add_special_tokens=False)
            offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            begins = offsets[:, 0].clip(max=max(0, len(part) - 1))
            ids.append(_ids(encoding))
            spans.append(start + np.stack([begins, offsets[:, 1].clip(min=begins + 1)], axis=1))
        return np.concatenate(ids), np.concatenate(spans)

    def _encode_long(self, text: str, window: int) -> Ids:
        parts = (part for _, part in _windows(text, window))
        encoded = [_ids(self._library.encode(part, add_special_tokens=False)) for part in parts]
        return np.concatenate(encoded)


def _ids(encoding: tokenizers.Encoding) -> Ids:
    return np.array(encoding.ids, dtype=np.int64)


def _windows(text: str, window: int) -> Iterator[tuple[int, str]]:
    """Yield pieces of at most `window` characters that begin at a space, and where they begin."""
    start = 0
    while len(text) - start > window:
        space = text.rfind(" ", start + 1, start + window + 1)
        end = space if space > start else start + window
        yield start, text[start:end]
        start = end
    yield start, text[start:]
