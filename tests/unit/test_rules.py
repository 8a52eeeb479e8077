from __future__ import annotations

import html
import re
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ulmfit.text.fastai_rules import RULE_SETS
from ulmfit.text.marks import MARKS, decode_marks
from ulmfit.text.rules import Rule, apply_rules, apply_rules_aligned

FASTAI_2 = RULE_SETS["fastai-2"]
every_set = pytest.mark.parametrize("rules", [FASTAI_2, RULE_SETS["fastai-2018"]])
PARTS = st.sampled_from(
    [
        *("a", "b", "A", "Σ", "σ", "İ", "ß", "x", "xx", "maj", "XXMAJ", "xxrep 3", "xxup"),
        *(" ", "  ", "\n", "\t", "\u2028", "no ", "No No No ", "aaaa", "&amp;", "&#120;", "&lt;"),
        *("<br />", "<unk>", " @-@ ", "...", "/", "#39;", "\\n", "Hello", "USA", "3.5", "'"),
    ]
)
MESSY_TEXT = st.lists(PARTS | st.text(max_size=3), max_size=12).map("".join)


def mark_case(text: str, mark: str, pattern: str) -> str:
    def replace(match: re.Match[str]) -> str:
        return match[1] + (mark if len(match[2]) > 1 else "") + match[2].lower()

    return re.sub(pattern, replace, text)


def fastai_2(text: str) -> str:
    """The rules written plainly, a function each, for texts without names of marks."""
    for old, new in [
        *(("#39;", "'"), ("amp;", "&"), ("#146;", "'"), ("nbsp;", " "), ("#36;", "$")),
        *(("\\n", "\n"), ("quot;", "'"), ("<br />", "\n"), ('\\"', '"'), ("<unk>", "xxunk")),
        *((" @.@ ", "."), (" @-@ ", "-"), ("...", " …")),
    ]:
        text = text.replace(old, new)
    text = html.unescape(text)
    text = re.sub(r"(\S)(\1{2,})", lambda m: f" xxrep {len(m[2]) + 1} {m[1]} ", text)
    text = re.sub(
        r"(?:\s|^)(\w+)\s+((?:\1\s+)+)\1(\s|\W|$)",
        lambda m: f" xxwrep {len(m[2].split()) + 2} {m[1]} {m[3]}",
        text,
    )
    text = re.sub(r"([/#\\])", r" \1 ", text)
    text = re.sub(" {2,}", " ", text)
    text = mark_case(text, "xxup ", r"(\s|^)([A-Z]+[^a-z\s]*)(?=(\s|$))")
    text = mark_case(text, "xxmaj ", r"(\s|^)([A-Z][^A-Z\s]*)(?=(\s|$))")
    return text.strip().lower()


@given(MESSY_TEXT)
@example("ΑΣ ΑΣ. 'Σ")
@example("Aİ İSTANBULΣ")
def test_equals_the_plain_functions_but_for_names_of_marks(text: str) -> None:
    rules = [rule for rule in FASTAI_2 if rule.name != "escape_marks"]
    assert apply_rules(rules, text) == fastai_2(text)


@every_set
@given(MESSY_TEXT)
@example("no  no no")
@example("no no no!")
@example("...\n\n\n aab bb")
@example("\x1c a\x85\xa0")
@example("\ud800\ud800\ud800 a")
@example(" ".join(f"Word{i} UP{i}" for i in range(10_000)) + "  no no no no!!!!")
def test_each_rule_s_quick_way_is_the_substitution(rules: Sequence[Rule], text: str) -> None:
    for rule in rules:
        plain = Rule(rule.name, rule.pattern, rule.replace)
        assert rule.apply(text) == plain.apply(text)


@every_set
@given(MESSY_TEXT)
def test_aligned_result_is_the_same_and_spans_lie_in_the_text(
    rules: Sequence[Rule], text: str
) -> None:
    result, spans = apply_rules_aligned(rules, text)
    assert result == apply_rules(rules, text)
    assert spans.shape == (len(result), 2)
    assert (spans[:, 0] < spans[:, 1]).all()
    assert (spans >= 0).all() and (spans <= len(text)).all()


def test_spans_of_the_words() -> None:
    text = "The  USA soooo no no no! &lt; xxup İX"
    result, spans = apply_rules_aligned(FASTAI_2, text)
    words = [
        (match[0], text[spans[match.start(), 0] : spans[match.end() - 1, 1]])
        for match in re.finditer(r"\S+", result)
    ]
    assert words == [
        *(("xxmaj", "The"), ("the", "The"), ("xxup", "USA"), ("usa", "USA"), ("s", "s")),
        *(("xxrep", "oooo"), ("4", "oooo"), ("o", "oooo")),
        *(("xxwrep", "no no no"), ("3", "no no no"), ("no", "no no no"), ("!", "!")),
        *(("<", "&lt;"), ("xx", "xx"), ("up", "up"), ("i̇x", "İX")),
    ]


def test_no_rules_keep_everything() -> None:
    result, spans = apply_rules_aligned(RULE_SETS["none"], " A\n")
    assert result == " A\n"
    np.testing.assert_array_equal(spans, [[0, 1], [1, 2], [2, 3]])


@every_set
@pytest.mark.parametrize(
    "text",
    [
        *("xxmaj", "xxup", "xxrep", "xxwrep", "axxmaj", "5xxup", "&#120;xmaj", "xx&#1;maj"),
        *("xx<br />up", "\u1e8dxxup", "xxrep 1000000 a", "xxfld 1", "xxbos", "xxxxrep 3 a"),
    ],
)
def test_text_never_becomes_a_mark(rules: Sequence[Rule], text: str) -> None:
    without_marks = [rule for rule in rules if rule.name in ("fix_html", "fixup", "escape_marks")]
    for spelling in (text, text.upper() if "&" not in text else text, text.title()):
        result = apply_rules(without_marks, spelling)
        assert not re.search("xx(maj|up|rep|wrep|fld|bos)", result, re.IGNORECASE)


@every_set
def test_a_reference_of_any_length_is_read(rules: Sequence[Rule]) -> None:
    assert apply_rules(rules, "a &#" + "12" * 2_500).startswith("a \ufffd12")


@every_set
@given(st.text(st.sampled_from("xmajuprewdflbosX -&#120;<>5"), max_size=30))
def test_only_rules_put_in_marks(rules: Sequence[Rule], text: str) -> None:
    """Every mark in the result comes with the text that the rule replaced, not with its name."""
    result, spans = apply_rules_aligned(rules, text)
    for match in re.finditer("xx(?:maj|up|rep|wrep|fld|bos)", result):
        source = text[spans[match.start(), 0] : spans[match.end() - 1, 1]]
        assert match[0] in MARKS
        assert html.unescape(source).lower() != match[0]
        before, after = result[: match.start()], result[match.end() :]
        assert before[-1:] in ("", " ", "\n") and after[:1] == " "


@every_set
@pytest.mark.parametrize(
    "unit", ["ab", "AB", "A'", " ", "\n", "\n\t", "A ", "no ", "&#", "<br />", "a\n"]
)
def test_time_is_proportional_to_length(rules: Sequence[Rule], unit: str) -> None:
    start = time.process_time()
    apply_rules(rules, "a" + unit * (200_000 // len(unit)) + "b")
    assert time.process_time() - start < 5.0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("xxmaj hello , xxup world !", "Hello, WORLD!"),
        ("xxrep 4 o", "oooo"),
        ("xxwrep 3 no way", "no no no way"),
        ("xxwrep 3 xxmaj no way", "No No No way"),
        ("xxrep 4 xxup", ""),
        ("xxrep a", "a"),
        ("xxrep xxwrep 2 a", "a a"),
        ("xxmaj", ""),
        ("xxrep 4", ""),
        ("xxrep 4 o xxrep", "oooo"),
        ("xxrep 3 4 5", "444 5"),
        ("xxmaj it 's ( a ) test .", "It's (a) test."),
        ("xxbos xxfld 1 xxmaj title xxfld 2 text", "Title\ntext"),
        ("xxfld title", "title"),
        ("they xxup would n't 've xxmaj it 's", "they WOULDN'T'VE It's"),
        ("usa 's", "usa's"),
    ],
)
def test_marks_are_undone(words: str, text: str) -> None:
    assert decode_marks(words.split()).strip() == text


def test_words_of_white_space_stand_as_they_are() -> None:
    words = ["a", "\n\n", "b", "\t", "c", "\n ", "xxmaj", "d", "."]
    assert decode_marks(words) == "a\n\nb\tc\n D."


def test_a_repetition_is_bounded() -> None:
    assert decode_marks(["xxrep", "1000000", "a"]) == "a" * 1_000_000
    assert len(decode_marks(["xxwrep", "999999999", "word"])) <= 1_000_000
    assert decode_marks(["xxrep", "9" * 10_000, "word"]) == "9" * 10_000 + " word"
    assert decode_marks(["xxmaj"] * 100_000 + ["a"]) == "A"


@pytest.mark.parametrize("marks", ["xxup", "xxmaj", "xxrep 3", "xxwrep 3", "xxrep", "xxmaj xxwrep"])
def test_marks_of_an_unknown_word_go_with_it(marks: str) -> None:
    assert decode_marks([*marks.split(), "<unk>", "the", "film"]) == "the film"


def test_a_custom_rule() -> None:
    rule = Rule("digits", re.compile(r"\d"), lambda match: (("<", 0), (match[0], 0), (">", 0)))
    assert apply_rules((rule,), "a1") == "a<1>"
    assert apply_rules_aligned((rule,), "a1")[1].tolist() == [[0, 1], [1, 2], [1, 2], [1, 2]]
