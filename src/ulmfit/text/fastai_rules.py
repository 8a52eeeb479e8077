"""fastai's text rules, in named, versioned sets."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from operator import eq

import numpy as np

from ulmfit.text.marks import CAPITALIZED, REPEATED, UPPER, WORD_REPEATED
from ulmfit.text.rules import Piece, Rule


def _literal(name: str, old: str, new: str) -> Rule:
    pattern = re.compile(re.escape(old))
    return Rule(name, pattern, lambda match: ((new, 0),), lambda text: text.replace(old, new))


def _repeated(name: str, least: int) -> Rule:
    """Replace a character that stands `least` times or more in a row by the mark, count and it."""
    return Rule(
        name,
        re.compile(rf"(\S)(\1{{{least - 1},}})"),
        lambda match: ((f" {REPEATED} {len(match[2]) + 1} ", 0), (match[1], 0), (" ", 0)),
        concerns=_has_thrice,
    )


def _spaced(name: str, characters: str) -> Rule:
    """Put a space on both sides of each of the `characters`, a class of the pattern."""
    return Rule(name, re.compile(characters), lambda match: ((" ", 0), (match[0], 0), (" ", 0)))


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

_ENTITIES = Rule(
    "fix_html",
    # No more digits than Python makes a number of.
    re.compile(r"&(#[0-9]{1,4300};?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)"),
    lambda match: ((html.unescape(match[0]), 0),),
)

FIX_HTML = (*(_literal("fix_html", old, new) for old, new in _HTML_LITERALS), _ENTITIES)

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


REPLACE_REP = _repeated("replace_rep", 3)

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

SPEC_ADD_SPACES = _spaced("spec_add_spaces", r"[/#\\]")

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

# The rules of the scripts of 2018. They differ in what they repair, count from four on, mark
# words of three letters or more, wherever they stand, and mark no single capital.

_FIXUP_LITERALS = (
    *(pair for pair in _HTML_LITERALS if pair[0] not in ("<unk>", "...")),
    ("<unk>", "u_n"),
    ("\\", " \\ "),
)

FIXUP = (*(_literal("fixup", old, new) for old, new in _FIXUP_LITERALS), _ENTITIES)

REPLACE_REP_2018 = _repeated("replace_rep_2018", 4)

REPLACE_WREP_2018 = Rule(
    "replace_wrep_2018",
    re.compile(r"(\b\w+\W+)(\1{3,})"),
    lambda match: (
        (f" {WORD_REPEATED} {len(match[2].split()) + 1} ", 0),
        (match[1], 1),
        (" ", 0),
    ),
)

_WORD_OR_NOT = re.compile(r"\w+|\W+")


def _upper_marked(match: re.Match[str]) -> Sequence[Piece]:
    """Put the mark before a word in upper case."""
    return ((f" {UPPER} ", 0), (match[0], 0)) if match[0].isupper() else ((match[0], 0),)


def _lowered_by_words(text: str) -> str:
    """Lower case of each word by itself: that of a sigma depends on its neighbours."""
    if "Σ" not in text:
        return text.lower()
    return _WORD_OR_NOT.sub(lambda match: match[0].lower(), text)


DO_CAPS = (
    Rule("do_caps", re.compile(r"\w{3,}"), _upper_marked),
    Rule("do_caps", _WORD_OR_NOT, lambda match: ((match[0].lower(), 0),), _lowered_by_words),
)

ADD_SPACES_2018 = _spaced("add_spaces_2018", r"[/#]")

BREAK_LINES = Rule(
    "break_lines", re.compile(r"<\s*br\s*/?>", re.IGNORECASE), lambda match: (("\n", 0),)
)

FASTAI_2018 = (
    *FIXUP,
    ESCAPE_MARKS,
    RM_USELESS_SPACES,
    REPLACE_REP_2018,
    REPLACE_WREP_2018,
    *DO_CAPS,
    ADD_SPACES_2018,
    RM_USELESS_SPACES,
    BREAK_LINES,
)

RULE_SETS: dict[str, tuple[Rule, ...]] = {
    "none": (),
    "fastai-2": FASTAI_2,
    "fastai-2018": FASTAI_2018,
}
"""The sets of rules by the names they have in the settings.

`fastai-2` is fastai 2's, `fastai-2018` that of the published scripts of 2018 (fastai 0.7), whose
marks `t_up`, `tk_rep` and `tk_wrep` have their later names here. One difference: a text's own
`xxmaj` and the like is split (`xx maj`), so that only the rules can put in a mark.
"""
