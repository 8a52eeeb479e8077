"""Rules `fastai-2` and splitter `spacy` give fastai 2's tokens, on texts kept with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ulmfit.config.text import TokenizerConfig
from ulmfit.text.marks import MARKS
from ulmfit.text.tokenizer import SPECIAL_TOKENS, Tokenizer

CONFIG = TokenizerConfig(
    kind="word", splitter="spacy", rules="fastai-2", vocab_size=60_000, min_frequency=1
)


@pytest.fixture(scope="module")
def rows(shared_fixtures: Path) -> list[dict[str, Any]]:
    path = shared_fixtures / "fastai" / "text_rules.json"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert len(found) > 100
    return found


@pytest.fixture(scope="module")
def tokenizer(rows: list[dict[str, Any]]) -> Tokenizer:
    return Tokenizer.train([row["text"] for row in rows], CONFIG)


def test_every_row_has_the_same_tokens(rows: list[dict[str, Any]], tokenizer: Tokenizer) -> None:
    for row, ids in zip(rows, tokenizer.encode_batch([r["text"] for r in rows]), strict=True):
        assert ["xxbos", *tokenizer.tokens(ids)[1:]] == row["tokens"]


def test_the_vocabulary_is_that_of_the_tokens(
    rows: list[dict[str, Any]], tokenizer: Tokenizer
) -> None:
    tokens = {token for row in rows for token in row["tokens"]} - {"xxbos"}
    assert set(tokenizer.words()) == tokens | {*SPECIAL_TOKENS, *MARKS}


def test_offsets_lead_back_to_the_text(rows: list[dict[str, Any]], tokenizer: Tokenizer) -> None:
    for row in rows:
        ids, offsets = tokenizer.encode_with_offsets(row["text"])
        assert ["xxbos", *tokenizer.tokens(ids)[1:]] == row["tokens"]
        for token, (start, end) in zip(row["tokens"][1:], offsets[1:].tolist(), strict=True):
            source = row["text"][start:end]
            assert start < end
            if token.isalpha() and token not in MARKS and "&" not in source and "<" not in source:
                assert source.lower().startswith(token[0])


def test_what_was_read_comes_back_readable(
    rows: list[dict[str, Any]], tokenizer: Tokenizer
) -> None:
    for row in rows:
        text = tokenizer.decode(tokenizer.encode(row["text"]))
        assert not re.search(r"\bxx(?:maj|up|rep|wrep|bos)\b|▁", text)
        again = tokenizer.decode(tokenizer.encode(text))
        assert letters(again) == letters(text)


def letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())
