"""The rule set `fastai-2` gives what fastai 2 gave, on texts kept with their results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ulmfit.text.rules import RULE_SETS, apply_rules

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "fastai" / "text_rules.json"


@pytest.mark.skipif(not FIXTURE.exists(), reason="fastai's results are not at hand")
def test_every_row_is_the_same() -> None:
    rows = json.loads(FIXTURE.read_text(encoding="utf-8"))["rows"]
    assert len(rows) > 100
    for row in rows:
        assert "xxbos " + apply_rules(RULE_SETS["fastai-2"], row["text"]) == row["rules"]
