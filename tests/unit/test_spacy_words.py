from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import spacy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ulmfit.text import spacy_words as module
from ulmfit.text.fastai_rules import RULE_SETS
from ulmfit.text.rules import apply_rules
from ulmfit.text.spacy_words import LONGEST_RUN, SpacyWords

SPACY: Any = spacy.blank("en").tokenizer
WORDS = SpacyWords()
AT_ONCE = sys.maxsize

SPECIAL = sorted(SPACY.rules)
SPACES = [c for c in map(chr, range(sys.maxunicode)) if c.isspace()]
PARTS = st.sampled_from([*" " * 8, "  ", "\n", "\n ", "\t", "\xa0", "\u3000", "\x1c"]) | (
    st.sampled_from([*SPECIAL, *":;()[]<>-='\"./,!?%$&@°…—’8oOxXpPdDsmMkK3", "www.", "http://"])
)
MESSY_TEXT = st.lists(PARTS | st.text(st.characters(exclude_categories=["Cs"]), max_size=3))


def ours(text: str, words: SpacyWords = WORDS, window: int = AT_ONCE) -> list[str]:
    return list(words.words(text, window))


def theirs(text: str) -> list[str]:
    """The words, those of white space as fastai writes them."""
    return [token.text.replace(" ", "▁") for token in SPACY(text)]


@given(MESSY_TEXT.map("".join))
@example("")
@example(" ")
@example("so.:) )")
@example("so.:) so.:) ) so.:)\n) so.:)  )")
@example("a.m.! a.m .! (o: x im. 's ' 's''s ''em 10a.m. (10a.m.)")
@example("°C.K 5°C. gotta. w/o/and/or ╯︵ ┻━┻(╯°□°）╯︵┻━┻ )")
@settings(max_examples=300)
def test_words_are_spacy_s(text: str) -> None:
    assert ours(text) == theirs(text)


def test_a_joined_word_depends_on_its_neighbours() -> None:
    assert ours("so.:)") == ["so", ".", ":)"]
    assert ours("so.:) )") == ["so", ".", ":", ")", ")"]
    assert ours("-:)") == ["-", ":)"]
    assert ours("( -:)") == ["(", "-", ":", ")"]


def test_every_special_case_is_split_as_spacy_splits_it() -> None:
    for case in SPECIAL:
        for text in (case, f"({case})", f"so.{case}", f"{case}{case}", f"{case} {case}.,"):
            assert ours(text) == theirs(text)


def test_letters_and_marks_that_spacy_is_not_asked_for() -> None:
    rng = random.Random(0)
    names = [case.strip(".'") for case in SPECIAL if case.islower()]
    names += ["".join(rng.choices("adeilmnostuvwy", k=rng.randint(1, 6))) for _ in range(300)]
    for name in names:
        for mark in ("", *',.!?;:)"', "'"):
            assert ours(name + mark) == theirs(name + mark)


def test_white_space() -> None:
    for space in SPACES:
        for text in (f"a{space}b", f"{space}a", f"a{space}{space} {space}b", f"a {space}"):
            assert ours(text) == theirs(text)


def test_real_text(shared_data: Path) -> None:
    import pyarrow.parquet as pq

    texts = pq.read_table(shared_data / "imdb" / "test.parquet").column("text").to_pylist()
    for text in random.Random(0).sample(texts, 60):
        assert ours(text) == theirs(text)
        ruled = apply_rules(RULE_SETS["fastai-2"], text)
        assert ours(ruled) == theirs(ruled)


def long_text() -> str:
    rng = random.Random(0)
    parts = [*SPECIAL, "so.:)", "so.:) )", "x" * (LONGEST_RUN - 1), "\n\n", " ", "the", "cat,"]
    return " ".join(rng.choices(parts, k=30_000))


def test_a_long_text_in_windows() -> None:
    text = long_text()
    blocks = list(WORDS.blocks(text, 1))
    assert len(blocks) > 10
    assert "".join(chain.from_iterable(runs for runs, _ in blocks)) == text
    assert [w for _, words in blocks for w in chain.from_iterable(words)] == theirs(text)


@pytest.mark.parametrize("unit", ["so.:) ) ", "( -:) ", "so.:) )-: "])
def test_a_window_ends_where_a_neighbour_matters(unit: str) -> None:
    """The first run's words are joined or not by the second, or the second's by the first."""
    text = unit * 4_000
    for start in range(len(unit)):
        assert ours(text[start:], window=1) == theirs(text[start:])


def test_the_words_of_a_run_are_the_run_and_perhaps_a_space() -> None:
    for runs, words in WORDS.blocks(long_text(), 1):
        for run, own in zip(runs, words, strict=True):
            assert run.replace(" ", "▁") in ("".join(own), "".join(own) + "▁")


@pytest.mark.parametrize("unit", ["a", "'", "!?", ".:)", "日本", "a-", "a:b@"])
def test_a_long_run_is_cut(unit: str) -> None:
    text = unit * (LONGEST_RUN // len(unit))
    text += "b" * (LONGEST_RUN - len(text))
    assert ours(f"{text}c {text} {text}") == theirs(f"{text} c {text} {text}")
    assert ours(f"{text}{text}") == theirs(f"{text} {text}")
    assert ours(" " * LONGEST_RUN + "  a") == ["▁" * LONGEST_RUN, "▁▁", "a"]


@pytest.mark.parametrize("unit", ["a", " ", "\n", "!?", "so.:) ) ", "1,", "x y "])
def test_time_is_proportional_to_length(unit: str) -> None:
    start = time.process_time()
    ours(unit * (200_000 // len(unit)), window=2**16)
    assert time.process_time() - start < 10.0


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(module, "REMEMBERED", 2_000)
    yield 2_000


def test_what_is_remembered_is_bounded(little_room: int) -> None:
    words = SpacyWords()
    strings = len(words._english._vocab.strings)
    rng = random.Random(0)
    for number in range(60):
        text = " ".join(f"{rng.choice(SPECIAL)}{number}x{i}.:) common" for i in range(10))
        assert ours(text, words) == theirs(text)
        kept = [*words._recent, *words._older, *words._to_join]
        assert sum(map(len, kept)) < 2 * little_room + len(text) + 1_000
        assert "common " in words._recent or "common " in words._older
    assert len(words._english._vocab.strings) == strings


def test_threads_may_share_one() -> None:
    words = SpacyWords()
    texts = [f"{case} {number}x. so.:)" for number, case in enumerate(SPECIAL[:200])]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: ours(text, words), texts))
    assert found == [theirs(text) for text in texts]


def test_spaces_come_back_in_words_of_white_space_only() -> None:
    words = ["\n▁", "▁", "a▁b", "▁▁\t", "word", ""]
    assert [module.readable(word) for word in words] == ["\n ", " ", "a▁b", "  \t", "word", ""]
    assert [module.visible(word) for word in ("\n ", "a")] == ["\n▁", "a"]


def test_a_word_is_looked_up_not_split_again(monkeypatch: pytest.MonkeyPatch) -> None:
    words = SpacyWords()
    text = "It's well-known (e.g. here), so.:) again"
    first = ours(text, words)
    monkeypatch.setattr(words._english, "split", None)
    assert ours(text, words) == first == theirs(text)
