from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulmfit.errors import DataError
from ulmfit.text.unicode import UnicodeCheck, replace_surrogates

ANY_STRING = st.text(st.characters())


@given(ANY_STRING)
def test_replacing_gives_valid_unicode_of_the_same_length(text: str) -> None:
    clean = replace_surrogates(text)
    clean.encode()
    assert len(clean) == len(text)
    assert clean == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def test_documents_are_counted_and_the_first_reported() -> None:
    check = UnicodeCheck()
    assert check.clean("fine 😀", "a.csv, row 1") == "fine 😀"
    assert check.report() is None
    assert check.clean("\ud800x\udc00", "a.csv, row 2") == "\ufffdx\ufffd"
    assert (check.replaced, check.first) == (1, "a.csv, row 2")
    assert check.report() == (
        "1 document not valid Unicode, replaced by U+FFFD; the first: a.csv, row 2"
    )
    check.clean("\udfff", "a.csv, row 9")
    assert check.report() == (
        "2 documents not valid Unicode, replaced by U+FFFD; the first: a.csv, row 2"
    )


def test_strict_refuses_and_says_where() -> None:
    check = UnicodeCheck(strict=True)
    assert check.clean("fine \ufffd", "a.csv, row 1") == "fine \ufffd"
    with pytest.raises(DataError) as error:
        check.clean("ab\ud801", "a.csv, row 2")
    assert str(error.value) == (
        "a.csv, row 2: not valid Unicode: lone surrogate U+D801 at character 2; mend the text, "
        "or leave out --strict to replace it by U+FFFD"
    )
    assert check.replaced == 0
