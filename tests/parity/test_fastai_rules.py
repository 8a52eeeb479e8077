"""The rule sets give what fastai 2 and the scripts of 2018 gave, on texts kept with their results.

Those of 2018 were made by `make_rules_2018.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ulmfit.text.fastai_rules import RULE_SETS
from ulmfit.text.marks import REPEATED, UPPER, WORD_REPEATED
from ulmfit.text.rules import apply_rules, apply_rules_aligned

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "fastai" / "text_rules.json"
GOLDEN_2018 = Path(__file__).with_name("golden") / "rules-2018.json"
LATER_NAMES = {
    " t_up ": f" {UPPER} ",
    " tk_rep ": f" {REPEATED} ",
    " tk_wrep ": f" {WORD_REPEATED} ",
}


@pytest.mark.skipif(not FIXTURE.exists(), reason="fastai's results are not at hand")
def test_every_row_is_the_same() -> None:
    rows = json.loads(FIXTURE.read_text(encoding="utf-8"))["rows"]
    assert len(rows) > 100
    for row in rows:
        assert "xxbos " + apply_rules(RULE_SETS["fastai-2"], row["text"]) == row["rules"]


def test_every_row_of_2018_is_the_same() -> None:
    rows = json.loads(GOLDEN_2018.read_text(encoding="utf-8"))["rows"]
    assert len(rows) >= 30
    for row in rows:
        expected = row["rules"]
        for old, new in LATER_NAMES.items():
            expected = expected.replace(old, new)
        assert apply_rules(RULE_SETS["fastai-2018"], row["text"]) == expected
        assert apply_rules_aligned(RULE_SETS["fastai-2018"], row["text"])[0] == expected
