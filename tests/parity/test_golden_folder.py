"""Folders written by earlier versions are read, and answer as they did."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    values: dict[str, Any] = json.loads((GOLDEN / "expected-v1.json").read_text(encoding="utf-8"))
    return values


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    script = runpy.run_path(str(Path(__file__).with_name("make_golden.py")))
    answers: dict[str, Any] = script["answers"](GOLDEN, "v1")
    return {"texts": script["TEXTS"], "prompts": script["PROMPTS"], **answers}


@pytest.mark.parametrize("what", ["texts", "prompts", "labels", "tokens", "predicted"])
def test_version_1_says_the_same(
    found: dict[str, Any], expected: dict[str, Any], what: str
) -> None:
    assert found[what] == expected[what]


def test_version_1_is_as_sure(found: dict[str, Any], expected: dict[str, Any]) -> None:
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-6, rtol=0)
    assert np.ptp(expected["probabilities"], axis=0).max() > 0.05


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_version_1_reads_and_writes_the_same(
    found: dict[str, Any], expected: dict[str, Any], direction: str
) -> None:
    before, now = expected[direction], found[direction]
    for a, b in zip(now["perplexities"], before["perplexities"], strict=True):
        assert a == b or a == pytest.approx(b, rel=1e-6)
    assert now["generated"] == before["generated"]


def test_the_golden_folders_are_small() -> None:
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 150_000
