from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import decoders, pre_tokenizers

from ulmfit.text.byte_level import ALPHABET, bytes_of, spell

LIBRARY = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def test_the_alphabet_is_the_library_s() -> None:
    assert sorted(ALPHABET) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(bytes_of(character)[0] for character in ALPHABET) == list(range(256))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example("".join(map(chr, range(0x800))))
def test_bytes_are_spelt_as_by_the_library(text: str) -> None:
    ((spelt, _),) = LIBRARY.pre_tokenize_str(text)
    assert spell(text) == spelt
    assert bytes_of(spelt) == text.encode()


@given(st.text(st.sampled_from(sorted(ALPHABET))))
def test_any_bytes_are_read_as_by_the_library(spelt: str) -> None:
    assert bytes_of(spelt).decode(errors="replace") == decoders.ByteLevel().decode([spelt])
