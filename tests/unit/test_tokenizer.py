from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ulmfit.config.settings import from_dict
from ulmfit.config.text import TokenizerConfig
from ulmfit.errors import ArtefactError, ConfigError, DataError
from ulmfit.text.library_encoder import REACH
from ulmfit.text.marks import MARKS
from ulmfit.text.spacy_words import spacy_words
from ulmfit.text.tokenizer import (
    BEGIN_ID,
    FIELD_ID,
    SPECIAL_TOKENS,
    UNKNOWN_ID,
    Tokenizer,
    reverse_ids,
)
from ulmfit.text.unicode import replace_surrogates

CORPUS = [
    "The cat sat on the mat, and the dog sat on the cat.",
    "It's a dog's life; they don't know, they'll see 3.5 cats in 2024.",
    "The DOG was HAPPY!!!! The Cat was not not not not happy.",
    "고양이가 매트 위에 앉았다. แมวนั่งบนเสื่อ القط على السجادة बिल्ली चटाई पर बैठी 😀👩‍🚀",
    "<pad> <unk> <bos> <fld> xxmaj xxup xxrep xxwrep xxbos xxfld",
] * 3

BPE = TokenizerConfig(vocab_size=400)
UNIGRAM = TokenizerConfig(kind="unigram", vocab_size=330)
WORD = TokenizerConfig(kind="word", vocab_size=300, min_frequency=1)
RULED = TokenizerConfig(kind="word", vocab_size=300, min_frequency=1, rules="fastai-2")
RULED_BPE = TokenizerConfig(vocab_size=400, rules="fastai-2")
SPACY = TokenizerConfig(kind="word", splitter="spacy", vocab_size=300, min_frequency=1)
SPACED = replace(SPACY, splitter="spaces")
RULED_SPACY = replace(SPACY, rules="fastai-2")

TOKENIZERS = {
    "bpe": Tokenizer.train(CORPUS, BPE),
    "unigram": Tokenizer.train(CORPUS, UNIGRAM),
    "word": Tokenizer.train(CORPUS, WORD),
    "ruled": Tokenizer.train(CORPUS, RULED),
    "ruled_bpe": Tokenizer.train(CORPUS, RULED_BPE),
    "spacy": Tokenizer.train(CORPUS, SPACY),
    "spaced": Tokenizer.train(CORPUS, SPACED),
    "ruled_spacy": Tokenizer.train(CORPUS, RULED_SPACY),
}
KINDS = pytest.mark.parametrize("kind", TOKENIZERS)
BYTE_LEVEL = pytest.mark.parametrize("kind", ["bpe", "unigram"])
SPACY_KINDS = [
    kind for kind, tokenizer in TOKENIZERS.items() if tokenizer.config.splitter == "spacy"
]
LIBRARY_KINDS = [kind for kind in TOKENIZERS if kind not in SPACY_KINDS]

NAMES = [*SPECIAL_TOKENS, *MARKS, "xxbos", "xxfld", "XXMAJ"]
UNICODE_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LONG_TEXT = st.lists(
    st.sampled_from([*CORPUS, *NAMES, "a" * 200, "7" * 90, "1,2.3," * 9, " " * 300, "\n" * 50])
    | st.sampled_from(["😀" * 70, "'ll", "don't", "!?" * 40, " \t", "\x00", "\u0301" * 40])
    | st.text(max_size=20),
    max_size=20,
).map("".join)


@given(UNICODE_TEXT)
@example("".join(map(chr, range(0x300))))
@example("\r\n \x00\x1c\u2028\u200b\ufeff e\u0301 👩‍🚀 한국어 ไทย العربية हिन्दी")
@example(" ".join(NAMES))
@BYTE_LEVEL
def test_pieces_of_bytes_are_lossless(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    assert ids[0] == BEGIN_ID and (ids[1:] >= len(SPECIAL_TOKENS)).all()
    assert tokenizer.decode(ids) == text


@given(st.text(st.characters()))
@settings(max_examples=50)
def test_lone_surrogates_count_as_replacement_characters(text: str) -> None:
    for tokenizer in TOKENIZERS.values():
        np.testing.assert_array_equal(
            tokenizer.encode(text), tokenizer.encode(replace_surrogates(text))
        )
    for kind in ("bpe", "unigram"):
        assert TOKENIZERS[kind].decode(TOKENIZERS[kind].encode(text)) == replace_surrogates(text)


@KINDS
@pytest.mark.parametrize("name", NAMES)
def test_text_never_becomes_a_special_token_or_a_mark(kind: str, name: str) -> None:
    tokenizer = TOKENIZERS[kind]
    refused: set[int | None] = {BEGIN_ID, FIELD_ID, 0}
    if kind in ("ruled", "ruled_spacy"):
        refused |= {tokenizer.id_of(mark) for mark in ("xxrep", "xxwrep")}
        if name == name.lower():
            refused |= {tokenizer.id_of(mark) for mark in MARKS}
    for text in (
        name,
        f"a {name} b",
        f"a{name}b",
        f"{name}{name}",
        f" {name}\n",
        "ab" * 31 + "a" + name,
        f"a…{name}…b",
    ):
        assert not refused & set(tokenizer.encode(text)[1:].tolist())


@given(LONG_TEXT)
@example("".join(f"don't {'ab' * i} {'12,' * (i % 5)}{'!?' * i}  \n they'll" for i in range(60)))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("window", [2 * REACH, 333])
@pytest.mark.parametrize("kind", LIBRARY_KINDS)
def test_encoding_in_windows_is_encoding_at_once(kind: str, window: int, text: str) -> None:
    whole = TOKENIZERS[kind]
    cut = Tokenizer.from_json(whole.to_json(), whole.config)
    cut.window = window
    np.testing.assert_array_equal(cut.encode(text), whole.encode(text))
    for a, b in zip(cut.encode_with_offsets(text), whole.encode_with_offsets(text), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", SPACY_KINDS)
def test_a_long_text_that_spacy_splits_is_its_parts(kind: str) -> None:
    whole = TOKENIZERS[kind]
    cut = Tokenizer.from_json(whole.to_json(), whole.config)
    cut.window = 1
    text = " ".join(f"{CORPUS[i % 5]} so.:) ) {'ab' * i}!{'12,' * (i % 5)}  x" for i in range(400))
    assert len(text) > 5 * 2**16 / 2
    np.testing.assert_array_equal(cut.encode(text), whole.encode(text))
    ids, offsets = cut.encode_with_offsets(text)
    np.testing.assert_array_equal(ids, whole.encode(text))
    np.testing.assert_array_equal(offsets, whole.encode_with_offsets(text)[1])


@pytest.mark.parametrize(
    ("kind", "unit"),
    [
        *product(
            ("bpe", "unigram", "word"), ("a", " ", "7", "!", "\n", "あ", "\u0301", "the cat ", "'")
        ),
        *product(("spacy",), ("a", " ", "!", "あ", "the cat ", "cat.:) ")),
    ],
)
def test_a_long_run_takes_bounded_memory(kind: str, unit: str) -> None:
    tokenizer = TOKENIZERS[kind]
    tokenizer = Tokenizer.from_json(tokenizer.to_json(), tokenizer.config)
    tokenizer.window = 2**12
    text = unit * (60_000 // len(unit))
    tracemalloc.start()
    ids = tokenizer.encode(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * ids.nbytes + 4_000_000  # the ids in pieces and joined, and a window
    if kind in ("bpe", "unigram"):
        assert tokenizer.decode(ids) == text


@given(st.lists(st.text(max_size=30) | st.tuples(st.text(max_size=9), st.text(max_size=9))))
@settings(max_examples=30, deadline=None)
@KINDS
def test_a_batch_is_its_documents(kind: str, texts: list[str | tuple[str, ...]]) -> None:
    tokenizer = Tokenizer.from_json(TOKENIZERS[kind].to_json(), TOKENIZERS[kind].config)
    tokenizer.window = 2 * REACH
    texts = [*texts, "the cat " * 40, ("dog " * 90, "")]
    batch = tokenizer.encode_batch(texts)
    assert len(batch) == len(texts)
    for text, ids in zip(texts, batch, strict=True):
        np.testing.assert_array_equal(ids, tokenizer.encode(text))
        np.testing.assert_array_equal(ids, tokenizer.encode_with_offsets(text)[0])


def test_an_empty_batch() -> None:
    assert TOKENIZERS["bpe"].encode_batch([]) == []


def test_columns_stand_behind_field_marks() -> None:
    tokenizer = TOKENIZERS["bpe"]
    title, body = (tokenizer.encode(text)[1:].tolist() for text in ("The cat", "sat"))
    ids = tokenizer.encode(("The cat", "sat", ""))
    assert ids.tolist() == [BEGIN_ID, FIELD_ID, *title, FIELD_ID, *body, FIELD_ID]
    assert tokenizer.decode(ids) == "The cat\nsat\n"
    assert tokenizer.encode(("sat",)).tolist() == [BEGIN_ID, FIELD_ID, *body]
    ids, offsets = tokenizer.encode_with_offsets(("The cat", "sat"))
    spans = offsets[ids == FIELD_ID]
    assert (spans[:, 0] == spans[:, 1]).all()
    assert offsets[-1, 1] == 3
    assert [a.tolist() for a in tokenizer.encode_with_offsets(())] == [[BEGIN_ID], [[0, 0]]]


@given(UNICODE_TEXT)
@BYTE_LEVEL
def test_offsets_of_pieces_of_bytes_cover_the_text(kind: str, text: str) -> None:
    ids, offsets = TOKENIZERS[kind].encode_with_offsets(text)
    assert offsets.shape == (len(ids), 2) and offsets[0].tolist() == [0, 0]
    place = 0
    for start, end in offsets[1:].tolist():
        assert start < end and start <= place <= end
        place = end
    assert place == len(text)


@given(LONG_TEXT)
@settings(max_examples=50)
@pytest.mark.parametrize("kind", ["word", "spacy"])
def test_offsets_of_words_point_at_their_own_text(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    ids, offsets = tokenizer.encode_with_offsets(text)
    for index, word, (start, end) in zip(ids, tokenizer.tokens(ids), offsets, strict=True):
        own = replace_surrogates(text)[start:end]
        own = own.replace(" ", "▁") if kind == "spacy" else own
        assert index in (BEGIN_ID, UNKNOWN_ID) or own == word
        assert index == BEGIN_ID or start < end


def test_offsets_lead_back_through_the_rules() -> None:
    text = "The  DOG was  sooo &lt;happy&gt;!!!! don't"
    tokenizer = TOKENIZERS["ruled"]
    ids, offsets = tokenizer.encode_with_offsets(text)
    found = [(t, text[a:b]) for t, (a, b) in zip(tokenizer.tokens(ids), offsets, strict=True)]
    assert found[:7] == [
        *(("<bos>", ""), ("xxmaj", "The"), ("the", "The"), ("xxup", "DOG"), ("dog", "DOG")),
        *(("was", "was"), ("<unk>", "s")),
    ]
    assert ("happy", "happy") in found and ("<", "&lt;") in found
    assert found[-5:] == [
        *(("xxrep", "!!!!"), ("4", "!!!!"), ("!", "!!!!"), ("do", "do"), ("n't", "n't")),
    ]


def test_words_come_back_readable() -> None:
    tokenizer = TOKENIZERS["ruled"]
    for text in ("The DOG was happy!!!! They don't know, it's 3.5 cats.", "not not not not happy"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    plain = TOKENIZERS["word"]
    assert plain.decode(plain.encode("The dog xxmaj  sat, happy.")) == "The dog xxmaj sat, happy."
    assert plain.decode([BEGIN_ID, UNKNOWN_ID]) == ""
    ruled = TOKENIZERS["ruled"]
    known, more = (ruled.encode(text) for text in ("saw the cat", "Zyx saw the cat"))
    assert UNKNOWN_ID in more and ruled.decode(more) == ruled.decode(known)
    assert TOKENIZERS["ruled_bpe"].decode(TOKENIZERS["ruled_bpe"].encode("The DOG\nsat")) == (
        "The DOG\nsat"
    )


@pytest.mark.parametrize(
    "text",
    [
        "The DOG was happy!!!! They don't know, it's 3.5 cats.",
        "They DON'T know",
        "not not not not happy",
        "the cat\n\nsat\non the mat",
        "the cat\n  sat",
        "the\tcat (sat)",
        "It's a cat:) The CAT…",
    ],
)
def test_words_of_spacy_come_back_readable(text: str) -> None:
    tokenizer = Tokenizer.train([text, text], RULED_SPACY)
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("  ", " ")
    plain = Tokenizer.train([text, text], SPACY)
    assert plain.decode(plain.encode(text)).replace(" ", "") == text.replace(" ", "")
    assert plain.decode(plain.encode((text, text))).count(plain.decode(plain.encode(text))) == 2


def test_words_of_white_space_are_written_as_fastai_writes_them() -> None:
    tokenizer = Tokenizer.train(["a  b\n c\td"], SPACY)
    ids = tokenizer.encode("a  b\n c\td e")
    assert tokenizer.tokens(ids) == ["<bos>", "a", "▁", "b", "\n▁", "c", "\t", "d", "<unk>"]
    assert tokenizer.id_of("\n ") == tokenizer.id_of("\n▁") == ids[4]


def test_the_stored_file_splits_spacy_s_words_at_the_spaces_between() -> None:
    """What another program makes of `tokenizer.json` and words with a space between."""
    tokenizer = TOKENIZERS["ruled_spacy"]
    library = tokenizers.Tokenizer.from_str(tokenizer.to_json().decode())
    ids = tokenizer.encode(CORPUS[2] + "\n\n never met")
    assert (ids == UNKNOWN_ID).sum() == 3
    assert library.encode(" ".join(tokenizer.tokens(ids)[1:])).ids == ids[1:].tolist()


def test_a_vocabulary_given_for_spacy_s_words() -> None:
    words = [*SPECIAL_TOKENS, *MARKS, "the", "n't", "\n▁", "do"]
    tokenizer = Tokenizer.from_words(words, RULED_SPACY)
    assert tokenizer.words() == words
    assert tokenizer.tokens(tokenizer.encode("DON'T the \n\t x"))[1:] == [
        *("xxup", "do", "n't", "the", "<unk>", "<unk>"),
    ]


def test_spacy_splits_words_only() -> None:
    wrong = TokenizerConfig(splitter="spacy")
    message = (
        "setting 'tokenizer.splitter': found 'spacy', which splits words, with kind 'bpe'; "
        "choose kind 'word', or splitter 'pattern'"
    )
    with pytest.raises(ConfigError) as error:
        Tokenizer.train(CORPUS, wrong)
    assert str(error.value) == message
    with pytest.raises(ConfigError) as error:
        Tokenizer.from_json(TOKENIZERS["bpe"].to_json(), wrong)
    assert str(error.value) == message


@pytest.mark.parametrize(("stored", "config"), [("word", SPACY), ("spacy", WORD)])
def test_words_of_another_splitter_are_refused(stored: str, config: TokenizerConfig) -> None:
    with pytest.raises(ArtefactError) as error:
        Tokenizer.from_json(TOKENIZERS[stored].to_json(), config)
    assert str(error.value) == (
        f"tokenizer.json: found words of another splitter than {config.splitter}; "
        "restore the file or make it again"
    )


def test_without_spacy_only_splitting_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "spacy"]:
        monkeypatch.setitem(sys.modules, name, None)
    spacy_words.cache_clear()
    tokenizer = TOKENIZERS["spacy"]
    tokenizer = Tokenizer.from_json(tokenizer.to_json(), tokenizer.config)
    assert tokenizer.decode([tokenizer.id_of("cat") or 0]) == "cat"
    for splits in (lambda: tokenizer.encode("a cat"), lambda: Tokenizer.train(CORPUS, SPACY)):
        with pytest.raises(ConfigError) as error:
            splits()
        assert str(error.value) == (
            "setting 'tokenizer.splitter': 'spacy' needs spaCy, which is not installed; "
            "run pip install 'spacy>=3.8.2,<3.9'"
        )


def test_spacy_is_imported_when_it_is_to_split() -> None:
    code = (
        "import pickle, sys\n"
        "sys.modules['torch'] = None\n"  # which spaCy imports where it can
        "tokenizer = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "assert 'spacy' not in sys.modules\n"
        "print(*tokenizer.tokens(tokenizer.encode('the cat')))\n"
        "assert 'spacy' in sys.modules"
    )
    stored = pickle.dumps(TOKENIZERS["spacy"]).hex()
    done = subprocess.run([sys.executable, "-c", code, stored], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "<bos> the cat\n"), done.stderr


def test_word_vocabulary_is_by_frequency_and_never_too_large() -> None:
    names = [a + b + "q" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrstuvwyz"]
    texts = [" ".join(names[:n]) for n in range(1, 500)]
    for rules, splitter in product(("none", "fastai-2"), ("pattern", "spacy")):
        settings = {"kind": "word", "vocab_size": 310, "min_frequency": 3}
        settings |= {"rules": rules, "splitter": splitter}
        tokenizer = Tokenizer.train(texts, from_dict(TokenizerConfig, settings, "test"))
        marks = MARKS if rules == "fastai-2" else ()
        assert tokenizer.vocab_size == 310
        words = tokenizer.tokens(np.arange(310))
        assert words[: 4 + len(marks)] == [*SPECIAL_TOKENS, *marks]
        assert words[4 + len(marks) :] == names[: 306 - len(marks)]
    rare = Tokenizer.train(["a a a b b"], TokenizerConfig(kind="word", min_frequency=3))
    assert rare.tokens(np.arange(rare.vocab_size)) == [*SPECIAL_TOKENS, "a"]


def test_marks_are_in_the_vocabulary_however_rare() -> None:
    tokenizer = Tokenizer.train(["cat cat"], RULED)
    assert [tokenizer.id_of(mark) for mark in MARKS] == [4, 5, 6, 7]


@KINDS
def test_pieces_and_ids(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    assert [tokenizer.id_of(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert tokenizer.id_of("not a piece at all") is None
    for index, piece in enumerate(tokenizer.tokens(np.arange(tokenizer.vocab_size))):
        assert "\ufffd" in piece or tokenizer.id_of(piece) == index
    for read in (tokenizer.tokens, tokenizer.decode):
        with pytest.raises(IndexError, match=f"id {tokenizer.vocab_size} is not among"):
            read([tokenizer.vocab_size])


@BYTE_LEVEL
def test_size_of_pieces_of_bytes(kind: Any) -> None:
    assert 4 + 256 < TOKENIZERS[kind].vocab_size <= TOKENIZERS[kind].config.vocab_size
    with pytest.raises(ConfigError) as error:
        Tokenizer.train(CORPUS, TokenizerConfig(kind=kind, vocab_size=299))
    assert str(error.value) == (
        "setting 'tokenizer.vocab_size': found 299; byte-level pieces need at least 300"
    )


def test_text_of_special_names_in_training_teaches_nothing_special() -> None:
    tokenizer = Tokenizer.train(["<pad><bos>"] * 1000, TokenizerConfig(vocab_size=300))
    assert [tokenizer.id_of(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert tokenizer.tokens(tokenizer.encode("<pad>")[1:]) == ["<", "pad", ">"]


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_training_is_deterministic_across_processes(hash_seed: str) -> None:
    code = (
        "import pickle, sys\n"
        "sys.modules['torch'] = None\n"
        "from ulmfit.text.tokenizer import Tokenizer\n"
        "corpus, configs = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "print(*(Tokenizer.train(corpus, config).sha256 for config in configs))"
    )
    configs = [tokenizer.config for tokenizer in TOKENIZERS.values()]
    result = subprocess.run(
        [sys.executable, "-c", code, pickle.dumps((CORPUS, configs)).hex()],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [tokenizer.sha256 for tokenizer in TOKENIZERS.values()]


@KINDS
def test_stored_and_read_again(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    again = Tokenizer.from_json(tokenizer.to_json().decode(), tokenizer.config)
    assert (again.to_json(), again.sha256) == (tokenizer.to_json(), tokenizer.sha256)
    np.testing.assert_array_equal(again.encode(CORPUS[0]), tokenizer.encode(CORPUS[0]))
    assert json.loads(tokenizer.to_json())["added_tokens"] == []
    assert pickle.loads(pickle.dumps(tokenizer)).to_json() == tokenizer.to_json()


def test_training_reads_one_pass_of_a_bounded_sample() -> None:
    read = []

    def texts() -> Iterator[str]:
        for index in range(1000):
            read.append(index)
            yield "an example of text " * 10

    Tokenizer.train(texts(), TokenizerConfig(vocab_size=300, sample_megabytes=0.01))
    assert len(read) <= 54


def test_the_sample_ends_at_its_last_byte() -> None:
    config = TokenizerConfig(kind="word", min_frequency=1, sample_megabytes=11e-6)
    tokenizer = Tokenizer.train(["abc 가나다라", "never"], config)
    assert tokenizer.tokens(np.arange(tokenizer.vocab_size)) == [*SPECIAL_TOKENS, "abc", "가나"]


@pytest.mark.parametrize("texts", [[], ["", ""], [" ", "\n"], [("", "")]])
@pytest.mark.parametrize("config", [BPE, UNIGRAM, RULED])
def test_training_without_text_is_an_error(texts: list[Any], config: TokenizerConfig) -> None:
    with pytest.raises(DataError) as error:
        Tokenizer.train(texts, config)
    assert str(error.value) == (
        "cannot train a tokenizer: every document is empty; give data whose text columns hold text"
    )


def test_an_error_in_reading_comes_through_training() -> None:
    def texts() -> Iterator[str]:
        yield "a text"
        raise DataError("file.csv, row 3: broken")

    with pytest.raises(DataError, match=r"file.csv, row 3: broken"):
        Tokenizer.train(texts(), BPE)


def damaged(kind: str, **changes: Any) -> bytes:
    return json.dumps({**json.loads(TOKENIZERS[kind].to_json()), **changes}).encode()


def other_merges() -> bytes:
    model = json.loads(TOKENIZERS["bpe"].to_json())["model"]
    return damaged("bpe", model={**model, "merges": model["merges"][::-1]})


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (TOKENIZERS["bpe"].to_json()[:-20], "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"{}", "cannot be read"),
        (b"", "cannot be read"),
        (TOKENIZERS["word"].to_json(), "found a model of type WordLevel, not BPE"),
        (
            damaged(
                "bpe",
                added_tokens=[
                    {
                        **{"id": 0, "content": "<pad>", "single_word": False, "lstrip": False},
                        **{"rstrip": False, "normalized": False, "special": True},
                    }
                ],
            ),
            "found added token '<pad>', which text could become",
        ),
        (
            TOKENIZERS["bpe"].to_json().replace(b'"<bos>"', b'"<eos>"'),
            "found other special tokens than <pad>, <unk>, <bos>, <fld> at ids 0 to 3",
        ),
        (
            TOKENIZERS["bpe"].to_json().replace(b'"<fld>":3', b'"<fld>":3,"<gap>":9999'),
            "found ids that are not 0, 1, 2 and so on",
        ),
        (
            TOKENIZERS["bpe"].to_json().replace(b"{1,32}", b"{1,31}", 1),
            "found pieces of text that another pattern cuts",
        ),
        (damaged("bpe", pre_tokenizer=None), "found pieces of text that another pattern cuts"),
        (other_merges(), "found merges in another order than the ids of their pieces"),
    ],
)
def test_damaged_files_are_refused(stored: bytes, found: str) -> None:
    with pytest.raises(ArtefactError) as error:
        Tokenizer.from_json(stored, BPE)
    message = str(error.value)
    assert message.startswith("tokenizer.json: ") and found in message
    assert message.endswith("restore the file or make it again") and "\n" not in message


def test_reversed_documents() -> None:
    ids = np.array([BEGIN_ID, 5, 6, 7])
    assert reverse_ids(ids, "first").tolist() == [BEGIN_ID, 7, 6, 5]
    assert reverse_ids(ids, "last").tolist() == [7, 6, 5, BEGIN_ID]
    assert reverse_ids(ids[:1], "first").tolist() == [BEGIN_ID]
    assert ids.tolist() == [BEGIN_ID, 5, 6, 7]


def test_words_between_spaces_stand_as_they_are() -> None:
    text = " = Homarus gammarus = \n \n The 17th @-@ place <unk> , ( it 's ) \n"
    tokenizer = Tokenizer.train([text], SPACED)
    ids = tokenizer.encode(text)
    words = [word for line in text.split("\n")[:-1] for word in [*line.split(), "\n"]]
    assert tokenizer.tokens(ids)[1:] == words
    assert ids[words.index("<unk>") + 1] == UNKNOWN_ID
    assert tokenizer.decode(ids) == " ".join(word for word in words if word != "<unk>")
