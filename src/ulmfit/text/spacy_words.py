"""Words as spaCy's blank English tokenizer, and so fastai, splits them; looked up once known.

spaCy splits each run of characters between white space by itself, so the words of a run that was
met before are looked up. Only its last pass looks further: it joins words that together spell a
special case (`:` and `)` at the end of `so.:)`), but not where they are part of a longer one that
lies across a space (`so.:) )`, for `:))`). Runs in which it may join words are kept as they are
before that pass, which is done here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import chain
from threading import Lock

from ulmfit.text.spacy_english import English, Words

LONGEST_RUN = 500
"""Characters of a run; a longer one is cut, as if a space stood there. The time that spaCy takes
grows with the square of a run's length."""

REMEMBERED = 2**20
"""Characters of the runs that are remembered, and as many of those remembered before them."""

# The one space behind a run is no word of its own. Other white space is a word, a run at a time.
_RUN = re.compile(rf"\S{{1,{LONGEST_RUN}}} ?|\s{{1,{LONGEST_RUN}}}")

# What spaCy need not be asked for: none of its patterns splits letters, each splits off the mark.
_SIMPLE = re.compile(r'([a-z]+)([,.!?;:)"]?) ?')


def visible(word: str) -> str:
    """Return `word` with `▁` for each space, as fastai writes the words of white space."""
    return word.replace(" ", "▁")


def readable(word: str) -> str:
    """Return a word of white space as it was; any other unchanged."""
    spaces = word.replace("▁", " ")
    return spaces if spaces.isspace() else word


class SpacyWords:
    """Splits text into words, a window of it at a time. Several threads may share one.

    Raises `ConfigError` if spaCy is not installed.
    """

    def __init__(self) -> None:
        self._english = English()
        self._lock = Lock()
        self._recent: dict[str, Words] = {}
        self._older: dict[str, Words] = {}
        self._to_join: dict[str, Words] = {}
        self._room = REMEMBERED

    def blocks(self, text: str, window: int) -> Iterator[tuple[list[str], list[Words]]]:
        """Yield successive runs that together are `text`, and the words of each.

        A run is its words and perhaps a space. `window`: how many characters are split at once;
        raised to what the longest runs need.
        """
        reach = self._english.reach
        window = max(window, 2 * reach * (LONGEST_RUN + 1))
        start, before = 0, list[str]()
        while len(text) - start > window:
            runs = _RUN.findall(text, start, start + window)
            own = len(runs) - reach  # the others are there for what stands before them
            words = self._split(before + runs)
            yield runs[:own], words[len(before) : len(before) + own]
            start += sum(map(len, runs[:own]))
            before = runs[own - reach : own]
        runs = _RUN.findall(text, start)
        yield runs, self._split(before + runs)[len(before) :]

    def words(self, text: str, window: int) -> Iterator[str]:
        """Yield the words of `text`."""
        for _, words in self.blocks(text, window):
            yield from chain.from_iterable(words)

    def _split(self, runs: list[str]) -> list[Words]:
        try:
            return list(map(self._recent.__getitem__, runs))
        except KeyError:
            with self._lock:
                recent = self._recent
                known = self._known(set(runs).difference(recent))
                words = [recent.get(run) or known[run] for run in runs]
                return [
                    self._joined(words, place) if run in self._to_join else words[place]
                    for place, run in enumerate(runs)
                ]

    def _known(self, runs: Collection[str]) -> dict[str, Words]:
        """Words of runs before the last pass, remembered from now on."""
        if self._room < 0:
            self._older, self._recent, self._to_join = self._recent, {}, {}
            self._room = REMEMBERED
        known, new = {}, []
        for run in runs:
            words = self._older.get(run) or self._to_join.get(run) or self._simple(run)
            if words:
                known[run] = words
            else:
                new.append(run)
        known |= self._ask(new)
        self._to_join |= {run: known[run] for run in new if self._english.may_join(known[run])}
        self._recent |= {run: known[run] for run in runs if run not in self._to_join}
        self._room -= sum(len(run) + 8 for run in runs)
        return known

    def _simple(self, run: str) -> Words | None:
        """Words of a run of white space, or of lower-case letters and perhaps a mark."""
        if run.isspace():
            return (visible(run),)
        match = _SIMPLE.fullmatch(run)
        if match is None or {match[1], match[1] + match[2]} & self._english.special.keys():
            return None
        return (match[1], match[2]) if match[2] else (match[1],)

    def _ask(self, runs: Sequence[str]) -> dict[str, Words]:
        """Words of runs, none of white space, as spaCy splits them."""
        if not runs:
            return {}
        parts: list[list[str]] = [[]]
        for word in self._english.split("\n".join(runs)):
            if word == "\n":
                parts.append([])
            else:
                parts[-1].append(word)
        return dict(zip(runs, map(tuple, parts), strict=True))

    def _joined(self, runs: Sequence[Words], place: int) -> Words:
        """Words of the run at `place` after the last pass."""
        reach = self._english.reach
        before = tuple(chain.from_iterable(runs[max(0, place - reach) : place]))
        after = tuple(chain.from_iterable(runs[place + 1 : place + 1 + reach]))
        return self._english.join(before[-reach:], runs[place], after[:reach])


@cache
def spacy_words() -> SpacyWords:
    """Return the one that all tokenizers of this process share. Raises `ConfigError`."""
    return SpacyWords()
