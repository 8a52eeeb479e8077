"""Ids of text by the pieces of a SentencePiece model, in memory of a window's size.

Text is normalised first (compatibility forms, runs of white space made one space), and a word
keeps the space before it as `▁`. A long text is cut at a space, where no piece can cross; only one
that has none in a whole window is cut within a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from ulmfit.text.library_encoder import Ids, LibraryEncoder

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
    # Of white space, the ends lose nothing but spaces: `Strip` would take U+0085 too.
    several, ends = Regex(" {2,}"), Regex(r"\A | \z")
    spaces = [normalizers.Replace(several, " "), normalizers.Replace(ends, "")]
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


class PiecesEncoder(LibraryEncoder):
    """Ids as the library's tokenizer of pieces gives them.

    What normalisation put in stands where the text goes on; a span is never empty.
    """

    def _windows(self, text: str, window: int) -> Iterator[tuple[Ids, Ids]]:
        """Yield ids [n] and offsets [n, 2] of parts that begin at a space."""
        for start, part in _parts(text, window):
            encoding = self._library.encode(part, add_special_tokens=False)
            offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            begins = offsets[:, 0].clip(max=max(0, len(part) - 1))
            spans = np.stack([begins, offsets[:, 1].clip(min=begins + 1)], axis=1)
            yield np.array(encoding.ids, dtype=np.int64), start + spans


def _parts(text: str, window: int) -> Iterator[tuple[int, str]]:
    """Yield parts of at most `window` characters that begin at a space, and where they begin."""
    start = 0
    while len(text) - start > window:
        space = text.rfind(" ", start + 1, start + window + 1)
        end = space if space > start else start + window
        yield start, text[start:end]
        start = end
    yield start, text[start:]
