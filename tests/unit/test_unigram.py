from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from ulmfit.config.text import TokenizerConfig
from ulmfit.errors import ConfigError
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.unigram import UNSEEN, learn_pieces

WORDS = {"unable": 40, "able": 60, "unseen": 30, "seen": 50, "do": 20, "undo": 30}
ALPHABET = [*"abdelnosu", "x"]


def test_common_parts_of_words_are_pieces() -> None:
    pieces = dict(learn_pieces(WORDS, 14, ALPHABET))
    assert {"un", "able", "seen"} <= pieces.keys() and len(pieces) <= 14
    assert all(score < 0 for score in pieces.values())
    assert pieces["able"] > pieces["u"]


def test_every_character_is_a_piece_and_an_unseen_one_the_least_likely() -> None:
    for size in (len(ALPHABET), 12, 40):
        pieces = dict(learn_pieces(WORDS, size, ALPHABET))
        assert pieces.keys() >= set(ALPHABET) and len(pieces) <= size
        assert pieces["x"] <= min(pieces[each] for each in ALPHABET if each != "x") - UNSEEN


def test_the_order_of_the_words_does_not_matter() -> None:
    turned = dict(reversed(WORDS.items()))
    assert learn_pieces(WORDS, 14, ALPHABET) == learn_pieces(turned, 14, ALPHABET)


def test_rare_words_teach_nothing_where_others_are_frequent() -> None:
    texts = ["common words"] * 5 + ["zyzzyva"]
    config = TokenizerConfig(kind="unigram", vocab_size=300, min_frequency=2)
    rarer = replace(config, min_frequency=9)
    known = Tokenizer.train(texts, config)
    assert known.id_of("common") is not None and known.id_of("zyzzyva") is None
    alone = Tokenizer.train(["zyzzyva zyzzyva"], rarer)
    assert alone.id_of("zyzzyva") is not None


def test_without_sentencepiece_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ConfigError, match=r"pip install sentencepiece\) or choose bpe"):
        Tokenizer.train(["a text"], TokenizerConfig(kind="unigram", vocab_size=300))
