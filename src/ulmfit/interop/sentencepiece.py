"""Pieces of a SentencePiece model, as fastai and MultiFiT use them, as a tokenizer of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.text import RuleSet, TokenizerConfig
from ulmfit.errors import ArtefactError, ConfigError
from ulmfit.text.pieces_encoder import pieces_tokenizer
from ulmfit.text.tokenizer import SPECIAL_TOKENS, UNKNOWN_ID, Tokenizer

# By their numbers in `sentencepiece_model.proto`.
UNIGRAM = 1
NORMAL, USER_DEFINED = 1, 4

SPECIAL_NAMES = (
    ("▁xxpad", "xxpad"),
    ("xxunk", "▁xxunk", "<unk>"),
    ("▁xxbos", "xxbos"),
    ("▁xxfld", "xxfld"),
)
"""What fastai's vocabularies of pieces call our special tokens; the trained row first. (Its rules
put the marks into text, so that they become pieces; what is unknown gets the first row.)"""


def read_pieces(path: Path, rules: RuleSet) -> Tokenizer:
    """Return the tokenizer of a SentencePiece model (`.model`), our special tokens first.

    Raises `ArtefactError` for another file, and for a model that is not of unigrams or works
    otherwise than fastai's do; `ConfigError` where the extra `sentencepiece` is not installed.
    """
    model = _parsed(path)
    _check(model, path)
    kept = [piece for piece in model.pieces if piece.type in (NORMAL, USER_DEFINED)]
    words = [(name, 0.0) for name in SPECIAL_TOKENS]
    words += [(piece.piece, piece.score) for piece in kept if piece.piece not in SPECIAL_TOKENS]
    charsmap = model.normalizer_spec.precompiled_charsmap
    config = TokenizerConfig(
        kind="sentencepiece", vocab_size=len(words), min_frequency=1, rules=rules
    )
    try:
        stored = pieces_tokenizer(words, SPECIAL_TOKENS, UNKNOWN_ID, charsmap)
        return Tokenizer.from_json(stored, config)
    except Exception as error:  # the library raises bare exceptions
        raise ArtefactError(f"{path}: damaged ({error}); get the file again") from None


def pieces_of(path: Path) -> list[str]:
    """Return all pieces of a SentencePiece model in their order: fastai 1's vocabulary.

    Raises as `read_pieces` does.
    """
    return [piece.piece for piece in _parsed(path).pieces]


def rows_of_pieces(tokenizer: Tokenizer, known: Sequence[str]) -> NDArray[np.int64]:
    """Return the row [vocab] that each piece has among the words `known` of fastai's vocabulary.

    A piece that is none of them was unknown to the model, and gets that row; a special token that
    is none of them gets -1.
    """
    place = {word: row for row, word in reversed(list(enumerate(known)))}
    special = [
        next((place[name] for name in names if name in place), -1) for names in SPECIAL_NAMES
    ]
    unknown = special[UNKNOWN_ID]
    pieces = tokenizer.words()[len(SPECIAL_TOKENS) :]
    return np.array([*special, *(place.get(piece, unknown) for piece in pieces)], dtype=np.int64)


def _parsed(path: Path) -> Any:
    try:
        from google.protobuf.message import DecodeError
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        raise ConfigError(
            "setting 'sentencepiece': the packages that read it are not installed; install them "
            "(pip install sentencepiece 'protobuf>=5')"
        ) from None
    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None
    except DecodeError:
        raise ArtefactError(
            f"{path}: not a SentencePiece model; give the file that ends in .model"
        ) from None
    return model


def _check(model: Any, path: Path) -> None:
    """Raise `ArtefactError` for a model that works otherwise than the encoder here."""
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    others = {
        "of another type than unigram": trainer.model_type != UNIGRAM,
        "with byte fallback": trainer.byte_fallback,
        "with spaces behind words": trainer.treat_whitespace_as_suffix,
        "with pieces across spaces": not trainer.split_by_whitespace,
        "that keeps several spaces": not normalizer.remove_extra_whitespaces,
        "without a space before the first word": not normalizer.add_dummy_prefix,
        "without pieces": not model.pieces,
    }
    for what, found in others.items():
        if found:
            raise ArtefactError(
                f"{path}: a SentencePiece model {what}, which cannot be converted; only models of "
                "unigrams as fastai makes them can"
            )
