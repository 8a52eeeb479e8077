"""Learning byte-level pieces by a unigram language model (Kudo 2018), with SentencePiece.

SentencePiece sees the words that the byte-level pattern cuts, each once with its count, spelt in
the 256 characters that stand for bytes; it normalises nothing. The same words and settings give
the same pieces, which the trainer of `tokenizers` does not.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ulmfit.errors import ConfigError

Pieces = list[tuple[str, float]]
"""Each piece with the logarithm of its probability."""

LONGEST = 32
"""Characters of a piece, at most."""

THREADS = 2
"""Of SentencePiece, on every machine: sums over other shares of the words have other last bits."""

UNSEEN = 10.0
"""How much less likely than the rarest piece, in nats, a byte is that was never seen."""


def learn_pieces(words: Mapping[str, int], size: int, alphabet: list[str]) -> Pieces:
    """Return at most `size` pieces of `words`, which have their counts; all of `alphabet` is there.

    Raises `ConfigError` where the extra `sentencepiece` is not installed.
    """
    try:
        import sentencepiece
    except ImportError:
        raise ConfigError(
            "setting 'tokenizer.kind': 'unigram' learns its pieces with SentencePiece, which is "
            "not installed; install it (pip install sentencepiece) or choose bpe"
        ) from None
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([f"{word}\t{count}" for word, count in sorted(words.items())]),
        input_format="tsv",
        model_writer=written,
        model_type="unigram",
        vocab_size=size + 1,  # its unknown piece
        hard_vocab_limit=False,
        max_sentencepiece_length=LONGEST,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_by_unicode_script=False,
        split_by_number=False,
        bos_id=-1,
        eos_id=-1,
        num_threads=THREADS,
        minloglevel=2,
    )
    model: Any = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    learned = [
        (model.IdToPiece(i), model.GetScore(i))
        for i in range(model.GetPieceSize())
        if not model.IsUnknown(i)
    ]
    lowest = min(score for _, score in learned) - UNSEEN
    characters = {**dict.fromkeys(alphabet, lowest), **dict(learned)}
    longer = [(piece, score) for piece, score in learned if piece not in alphabet]
    kept = longer[: size - len(alphabet)]  # the likeliest come first
    return [*kept, *((character, characters[character]) for character in alphabet)]
