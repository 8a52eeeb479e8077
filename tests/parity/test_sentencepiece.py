"""Pieces are those that SentencePiece itself gives, with a model trained as fastai trains one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from ulmfit import LanguageModel
from ulmfit.cli import main
from ulmfit.config.model import Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.errors import ArtefactError, ConfigError
from ulmfit.interop.fastai_names import to_fastai_2
from ulmfit.interop.sentencepiece import read_pieces, rows_of_pieces
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.text.tokenizer import SPECIAL_TOKENS, Tokenizer

MARKS = ("xxunk", "xxpad", "xxbos", "xxeos", "xxfld", "xxrep", "xxwrep", "xxup", "xxmaj")
SYLLABLES = ("ka", "lo", "mi", "tur", "sen", "pa", "dé", "ço", "영화", "재미", "映画", "1", "7")
MESSY_TEXT = st.lists(
    st.sampled_from([*SYLLABLES, " ", "  ", "\n", "▁", "<pad>", "<", "pad>", "xxmaj", "ﬁ", "½"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
).map("".join)


def made_up_text(words: int, rng: random.Random) -> str:
    return " ".join("".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(words))


def train_pieces(folder: Path, **settings: Any) -> Path:
    """A SentencePiece model, trained with fastai 2's settings unless others are given."""
    rng = random.Random(0)
    text = folder / "text.txt"
    text.write_text("\n".join(f"xxbos xxmaj {made_up_text(20, rng)}." for _ in range(400)), "utf-8")
    fastai: dict[str, Any] = {
        "vocab_size": 200,
        "model_type": "unigram",
        "character_coverage": 0.99999,
        "unk_id": len(MARKS),
        "pad_id": -1,
        "bos_id": -1,
        "eos_id": -1,
        "user_defined_symbols": [f"▁{mark}" for mark in MARKS],
        "hard_vocab_limit": False,
        "minloglevel": 2,
    }
    prefix = str(folder / "pieces")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=prefix, **fastai | settings
    )
    return folder / "pieces.model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_pieces(tmp_path_factory.mktemp("pieces"))


@pytest.fixture(scope="module")
def theirs(model: Path) -> Any:
    return sentencepiece.SentencePieceProcessor(model_file=str(model))


@pytest.fixture(scope="module")
def ours(model: Path) -> Tokenizer:
    return read_pieces(model, "none")


def pieces(ours: Tokenizer, theirs: Any, text: str) -> list[str]:
    """The pieces that SentencePiece gives, what it does not know by our name."""
    unknown = theirs.unk_id()
    ids = theirs.encode(text)
    return [SPECIAL_TOKENS[1] if i == unknown else theirs.id_to_piece(i) for i in ids]


@given(text=MESSY_TEXT)
@example(text="")
@example(text="   ")
@example(text="a▁b ▁ c")
@example(text="\x85")
@example(text=" \x85a\x85 ")
@example(text="xxbos xxmaj xxmajka ka")
@example(text="ﬁ ① ½ x\u3000y\tz\n\nq\x00 ㋿ e\u0301")
def test_pieces_are_those_of_sentencepiece(ours: Tokenizer, theirs: Any, text: str) -> None:
    assume(not any(f"▁{mark}" in text for mark in MARKS))  # written with a ▁: theirs adds another
    words = ours.words()
    found = [words[i] for i in ours.encode(text)[1:]]
    if any(name in text for name in SPECIAL_TOKENS):
        assert not {"<pad>", "<bos>", "<fld>"} & {*found}
    else:
        assert found == pieces(ours, theirs, text)


@given(text=MESSY_TEXT)
def test_spans_lie_in_the_text(ours: Tokenizer, text: str) -> None:
    ids, spans = ours.encode_with_offsets(text)
    assert ids.tolist() == ours.encode(text).tolist()
    assert (spans[1:, 0] < spans[1:, 1]).all() and (spans >= 0).all() and (spans <= len(text)).all()


def test_spans_of_the_words(ours: Tokenizer) -> None:
    text = "kalo  mi\nturX"
    ids, spans = ours.encode_with_offsets(text)
    found = [text[begin:end] for begin, end in spans[1:]]
    assert "".join("".join(found).split()) == "kalomiturX"
    assert found[-1] == "X" and ours.tokens(ids)[-1] == "<unk>"


def test_a_long_text_is_cut_at_spaces(ours: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = made_up_text(3_000, random.Random(1))
    whole = ours.encode(text)
    monkeypatch.setattr(ours, "window", 300)
    np.testing.assert_array_equal(ours.encode(text), whole)
    ids, spans = ours.encode_with_offsets(text)
    np.testing.assert_array_equal(ids, whole)
    assert (np.diff(spans[1:, 0]) >= 0).all() and spans[-1, 1] == len(text)
    assert ours.encode_batch([text, "ka", ""])[0].tolist() == whole.tolist()
    assert len(ours.encode("kalo" * 1_000)) > 100


def test_text_comes_back_with_one_space_between_words(ours: Tokenizer) -> None:
    text = "kalo mitur  영화\nsendé"
    assert ours.decode(ours.encode(text)) == "kalo mitur 영화 sendé"
    assert ours.id_of(" xxmaj") is not None and ours.id_of("<bos>") == 2
    again = Tokenizer.from_json(ours.to_json(), ours.config)
    assert again.encode(text).tolist() == ours.encode(text).tolist()


def test_rows_go_by_the_names_of_pieces(ours: Tokenizer) -> None:
    known = ["xxunk", "xxpad", "xxbos", "▁xxbos", "▁xxmaj", "▁ka"]
    rows = rows_of_pieces(ours, known)
    assert rows[:4].tolist() == [1, 0, 3, -1]
    words = ours.words()
    assert [rows[words.index(piece)] for piece in ("▁xxmaj", "▁ka", "ka")] == [4, 5, 0]


@pytest.mark.recipes
def test_a_model_of_pieces_is_converted(
    model: Path, theirs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["xxunk", "xxpad", *(theirs.id_to_piece(i) for i in range(theirs.get_piece_size()))]
    torch.manual_seed(0)
    shape = EncoderConfig(vocab_size=len(words), embedding_size=8, hidden_size=10, layers=3)
    network = LanguageModelNetwork(shape, Dropout()).eval()
    torch.nn.init.normal_(network.encoder.embedding.weight)
    state = {to_fastai_2(name): value for name, value in network.state_dict().items()}
    torch.save(state, tmp_path / "lm_fwd.pth")
    (tmp_path / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    given = ["--vocab", tmp_path / "vocab.json", "--sentencepiece", model, "--output"]
    line = ["convert", tmp_path / "lm_fwd.pth", *given, tmp_path / "model"]
    assert main([str(argument) for argument in line]) == 0
    language_model = LanguageModel.from_pretrained(tmp_path / "model")
    tokenizer = language_model.tokenizer
    assert tokenizer.config.kind == "sentencepiece" and tokenizer.config.rules == "fastai-2"
    text = "Kalo mitur TUR sen"
    ids = [
        words.index(piece)
        for piece in theirs.encode("xxbos xxmaj kalo mitur xxup tur sen", out_type=str)
    ]
    vectors = network.encoder.embedding.weight[ids]
    ours = language_model.network.encoder.embedding.weight[torch.tensor(tokenizer.encode(text))]
    torch.testing.assert_close(ours, vectors)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert main(["generate", "--model", str(tmp_path / "model"), "--tokens", "5"]) == 0
    capsys.readouterr()


def test_fastai_1_s_vocabulary_is_the_model_s_own(model: Path, theirs: Any, tmp_path: Path) -> None:
    shape = EncoderConfig(
        vocab_size=theirs.get_piece_size(), embedding_size=8, hidden_size=10, layers=3
    )
    state = LanguageModelNetwork(shape, Dropout()).state_dict()
    torch.save({to_fastai_2(name): value for name, value in state.items()}, tmp_path / "fwd.pth")
    line = ["convert", tmp_path / "fwd.pth", "--sentencepiece", model, "--output", tmp_path / "lm"]
    assert main([str(argument) for argument in line]) == 0


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"model_type": "bpe"}, "of another type than unigram"),
        ({"byte_fallback": True, "vocab_size": 400}, "with byte fallback"),
        ({"treat_whitespace_as_suffix": True}, "with spaces behind words"),
        ({"remove_extra_whitespaces": False}, "that keeps several spaces"),
        ({"add_dummy_prefix": False}, "without a space before the first word"),
        ({"split_by_whitespace": False}, "with pieces across spaces"),
    ],
)
def test_other_models_are_refused(tmp_path: Path, settings: dict[str, Any], what: str) -> None:
    path = train_pieces(tmp_path, **settings)
    with pytest.raises(ArtefactError, match=f"^{path}: a SentencePiece model {what}, which cannot"):
        read_pieces(path, "none")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "spm.model"
    with pytest.raises(ArtefactError, match="cannot be read: No such file"):
        read_pieces(path, "none")
    path.write_bytes(b"\x00\x01 not a model")
    with pytest.raises(ArtefactError, match="not a SentencePiece model; give the file that ends"):
        read_pieces(path, "none")
    path.write_bytes(b"")
    with pytest.raises(ArtefactError, match="without pieces"):
        read_pieces(path, "none")


def test_damaged_models_are_refused(model: Path, tmp_path: Path) -> None:
    def garbage(content: Any) -> None:
        content.normalizer_spec.precompiled_charsmap = b"\xff\xff\xff\x7f garbage"

    def twice(content: Any) -> None:
        content.pieces[20].piece = content.pieces[21].piece

    def no_number(content: Any) -> None:
        content.pieces[20].score = float("nan")

    for damage in (garbage, twice, no_number):
        content: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
        content.ParseFromString(model.read_bytes())
        damage(content)
        path = tmp_path / "spm.model"
        path.write_bytes(content.SerializeToString())
        with pytest.raises(ArtefactError, match=f"^{path}: damaged .*; get the file again$"):
            read_pieces(path, "none")


def test_no_such_tokenizer_is_trained() -> None:
    with pytest.raises(ConfigError, match="'sentencepiece', whose pieces come from a converted"):
        Tokenizer.train(["a"], TokenizerConfig(kind="sentencepiece"))
