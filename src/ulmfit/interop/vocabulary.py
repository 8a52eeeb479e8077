"""Words and their rows: vocabularies of others, and the way from one vocabulary to another.

Words are matched by string. A row of the embedding (and of the decoder's bias) goes where its word
goes; a word that is not known gets the mean row (Howard & Ruder 2018, section 3.2, as published).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ulmfit.errors import ArtefactError
from ulmfit.interop.safe_pickle import load_plain
from ulmfit.text.marks import REPEATED, UPPER, WORD_REPEATED
from ulmfit.text.tokenizer import SPECIAL_TOKENS

FILLER = "xxfake"
"""What fastai 2 fills a vocabulary up with, to a multiple of 8."""

_MARKS_2018 = {"t_up": UPPER, "tk_rep": REPEATED, "tk_wrep": WORD_REPEATED}

OUR_NAMES = {
    **dict.fromkeys(("xxpad", "_pad_"), SPECIAL_TOKENS[0]),
    **dict.fromkeys(("xxunk", "_unk_"), SPECIAL_TOKENS[1]),
    **dict.fromkeys(("xxbos", "xbos"), SPECIAL_TOKENS[2]),
    **dict.fromkeys(("xxfld", "xfld"), SPECIAL_TOKENS[3]),
    **_MARKS_2018,
}
"""Special tokens and marks of fastai and of the scripts of 2018, and ours."""

MARKS_2018 = frozenset(_MARKS_2018)
"""Words that only the scripts of 2018 put into text."""

FASTAI_NAMES = dict(zip(SPECIAL_TOKENS, ("xxpad", "xxunk", "xxbos", "xxfld"), strict=True))
"""Our special tokens, and fastai's."""


def read_vocabulary(path: Path) -> tuple[list[str], list[str]]:
    r"""Return the words of a file in the order of their rows, and the labels if it has them.

    A pickled list (`.pkl`; of fastai, or a pair of one of words and one of labels), a JSON list
    (`.json`), or a text file with a word a line, in which `\\n` stands for a line break.

    Raises `ArtefactError` if it is none of these or holds a word twice.
    """
    try:
        content = _read(path)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: not a list of words ({error}); give another file") from None
    words, labels = content, []
    if isinstance(content, list | tuple) and len(content) == 2 and _are_words(content[0]):
        words, labels = content
        if isinstance(labels, list | tuple):
            labels = [str(label) if isinstance(label, int) else label for label in labels]
    if not _are_words(words) or not _are_words(labels):
        raise ArtefactError(
            f"{path}: not a list of words; give a vocabulary: a pickled or a JSON list of strings, "
            "alone or beside one of labels, or a text file with a word a line"
        )
    _refuse_surrogates(path, words)
    _refuse_duplicates(path, words)
    return list(words), list(labels)


def _read(path: Path) -> Any:
    if path.suffix in (".json", ".txt"):
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return json.loads(text)
        return [word.replace("\\n", "\n") for word in text.removesuffix("\n").split("\n")]
    with path.open("rb") as file:
        return load_plain(file, str(path))


def _are_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)


def _refuse_surrogates(path: Path, words: Sequence[str]) -> None:
    """Refuse halves of characters, which no file of text can hold."""
    for row, word in enumerate(words):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ArtefactError(
                f"{path}: word {row} (from 0), {word[:50]!r}, is not valid Unicode; give the "
                "vocabulary of the training"
            ) from None


def _refuse_duplicates(path: Path, words: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for row, word in enumerate(words):
        if word in seen and word != FILLER:
            raise ArtefactError(
                f"{path}: {word[:50]!r} stands in it twice, as words {seen[word]} and {row} "
                "(from 0); which row is its own cannot be known: give the vocabulary of the "
                "training"
            )
        seen[word] = row


def our_words(words: Sequence[str]) -> list[str]:
    """Return the words of a tokenizer of ours: special tokens first, the others in their order."""
    renamed = [OUR_NAMES.get(word, word) for word in words if word != FILLER]
    return list(dict.fromkeys([*SPECIAL_TOKENS, *renamed]))


def rows_of(words: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Return the row that each of `words` [new] has among `known`, -1 where it has none.

    Special tokens and marks may have any of their names.
    """
    place = {OUR_NAMES.get(word, word): row for row, word in reversed(list(enumerate(known)))}
    return np.array([place.get(OUR_NAMES.get(word, word), -1) for word in words], dtype=np.int64)


def moved_rows(blocks: Iterable[Tensor], rows: NDArray[np.int64]) -> Tensor:
    """Return the rows [new, ...] that `rows` [new] asks for, the mean of all for a -1.

    `blocks` are all rows [known, ...] in their order, some at a time.
    """
    moved, total, begin = torch.empty(0), torch.zeros(()), 0
    for block in blocks:
        if begin == 0:
            moved = block.new_empty(len(rows), *block.shape[1:])
        here = np.flatnonzero((rows >= begin) & (rows < begin + len(block)))
        moved[here] = block[rows[here] - begin]
        total = total + block.sum(0, dtype=torch.float64)
        begin += len(block)
    moved[np.flatnonzero(rows < 0)] = (total / begin).to(moved.dtype)
    return moved
