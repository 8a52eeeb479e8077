"""Settings of the tokenizer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ulmfit.config.settings import settings

RuleSet = Literal["none", "fastai-2", "fastai-2018"]


@settings
class TokenizerConfig:
    """How text becomes ids, and what is learned from a sample of it."""

    kind: Literal["bpe", "unigram", "word", "sentencepiece"] = "bpe"
    """`bpe`: byte-level byte-pair encoding, lossless in any script.
    `unigram`: byte-level pieces of a unigram model, lossless too; to learn them needs the extra
    `sentencepiece`.
    `word`: words after text rules, rare ones unknown (fastai's manner).
    `sentencepiece`: the pieces of a converted SentencePiece model; not to be trained."""

    splitter: Literal["pattern", "spacy", "spaces"] = "pattern"
    """What finds the words. `pattern`: a regular expression, for any language.
    `spacy`: spaCy's English tokenizer, as fastai; for `word`, needs the extra `spacy`.
    `spaces`: white space, for text that is split already, such as WikiText; a line break is a
    word (there, `<eos>`); for `word`."""

    vocab_size: Annotated[int, Field(ge=8)] = 16_000
    """Largest number of ids, special tokens included; `bpe` and `unigram` need 300. Paper: 30,000
    or 60,000 words."""

    min_frequency: Annotated[int, Field(ge=1)] = 2
    """Pieces or words seen less often in the sample are left out; `unigram` learns from words seen
    as often. fastai: 3."""

    rules: RuleSet = "none"
    """Named, versioned set of text rules applied first (`text/fastai_rules.py`): those of fastai 2,
    or of the scripts of 2018. Meant for `word`; they lower-case, so they do not keep text
    exactly."""

    sample_megabytes: Annotated[float, Field(gt=0)] = 200.0
    """How much text, in 10^6 bytes of UTF-8, the tokenizer is trained on at most."""
