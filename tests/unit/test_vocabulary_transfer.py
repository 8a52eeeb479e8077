from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ulmfit.config.artefact import Member
from ulmfit.config.model import Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.models.language_model import LanguageModel
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.models.vocabulary import Coverage, coverage, known_as, with_vocabulary
from ulmfit.text.marks import MARKS
from ulmfit.text.tokenizer import SPECIAL_TOKENS, Tokenizer

GENERAL = ["the film was long and we saw it", "the room was old", "it was the film we saw"] * 3
TARGET = ["the patient was old and the patient coughed", "it was the film", "patient old"] * 3

WORD = TokenizerConfig(kind="word", min_frequency=1, rules="fastai-2")
BPE = TokenizerConfig(vocab_size=320, min_frequency=1)


def model_of(tokenizer: Tokenizer) -> LanguageModel:
    torch.manual_seed(0)
    shape = EncoderConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=4, hidden_size=6, layers=2
    )
    network = LanguageModelNetwork(shape, Dropout())
    torch.nn.init.normal_(network.head.bias)
    return LanguageModel(network, tokenizer, Member(direction="forward", prefix="forward"))


def rows_by_word(model: LanguageModel) -> dict[str, torch.Tensor]:
    state = model.network.state_dict()
    rows = torch.cat([state["encoder.embedding.weight"], state["head.bias"][:, None]], dim=1)
    return dict(zip(model.tokenizer.words(), rows, strict=True))


def test_known_words_keep_their_rows_and_new_ones_get_the_mean() -> None:
    old, new = Tokenizer.train(GENERAL, WORD), Tokenizer.train(TARGET, WORD)
    model = model_of(old)
    before = rows_by_word(model)
    after = rows_by_word(with_vocabulary(model, new, known_as(new, old)))
    assert after.keys() == {*new.words()}
    mean = torch.stack([*before.values()]).mean(0)
    for word, row in after.items():
        if word in before:
            assert torch.equal(row, before[word]), word
        else:
            assert word in ("patient", "coughed")
            torch.testing.assert_close(row, mean)


def test_the_layers_are_those_of_the_model_and_a_copy() -> None:
    old, new = Tokenizer.train(GENERAL, WORD), Tokenizer.train(TARGET, WORD)
    model = model_of(old)
    moved = with_vocabulary(model, new, known_as(new, old))
    for name, tensor in model.network.encoder.layers.state_dict().items():
        other = moved.network.encoder.layers.state_dict()[name]
        assert torch.equal(other, tensor) and other.data_ptr() != tensor.data_ptr()
    assert moved.config.vocab_size == new.vocab_size
    assert moved.perplexity(TARGET).shape == (9,)


def test_the_same_vocabulary_changes_nothing() -> None:
    for config in (WORD, BPE):
        tokenizer = Tokenizer.train(GENERAL, config)
        model = model_of(tokenizer)
        moved = with_vocabulary(model, tokenizer, known_as(tokenizer, tokenizer))
        for name, tensor in model.network.state_dict().items():
            assert torch.equal(moved.network.state_dict()[name], tensor), name


@pytest.mark.parametrize("kinds", [("bpe", "unigram"), ("unigram", "bpe")])
def test_pieces_of_bytes_are_known_to_one_another(kinds: tuple[Any, Any]) -> None:
    """Those that are a part of a character too."""
    texts = ["영화가 정말 재미있었어요", "the film was long", "다시 보고 싶은 영화"] * 9
    old, new = (
        Tokenizer.train(texts, TokenizerConfig(kind=kind, vocab_size=330, min_frequency=1))
        for kind in kinds
    )
    words = old.words()
    for word, ids in zip(new.words(), known_as(new, old), strict=True):
        if word in words:
            assert [words[i] for i in ids] == [word]
    counts = np.bincount(np.concatenate(new.encode_batch(texts)), minlength=new.vocab_size)
    assert coverage(new, known_as(new, old), counts).tokens > 0.9


def test_a_piece_that_is_a_word_gets_its_row() -> None:
    old, new = Tokenizer.train(GENERAL, WORD), Tokenizer.train(TARGET, BPE)
    known = known_as(new, old)
    words = old.words()
    for piece, ids in zip(new.tokens(range(new.vocab_size)), known, strict=True):
        if piece in SPECIAL_TOKENS:
            assert [words[i] for i in ids] == [piece]
        else:
            assert [words[i] for i in ids] == [w for w in [piece.strip()] if w in words], piece
    assert any(piece == " the" for piece in new.tokens(range(new.vocab_size)))


def test_a_word_gets_the_mean_of_its_old_pieces() -> None:
    old, new = Tokenizer.train(GENERAL, BPE), Tokenizer.train(TARGET, WORD)
    model = model_of(old)
    moved = with_vocabulary(model, new, known_as(new, old))
    weights = model.network.encoder.embedding.weight
    pieces = old.encode(" patient")[1:]  # as it stands in text
    assert len(pieces) > 1
    row = moved.network.encoder.embedding.weight[new.words().index("patient")]
    torch.testing.assert_close(row, weights[torch.from_numpy(pieces)].mean(0))


def test_a_word_is_known_as_it_stands_in_text() -> None:
    """Pieces begin with the space before them: `film` alone is other pieces than in a sentence."""
    old = Tokenizer.train(GENERAL, BPE)
    new = Tokenizer.train(["the film was long. (it was)"] * 3, WORD)
    known = dict(zip(new.words(), known_as(new, old), strict=True))
    assert old.tokens(known["film"]) == [" film"] and old.tokens(known["was"]) == [" was"]
    assert old.decode(known["."]) == "." and old.decode(known["("]) == " ("
    assert all(len(known[mark]) == 0 for mark in MARKS if mark in known)


def test_from_pieces_to_words_a_model_knows_its_language() -> None:
    model = LanguageModel.from_pretrained("wikipedia-en-small")
    texts = [
        "the film was released in the united states and became a great success .",
        "he was born in a small town in the north of england and studied music in london .",
    ]
    config = TokenizerConfig(kind="word", splitter="spaces", rules="none", min_frequency=1)
    words = Tokenizer.train(texts, config)
    moved = with_vocabulary(model, words, known_as(words, model.tokenizer))
    assert (moved.perplexity(texts) < 2 * model.perplexity(texts)).all()


def test_coverage_counts_types_and_tokens() -> None:
    old, new = Tokenizer.train(GENERAL, WORD), Tokenizer.train(TARGET, WORD)
    ids = np.concatenate(new.encode_batch(TARGET))
    found = coverage(new, known_as(new, old), np.bincount(ids, minlength=new.vocab_size))
    words = set(new.words()[len(SPECIAL_TOKENS) :])
    assert found.types == pytest.approx(1 - 2 / len(words))
    assert found.tokens == pytest.approx(1 - 12 / 42)
    assert found.unknown == ("patient", "coughed")
    assert str(found) == (
        f"known: {found.types:.1%} of the vocabulary, 71.4% of the text; most frequent unknown: "
        "'patient', 'coughed'"
    )


def test_a_text_all_known_has_no_unknown_token() -> None:
    tokenizer = Tokenizer.train(GENERAL, BPE)
    counts = np.ones(tokenizer.vocab_size, dtype=np.int64)
    known = [np.array([i]) for i in range(tokenizer.vocab_size)]
    found = coverage(tokenizer, known, counts)
    assert found == Coverage(types=1.0, tokens=1.0, unknown=())
    assert str(found).endswith("most frequent unknown: none")
