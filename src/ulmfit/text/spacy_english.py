"""spaCy's blank English tokenizer in two steps: runs of characters are split, then words joined.

It splits what stands between white space by patterns, except where it finds a special case
(`don't`, `e.g.`). A last pass over a text joins words that together spell a special case, which
the patterns have split (`:` and `)` at the end of `so.:)`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ulmfit.errors import ConfigError

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer
    from spacy.vocab import Vocab

Words = tuple[str, ...]


class English:
    """The tokenizer; in use by one thread at a time. Raises `ConfigError` without spaCy."""

    def __init__(self) -> None:
        blank = _blank()
        from spacy.symbols import ORTH
        from spacy.vocab import Vocab

        # It computes no attributes of words, which would take longer than splitting.
        self._vocab = Vocab()
        self._tokenizer = _without_last_pass(blank, self._vocab, blank.rules)
        self.special: Mapping[str, Words] = {
            case: tuple(word[ORTH] for word in words) for case, words in blank.rules.items()
        }
        """The words of each special case."""
        bare = _without_last_pass(blank, self._vocab, {})
        searches = blank.find_prefix, blank.find_suffix, blank.find_infix
        self._joined: Mapping[Words, Words] = {
            tuple(token.text for token in bare(case)): words
            for case, words in self.special.items()
            if any(search(case) for search in searches)
        }  # what the last pass puts in place of words that the patterns have split
        self._lengths: dict[str, set[int]] = {}
        for words in self._joined:
            self._lengths.setdefault(words[0], set()).add(len(words))
        self.reach = max(map(len, self._joined))
        """Words, at most, that together spell a special case."""

    def split(self, text: str) -> list[str]:
        """Return the words of a text, before the last pass."""
        with self._vocab.memory_zone():
            return [token.text for token in self._tokenizer(text)]

    def may_join(self, words: Words) -> bool:
        """Return whether the last pass changes these words of a run, if nothing hinders it."""
        return any(self._joined[words[i:j]] != words[i:j] for i, j in self._spelled(words))

    def join(self, before: Words, words: Words, after: Words) -> Words:
        """Return the words of a run after the last pass.

        `before`, `after`: `reach` words of its neighbours, or as many as there are. Of special
        cases that overlap, the longest goes first, then the first; but one that lies across a
        space stays as it is.
        """
        text, first, last = before + words + after, len(before), len(before) + len(words)
        taken: set[int] = set()
        ends: dict[int, int] = {}
        for start, end in sorted(self._spelled(text), key=lambda span: (span[0] - span[1], span)):
            if first <= start and end <= last and not taken & {start, end - 1}:
                ends[start] = end
            taken.update(range(start, end))
        result: list[str] = []
        while first < last:
            end = ends.get(first, first + 1)
            result += self._joined.get(text[first:end], text[first:end])
            first = end
        return tuple(result)

    def _spelled(self, words: Words) -> list[tuple[int, int]]:
        """Start and end of all words in a row that together spell a special case."""
        return [
            (start, start + length)
            for start, word in enumerate(words)
            for length in self._lengths.get(word, ())
            if start + length <= len(words) and words[start : start + length] in self._joined
        ]


def _blank() -> Tokenizer:
    try:
        import spacy
    except ModuleNotFoundError as error:
        if error.name != "spacy":
            raise
        raise ConfigError(
            "setting 'tokenizer.splitter': 'spacy' needs spaCy, which is not installed; "
            "run pip install 'spacy>=3.8.2,<3.9'"
        ) from None
    return spacy.blank("en").tokenizer


def _without_last_pass(blank: Tokenizer, vocab: Vocab, special: Mapping[str, Any]) -> Tokenizer:
    """Return a tokenizer like `blank` that joins nothing.

    What the last pass is to join is found out when a special case is added, by what the patterns
    make of it: so they find nothing until all are added.
    """
    from spacy.tokenizer import Tokenizer

    added = False

    def later(search: Callable[[str], Any], nothing: Any) -> Callable[[str], Any]:
        return lambda text: search(text) if added else nothing

    tokenizer = Tokenizer(
        vocab,
        rules=special,
        prefix_search=later(blank.prefix_search, None),
        suffix_search=later(blank.suffix_search, None),
        infix_finditer=later(blank.infix_finditer, ()),
        url_match=blank.url_match,
    )
    added = True
    return tokenizer
