"""Text rules applied before words are split, in named, versioned sets.

A rule is a regex substitution whose replacement says which part of the match each of its
pieces stands for; that is all it takes to follow every character back to the original text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import eq

import numpy as np
from numpy.typing import NDArray

CAPITALIZED, UPPER, REPEATED, WORD_REPEATED = "xxmaj", "xxup", "xxrep", "xxwrep"
MARKS = (CAPITALIZED, UPPER, REPEATED, WORD_REPEATED)
"""The words that the rules put in."""

FIELD = "xxfld"
UNSPOKEN = ("xxbos", "xxeos", "xxpad")
"""Marks of fastai's vocabularies that stand for nothing readable."""

LONGEST_REPETITION = 1_000_000
"""Characters that one repetition may grow to when marks are undone."""

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


def _literal(name: str, old: str, new: str) -> Rule:
    pattern = re.compile(re.escape(old))
    return Rule(name, pattern, lambda match: ((new, 0),), lambda text: text.replace(old, new))


def _lower_marked(mark: str) -> Callable[[re.Match[str]], Sequence[Piece]]:
    """Replace a word by the mark, if it has two letters, and the word in lower case."""

    def replace(match: re.Match[str]) -> Sequence[Piece]:
        word = match[0]
        return (f"{mark} " if len(word) > 1 else "", 0), (word.lower(), 0)

    return replace


_HTML_LITERALS = (
    ("#39;", "'"),
    ("amp;", "&"),
    ("#146;", "'"),
    ("nbsp;", " "),
    ("#36;", "$"),
    ("\\n", "\n"),
    ("quot;", "'"),
    ("<br />", "\n"),
    ('\\"', '"'),
    ("<unk>", "xxunk"),
    (" @.@ ", "."),
    (" @-@ ", "-"),
    ("...", " …"),
)

FIX_HTML = (
    *(_literal("fix_html", old, new) for old, new in _HTML_LITERALS),
    Rule(
        "fix_html",
        re.compile(r"&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)"),
        lambda match: ((html.unescape(match[0]), 0),),
    ),
)

# After the last rule that can spell a mark (an entity may), before the first that puts one in.
# Wherever it stands, also within a longer word: words are cut at a greatest length.
ESCAPE_MARKS = Rule(
    "escape_marks",
    re.compile(r"([xX][xX])((?i:maj|up|rep|wrep|fld|bos|eos|pad))"),
    lambda match: ((match[1], 1), (" ", 1), (match[2], 2)),
)


def _has_thrice(text: str) -> bool:
    """Whether three characters in a row are the same."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    same = codes[1:] == codes[:-1]
    return bool((same[1:] & same[:-1]).any())


def _has_double(text: str) -> bool:
    """Whether two words in a row are the same."""
    words = text.split()
    return any(map(eq, words, words[1:]))


REPLACE_REP = Rule(
    "replace_rep",
    re.compile(r"(\S)(\1{2,})"),
    lambda match: ((f" {REPEATED} {len(match[2]) + 1} ", 0), (match[1], 0), (" ", 0)),
    concerns=_has_thrice,
)

REPLACE_WREP = Rule(
    "replace_wrep",
    re.compile(r"(?:\s|^)((\w+)\s+((?:\2\s+)+)\2)(\s|\W|$)"),
    lambda match: (
        (f" {WORD_REPEATED} {len(match[3].split()) + 2} ", 1),
        (match[2], 1),
        (" ", 1),
        (match[4], 4),
    ),
    concerns=_has_double,
)

SPEC_ADD_SPACES = Rule(
    "spec_add_spaces", re.compile(r"[/#\\]"), lambda match: ((" ", 0), (match[0], 0), (" ", 0))
)

RM_USELESS_SPACES = Rule(
    "rm_useless_spaces",
    re.compile(" {2,}"),
    lambda match: ((" ", 0),),
    concerns=lambda text: "  " in text,
)

# The capital comes first, where a search is quickest; then, that nothing stands before it.
REPLACE_ALL_CAPS = Rule(
    "replace_all_caps",
    re.compile(r"[A-Z](?<!\S[A-Z])[^a-z\s]*(?!\S)"),
    _lower_marked(UPPER),
)

REPLACE_MAJ = Rule(
    "replace_maj",
    re.compile(r"[A-Z](?<!\S[A-Z])[^A-Z\s]*(?!\S)"),
    _lower_marked(CAPITALIZED),
)

# A whole run at a time: the lower case of a sigma depends on its neighbours. The look-behind
# keeps a long run of white space inside the text from being tried at each of its characters.
LOWERCASE = (
    Rule("lowercase", re.compile(r"\A\s+|(?<!\s)\s+\Z"), lambda match: (), str.strip),
    Rule("lowercase", re.compile(r"\S+"), lambda match: ((match[0].lower(), 0),), str.lower),
)

FASTAI_2 = (
    *FIX_HTML,
    ESCAPE_MARKS,
    REPLACE_REP,
    REPLACE_WREP,
    SPEC_ADD_SPACES,
    RM_USELESS_SPACES,
    REPLACE_ALL_CAPS,
    REPLACE_MAJ,
    *LOWERCASE,
)

RULE_SETS: dict[str, tuple[Rule, ...]] = {"none": (), "fastai-2": FASTAI_2}
"""The sets of rules by the names they have in the settings.

`fastai-2` is fastai 2's, with one difference: a text's own `xxmaj` and the like is split
(`xx maj`), so that only the rules can put in a mark.
"""


def decode_marks(words: Iterable[str]) -> str:
    """Return readable text: marks undone, words joined by spaces as punctuation wants them.

    A mark without the word or number it needs is left out.
    """
    return join_words(_undo_marks(words))


def _undo_marks(words: Iterable[str]) -> Iterable[str]:
    """Yield the words that are no marks, each changed by the marks before it."""
    case: str | None = None
    upper = False
    repetition: str | None = None
    times: int | None = None
    for word in words:
        if word in UNSPOKEN:
            continue
        if word in (CAPITALIZED, UPPER):
            case = word
        elif word in (REPEATED, WORD_REPEATED, FIELD):
            repetition, times = word, None
        elif repetition and times is None and word.isdecimal() and len(word) < 10:
            times = int(word)
            if repetition == FIELD:
                yield "\n"
                repetition, times = None, None
        else:
            if upper and _CONTRACTION.fullmatch(word):  # `DON'T` has one mark for both words
                case = case or UPPER
            upper = case == UPPER
            word = _with_case(word, case)
            yield _repeat(word, times, " " if repetition == WORD_REPEATED else "")
            case, repetition, times = None, None, None


def _with_case(word: str, case: str | None) -> str:
    if case == UPPER:
        return word.upper()
    return word[:1].upper() + word[1:] if case == CAPITALIZED else word


def _repeat(word: str, times: int | None, between: str) -> str:
    """Return `word` the stated times, though never more than `LONGEST_REPETITION` characters."""
    if times is None:
        return word
    most = max(1, LONGEST_REPETITION // (len(word) + len(between)))
    return between.join([word] * min(times, most))


_CONTRACTION = re.compile(r"['\u2019](?:s|d|m|t|ll|ve|re)|n['\u2019]t", re.IGNORECASE)
_NO_SPACE_BEFORE = re.compile(rf"[.,!?;:…)\]}}%]+|{_CONTRACTION.pattern}|\s+", re.IGNORECASE)
_NO_SPACE_AFTER = re.compile(r"[(\[{]+|\s+")


def join_words(words: Iterable[str]) -> str:
    """Join words by spaces, but not before closing and after opening punctuation."""
    pieces: list[str] = []
    glued = True
    for word in words:
        pieces.append(word if glued or _NO_SPACE_BEFORE.fullmatch(word) else f" {word}")
        glued = _NO_SPACE_AFTER.fullmatch(word) is not None
    return "".join(pieces)
