"""Byte-pair encoding against its plain twin, the library that learns the merges."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ulmfit.config.text import TokenizerConfig
from ulmfit.models.language_model import LanguageModel
from ulmfit.text.byte_pair_encoder import BLOCK
from ulmfit.text.library_encoder import LibraryEncoder
from ulmfit.text.tokenizer import BEGIN_ID, SPECIAL_TOKENS, Tokenizer

CORPUS = [
    "The cat sat on the mat, it's a dog's life; they don’t know 3.5 cats. aaaa aaa ababab",
    "고양이가 매트 위에 앉았다. แมวนั่งบนเสื่อ القط على السجادة बिल्ली चटाई पर बैठी 😀👩‍🚀",
]
TEXT = st.lists(
    st.sampled_from(["cat ", "'s", "’ll", " \t\n", "aaaaa", "abab", "<pad>", "<bos>", "12345", "é"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    max_size=20,
).map("".join)


def twin(tokenizer: Tokenizer) -> LibraryEncoder:
    return LibraryEncoder(tokenizers.Tokenizer.from_str(tokenizer.to_json().decode()))


def assert_equal_to_its_twin(tokenizer: Tokenizer, text: str) -> None:
    ids, offsets = tokenizer.encode_with_offsets(text)
    expected = twin(tokenizer).encode_with_offsets(text, max(len(text), 1))
    assert ids[0] == BEGIN_ID
    np.testing.assert_array_equal(ids[1:], expected[0])
    np.testing.assert_array_equal(offsets[1:], expected[1])
    np.testing.assert_array_equal(ids, tokenizer.encode(text))


@pytest.fixture(scope="module")
def shipped() -> Tokenizer:
    return LanguageModel.from_pretrained("wikipedia-en-small").tokenizer


@given(TEXT)
@settings(max_examples=30, deadline=None)
def test_ids_and_places_are_the_library_s(shipped: Tokenizer, text: str) -> None:
    assert_equal_to_its_twin(shipped, text)


@given(st.lists(st.text("ab '", max_size=40), min_size=1, max_size=8), st.text("ab '"))
@example(["aaaa", "aaaaaaa", "baaab"], "aaaaaaaaaaaabaaa")
@settings(max_examples=150, deadline=None)
def test_merges_learned_from_any_text_are_applied_alike(texts: list[str], text: str) -> None:
    tokenizer = Tokenizer.train([*CORPUS, *texts], TokenizerConfig(vocab_size=400, min_frequency=1))
    for one in [*texts, text]:
        assert_equal_to_its_twin(tokenizer, one)


def test_every_assigned_character_is_cut_as_by_the_library(shipped: Tokenizer) -> None:
    characters = [chr(code) for code in range(0x110000)]
    assigned = [c for c in characters if unicodedata.category(c) not in ("Cn", "Co", "Cs")]
    texts = [f"é{c} {c}1{c}\n{c}'s{c}" for c in assigned]
    assert len(texts) > 100_000
    expected = twin(shipped).encode_batch(texts, 100)
    for text, ids, own in zip(texts, expected, shipped.encode_batch(texts), strict=True):
        assert own[1:].tolist() == ids.tolist(), text


def test_every_piece_is_one_id(shipped: Tokenizer) -> None:
    pieces = [p for p in shipped.tokens(np.arange(4, shipped.vocab_size)) if "\ufffd" not in p]
    alone = [shipped.encode(piece).tolist()[1:] for piece in pieces]
    # A piece that ends in white space is no pre-token of its own.
    assert sum(ids != [shipped.id_of(p)] for ids, p in zip(alone, pieces, strict=True)) < 5


def test_many_texts_keep_their_order(shipped: Tokenizer) -> None:
    texts = [f"text number {n}" for n in range(5 * BLOCK + 3)]
    for text, ids in zip(texts, shipped.encode_batch(texts), strict=True):
        assert shipped.decode(ids) == text


def test_special_names_are_plain_text(shipped: Tokenizer) -> None:
    for name in SPECIAL_TOKENS:
        ids = shipped.encode(f"{name}a {name} ")[1:]
        assert (ids >= len(SPECIAL_TOKENS)).all() and shipped.decode(ids) == f"{name}a {name} "
