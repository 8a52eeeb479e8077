"""The tokenizer: trained on a sample, text to ids and back, stored as by the library `tokenizers`.

Four kinds. `bpe`: byte-level byte-pair encoding; any valid Unicode comes back unchanged (unless
rules are asked for). `unigram`: byte-level pieces of a unigram model, likewise. `word`: words and
single punctuation marks, the rare ones unknown; split by a pattern, by spaCy, or at white space.
`sentencepiece`: the pieces of a converted model.

No text can become a special token or a mark of the rules: special tokens are ordinary entries
of the vocabulary, never searched for in text, and their names, which mix letters and
punctuation, are not single pre-tokens (and are not among the words that spaCy's are looked up in);
the names of marks are split by the rules.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import ArrayLike, NDArray
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from ulmfit.config.artefact import BeginMark
from ulmfit.config.text import TokenizerConfig
from ulmfit.errors import ArtefactError, ConfigError, DataError
from ulmfit.text.byte_level import ALPHABET, bytes_of, spell
from ulmfit.text.byte_pair_encoder import BytePairEncoder
from ulmfit.text.fastai_rules import RULE_SETS
from ulmfit.text.library_encoder import (
    BPE_PATTERN,
    SPACED_PATTERN,
    WORD_PATTERN,
    LibraryEncoder,
)
from ulmfit.text.marks import MARKS, UNKNOWN, decode_marks, join_words
from ulmfit.text.pieces_encoder import SPACE, PiecesEncoder
from ulmfit.text.rules import apply_rules, apply_rules_aligned
from ulmfit.text.spacy_encoder import SpacyEncoder
from ulmfit.text.spacy_words import readable, spacy_words, visible
from ulmfit.text.types import Text, columns_of
from ulmfit.text.unicode import replace_surrogates
from ulmfit.text.unigram import learn_pieces

SPECIAL_TOKENS = ("<pad>", UNKNOWN, "<bos>", "<fld>")
PAD_ID, UNKNOWN_ID, BEGIN_ID, FIELD_ID = range(4)

BYTE_LEVEL = ("bpe", "unigram")
"""Kinds whose pieces are spelt in bytes."""

SMALLEST_BYTE_LEVEL = 300
"""Ids of such a tokenizer, at least: the special tokens, the 256 bytes, and some pieces."""

Ids = NDArray[np.int64]

Encoder = BytePairEncoder | LibraryEncoder | SpacyEncoder
"""What turns text, after the rules, into ids, none of them a special token's."""


class Tokenizer:
    """Text to ids and back. Made by `train` or `from_json`.

    A document's ids are always [begin mark, t1 .. tn], whichever way a model reads; a document of
    several columns is [begin mark, field mark, column 1, field mark, column 2 ..].
    """

    window = 2**16
    """Characters of a long text that are encoded at once; the encoders tell the fewest."""

    def __init__(
        self, stored: bytes, words: Sequence[str], encoder: Encoder, config: TokenizerConfig
    ) -> None:
        self.config = config
        self._stored = stored
        self._words = words
        self._encoder = encoder
        self._rules = RULE_SETS[config.rules]

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer.from_json, (self._stored, self.config)

    @classmethod
    def train(cls, texts: Iterable[Text], config: TokenizerConfig) -> Tokenizer:
        """Learn a vocabulary in one streaming pass over the first `sample_megabytes` of `texts`.

        The same texts and settings give the same bytes. Raises `DataError` if there is no text,
        `ConfigError` for fewer ids than the bytes need, or where spaCy is to split words, or
        SentencePiece to learn pieces, and cannot.
        """
        _check_settings(config)
        if config.kind == "sentencepiece":
            raise ConfigError(
                "setting 'tokenizer.kind': found 'sentencepiece', whose pieces come from a "
                "converted model; choose bpe, unigram or word to train a tokenizer"
            )
        if config.kind in BYTE_LEVEL and config.vocab_size < SMALLEST_BYTE_LEVEL:
            raise ConfigError(
                f"setting 'tokenizer.vocab_size': found {config.vocab_size}; byte-level pieces "
                f"need at least {SMALLEST_BYTE_LEVEL}"
            )
        rules = RULE_SETS[config.rules]
        sample = _Sample(texts, int(config.sample_megabytes * 1e6), cls.window)
        library, trainer = _untrained(config)
        ruled = (apply_rules(rules, text) for text in sample)
        if config.splitter == "spacy":
            ruled = (" ".join(spacy_words().words(text, cls.window)) for text in ruled)
        words: Counter[str] = Counter()
        if config.kind == "unigram":
            split = library.pre_tokenizer.pre_tokenize_str
            words.update(word for text in ruled for word, _ in split(text))
        else:
            library.train_from_iterator(ruled, trainer)
        if not sample.has_text:
            raise DataError(
                "cannot train a tokenizer: every document is empty; give data whose text columns "
                "hold text"
            )
        if config.kind == "unigram":
            library.model = _unigram(words, config)
        return cls.from_json(_finished(library, config), config)

    @classmethod
    def from_words(cls, words: Sequence[str], config: TokenizerConfig) -> Tokenizer:
        """Build a tokenizer of kind `word` from its words in the order of their ids.

        Raises `ArtefactError` if they do not begin with the special tokens.
        """
        library, _ = _untrained(config)
        return cls.from_json(_with_words(json.loads(library.to_str()), words), config)

    @classmethod
    def from_json(cls, stored: str | bytes, config: TokenizerConfig) -> Tokenizer:
        """Build the tokenizer from the contents of a `tokenizer.json`.

        Raises `ArtefactError` if they are damaged or not a tokenizer of this project's making,
        `ConfigError` if spaCy is to split what are not words.
        """
        _check_settings(config)
        stored = stored.encode() if isinstance(stored, str) else stored
        try:
            values = json.loads(stored)
            words = _words_of(values["model"])
            _check(values, words, config)
            encoder = _encoder(stored, words, config)
        except ArtefactError:
            raise
        except Exception as error:  # the library raises bare exceptions
            raise ArtefactError(
                f"tokenizer.json: cannot be read ({error}); restore the file or make it again"
            ) from None
        return cls(stored, words, encoder, config)

    def to_json(self) -> bytes:
        """Return the contents of `tokenizer.json`."""
        return self._stored

    @property
    def sha256(self) -> str:
        """Hash of the bytes of `tokenizer.json`, in hexadecimal."""
        return hashlib.sha256(self._stored).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Stands for all that decides the ids: `tokenizer.json`, the rules and the splitter."""
        if (self.config.rules, self.config.splitter) == ("none", "pattern"):
            return self.sha256
        return f"{self.sha256} {self.config.rules} {self.config.splitter}"

    def words(self) -> list[str]:
        """Return the vocabulary as `tokenizer.json` spells it, in the order of the ids."""
        return list(self._words)

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return len(self._words)

    def encode(self, text: Text) -> Ids:
        """Return the ids [n] of a document, the begin mark first.

        A lone surrogate counts as U+FFFD. Memory is in proportion to the length.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[Text]) -> list[Ids]:
        """Return the ids [n] of each document; on all cores, but where spaCy splits words."""
        columns = iter(self._encode_columns([c for text in texts for c in columns_of(text)]))
        return [_document(text, [next(columns) for _ in columns_of(text)]) for text in texts]

    def encode_with_offsets(self, text: Text) -> tuple[Ids, Ids]:
        """Return the ids [n] of a document and the span [n, 2] of each in the original text.

        A span is start and end in characters, in the text of the token's own column where there
        are several; special tokens have an empty one. A character of several bytes may be shared
        by several tokens.
        """
        encoded = [self._encode_aligned(column) for column in columns_of(text)]
        ids = _document(text, [ids for ids, _ in encoded])
        offsets = np.zeros((len(ids), 2), dtype=np.int64)
        spans = np.concatenate([offsets[:0], *(spans for _, spans in encoded)])
        offsets[(ids != BEGIN_ID) & (ids != FIELD_ID)] = spans
        return ids, offsets

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of `ids`, special tokens left out, columns on lines of their own.

        Raises `IndexError` for an id that is not the tokenizer's.
        """
        ids = np.asarray(ids, dtype=np.int64)
        columns = np.split(ids, np.flatnonzero(ids == FIELD_ID))
        unknown = self._rules and self.config.kind == "word"  # the marks before it go with it
        least = UNKNOWN_ID if unknown else len(SPECIAL_TOKENS)
        spoken = [c[(c >= least) & ~np.isin(c, (BEGIN_ID, FIELD_ID))] for c in columns]
        texts = [self._decode_column(column.tolist()) for column in spoken]
        # What stands before the first field mark is the begin mark alone.
        return "\n".join(texts if texts[0] or len(texts) == 1 else texts[1:])

    def tokens(self, ids: ArrayLike) -> list[str]:
        """Return the readable piece of each id; a piece of a character shows as U+FFFD."""
        return [self._token(int(i)) for i in np.asarray(ids, dtype=np.int64)]

    def id_of(self, piece: str) -> int | None:
        """Return the id of a special token, or of a piece written as in the text, if it is one."""
        if self.config.kind in BYTE_LEVEL and piece not in SPECIAL_TOKENS:
            piece = spell(replace_surrogates(piece))
        elif self.config.kind == "sentencepiece":
            piece = piece.replace(" ", SPACE)
        elif self.config.splitter == "spacy":
            piece = visible(piece)
        return self._ids.get(piece)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self._words)}

    def _encode_columns(self, columns: Sequence[str]) -> list[Ids]:
        """Ids [n] of each column."""
        columns = [apply_rules(self._rules, replace_surrogates(column)) for column in columns]
        return self._encoder.encode_batch(columns, self.window)

    def _encode_aligned(self, text: str) -> tuple[Ids, Ids]:
        """Ids [n] and spans [n, 2] of one column."""
        text = replace_surrogates(text)
        if not self._rules:
            return self._encoder.encode_with_offsets(text, self.window)
        text, origins = apply_rules_aligned(self._rules, text)
        ids, offsets = self._encoder.encode_with_offsets(text, self.window)
        # A space that a rule put in stands for all that the rule matched: it begins no piece.
        places = [len(text) if each.isspace() else i for i, each in enumerate(text)]
        no_space = np.minimum.accumulate(np.array(places, dtype=np.int64)[::-1])[::-1]
        begins = np.minimum(no_space[offsets[:, 0]], offsets[:, 1] - 1)
        starts, ends = origins[begins, 0], origins[offsets[:, 1] - 1, 1]
        return ids, np.stack([starts, ends], axis=1)

    def _decode_column(self, ids: list[int]) -> str:
        """Text of ids among which there is no special token."""
        if self.config.kind != "word":
            text = self._join_pieces(list(map(self._word, ids)))
            return decode_marks(re.findall(r"\n|\S+", text)) if self._rules else text
        words = self.tokens(ids)
        if self.config.splitter == "spacy":
            words = [readable(word) for word in words]
        if self._rules:
            return decode_marks(words)
        return " ".join(words) if self.config.splitter == "spaces" else join_words(words)

    def _join_pieces(self, pieces: Sequence[str]) -> str:
        """Text of pieces that stand behind one another; bytes that are no UTF-8 become U+FFFD."""
        if self.config.kind in BYTE_LEVEL:
            return bytes_of("".join(pieces)).decode(errors="replace")
        return "".join(pieces).removeprefix(SPACE).replace(SPACE, " ")

    def _word(self, index: int) -> str:
        if not 0 <= index < self.vocab_size:
            raise IndexError(f"id {index} is not among the {self.vocab_size} of the tokenizer")
        return self._words[index]

    def _token(self, index: int) -> str:
        piece = self._word(index)
        if self.config.kind in BYTE_LEVEL and index >= len(SPECIAL_TOKENS):
            return self._join_pieces([piece])
        return piece.replace(SPACE, " ") if self.config.kind == "sentencepiece" else piece


def reverse_ids(ids: Ids, begin_mark: BeginMark) -> Ids:
    """Return one document [begin mark, t1 .. tn] in backward order.

    `first`: [begin mark, tn .. t1]. `last`: [tn .. t1, begin mark].
    """
    if begin_mark == "last":
        return ids[::-1].copy()
    return np.concatenate([ids[:1], ids[:0:-1]])


class _Sample:
    """The first `limit` bytes of texts, in pieces of at most `longest` characters."""

    def __init__(self, texts: Iterable[Text], limit: int, longest: int) -> None:
        self._texts = texts
        self._left = limit
        self._longest = longest
        self.has_text = False

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            for column in columns_of(text):
                for start in range(0, len(column), self._longest):
                    if self._left <= 0:
                        return
                    yield self._take(column[start : start + self._longest])

    def _take(self, piece: str) -> str:
        raw = replace_surrogates(piece).encode()[: self._left]
        self._left -= len(raw)
        piece = raw.decode(errors="ignore")
        self.has_text = self.has_text or bool(piece.strip())
        return piece


def _check_settings(config: TokenizerConfig) -> None:
    if config.splitter != "pattern" and config.kind != "word":
        raise ConfigError(
            f"setting 'tokenizer.splitter': found '{config.splitter}', which splits words, with "
            f"kind '{config.kind}'; choose kind 'word', or splitter 'pattern'"
        )


def _encoder(stored: bytes, words: Sequence[str], config: TokenizerConfig) -> Encoder:
    learned = enumerate(words[len(SPECIAL_TOKENS) :], len(SPECIAL_TOKENS))
    if config.kind == "bpe":
        special = {name: index for index, name in enumerate(SPECIAL_TOKENS)}
        return BytePairEncoder({bytes_of(w): index for index, w in learned}, special, BPE_PATTERN)
    if config.splitter == "spacy":
        return SpacyEncoder({word: index for index, word in learned}, UNKNOWN_ID)
    library = tokenizers.Tokenizer.from_str(stored.decode())
    return PiecesEncoder(library) if config.kind == "sentencepiece" else LibraryEncoder(library)


_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def _untrained(config: TokenizerConfig) -> tuple[tokenizers.Tokenizer, Any]:
    """Return the library's tokenizer of this kind and its trainer."""
    learning: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "min_frequency": config.min_frequency,
        "special_tokens": list(SPECIAL_TOKENS),
        "show_progress": False,
    }
    if config.kind == "word":
        library = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIAL_TOKENS[UNKNOWN_ID]))
        if config.splitter == "spacy":  # whose words are given with one space between
            library.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
        else:
            pattern = Regex(SPACED_PATTERN if config.splitter == "spaces" else WORD_PATTERN)
            library.pre_tokenizer = pre_tokenizers.Split(pattern, "removed", invert=True)
        return library, trainers.WordLevelTrainer(**learning)
    library = tokenizers.Tokenizer(models.BPE() if config.kind == "bpe" else models.Unigram())
    split = pre_tokenizers.Split(Regex(BPE_PATTERN), "isolated")
    library.pre_tokenizer = pre_tokenizers.Sequence([split, _BYTES])
    library.decoder = decoders.ByteLevel()
    return library, trainers.BpeTrainer(**learning, initial_alphabet=sorted(ALPHABET))


def _unigram(words: Counter[str], config: TokenizerConfig) -> models.Unigram:
    """Return the library's model of the pieces of `words`, the special tokens first."""
    frequent = {word: count for word, count in words.items() if count >= config.min_frequency}
    special = [(name, 0.0) for name in SPECIAL_TOKENS]
    size = config.vocab_size - len(special)
    learned = learn_pieces(frequent or words, size, sorted(ALPHABET))
    return models.Unigram([*special, *learned], UNKNOWN_ID)


def _finished(library: tokenizers.Tokenizer, config: TokenizerConfig) -> bytes:
    """Return the JSON of a trained tokenizer in which no text can match a special token."""
    values = json.loads(library.to_str())
    if config.kind == "unigram":
        return _rendered(values)
    trained = sorted(values["model"]["vocab"], key=values["model"]["vocab"].get)
    if config.kind == "word":
        marks = MARKS if RULE_SETS[config.rules] else ()
        trained = list(dict.fromkeys((*SPECIAL_TOKENS, *marks, *trained)))[: config.vocab_size]
    return _with_words(values, trained)


def _with_words(values: dict[str, Any], words: Sequence[str]) -> bytes:
    """Return the JSON of a tokenizer that has these words and searches for none in text."""
    values["model"]["vocab"] = {word: index for index, word in enumerate(words)}
    return _rendered(values)


def _rendered(values: dict[str, Any]) -> bytes:
    values["added_tokens"] = []
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def _words_of(model: Any) -> list[str]:
    """Return the vocabulary of a model, in the order of its ids."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        return sorted(vocabulary, key=vocabulary.__getitem__)
    return [piece for piece, _ in vocabulary]


def _check(values: Any, words: Sequence[str], config: TokenizerConfig) -> None:
    """Raise `ArtefactError` if the tokenizer read is none of this project's."""
    model = {"bpe": "BPE", "word": "WordLevel"}.get(config.kind, "Unigram")
    vocabulary = values["model"]["vocab"]
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len({*words}))
    if values["model"].get("type") != model:
        found = f"a model of type {values['model'].get('type')}, not {model}"
    elif values.get("added_tokens"):
        found = f"added token {values['added_tokens'][0].get('content')!r}, which text could become"
    elif tuple(words[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        found = f"other special tokens than {', '.join(SPECIAL_TOKENS)} at ids 0 to 3"
    elif sorted(ids) != list(range(len(words))):
        found = "ids that are not 0, 1, 2 and so on"
    elif config.splitter != _splitter(values):
        found = f"words of another splitter than {config.splitter}"
    elif config.kind in BYTE_LEVEL and not _cuts_byte_level(values):
        found = "pieces of text that another pattern cuts"
    elif config.kind == "bpe" and not _merges_by_ids(values["model"], words):
        found = "merges in another order than the ids of their pieces"
    else:
        return
    raise ArtefactError(f"tokenizer.json: found {found}; restore the file or make it again")


def _splitter(values: Any) -> str:
    """Return the name of the splitter whose words a tokenizer has."""
    pattern = (values["pre_tokenizer"] or {}).get("pattern")
    known = (({"String": " "}, "spacy"), ({"Regex": SPACED_PATTERN}, "spaces"))
    return next((name for other, name in known if other == pattern), "pattern")


def _cuts_byte_level(values: Any) -> bool:
    """Whether text is cut into pre-tokens by the pattern of byte-level pieces."""
    match values["pre_tokenizer"]:
        case {"pretokenizers": [{"pattern": {"Regex": pattern}}, *_]}:
            return bool(pattern == BPE_PATTERN)
    return False


def _merges_by_ids(model: Any, words: Sequence[str]) -> bool:
    """Whether the ids are those of the bytes, then of what each merge makes, in their order."""
    learned = len(SPECIAL_TOKENS) + len(ALPHABET)
    single = {*words[len(SPECIAL_TOKENS) : learned]}
    return single == ALPHABET and list(words[learned:]) == ["".join(m) for m in model["merges"]]


def _document(text: Text, columns: Sequence[Ids]) -> Ids:
    """Return one document's ids: the begin mark, each of several columns behind a field mark."""
    parts = [np.array([BEGIN_ID], dtype=np.int64)]
    for column in columns:
        if not isinstance(text, str):
            parts.append(np.array([FIELD_ID], dtype=np.int64))
        parts.append(column)
    return np.concatenate(parts)
