"""Where the time goes, told of both stages on the made-up reviews."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ulmfit.cli import main
from ulmfit.stages import profile

pytestmark = pytest.mark.recipes

SMALL = [
    *("--classifier.training.batch-size", "8", "--classifier.training.threads", "1"),
    *("--language-model.training.batch-size", "4", "--steps", "2"),
]


def test_the_parts_of_both_stages_are_told(
    reviews: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["profile", "--data", str(reviews), "--pretrained", str(tiny_model), *SMALL]
    assert main([*command, "--output", str(tmp_path / "profile.json")]) == 0
    told = capsys.readouterr().out
    assert "language model, 3 groups" in told and "classifier, 1 group " in told
    found = json.loads((tmp_path / "profile.json").read_text())
    stages = [(row["stage"], row["trainable"]) for row in found["steps"]]
    assert stages == [("language model", 3), *(("classifier", n) for n in (1, 2, 3, 4))]
    for row in found["steps"]:
        assert sum(row["shares"].values()) == pytest.approx(1.0, abs=1e-3)
        assert all(0 < share < 1 for share in row["shares"].values())
        assert row["tokens_per_second"] > 0 and row["gflops"] > 0
    assert found["evaluation"]["classifier"]["seconds"] > 0
    assert found["advice"] and all(f"- {line}" in told for line in found["advice"])
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]


def test_what_takes_long_is_told_with_the_setting_that_changes_it(
    reviews: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profile, "MUCH", dict.fromkeys(profile.MUCH, 0.0))
    command = ["profile", "--data", str(reviews), "--pretrained", str(tiny_model), *SMALL]
    assert main([*command, "--classifier.training.unfreezing", "full"]) == 0
    told = capsys.readouterr().out
    for setting in ("sampled-words 3000", "--language-model.training.batch-size", "evaluate-every"):
        assert setting in told
    assert main([*command, "--language-model.sampled-words", "50"]) == 0
    assert "sampled-words" not in capsys.readouterr().out


def test_wrong_names_are_refused(
    reviews: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["profile", "--data", str(reviews), "--pretrained", str(tiny_model)]
    assert main([*command, "--output", "profile.txt"]) == 2
    assert "let its name end in .json" in capsys.readouterr().err
