"""Rates tried on the made-up reviews, for both stages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ulmfit.cli import main

pytestmark = pytest.mark.recipes


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--last-layer-alone", "--direction", "backward"],
        ["--stage", "language_model", "--language-model.training.batch-size", "4"],
    ],
)
def test_rates_are_found_and_drawn(
    reviews: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
) -> None:
    picture = tmp_path / "rates.png"
    command = ["find-lr", "--data", str(reviews), "--pretrained", str(tiny_model), "--steps", "40"]
    options = ["--classifier.training.batch-size", "8", "--classifier.training.threads", "1"]
    assert main([*command, *options, *more, "--output", str(picture)]) == 0
    told = capsys.readouterr().out
    rates = [float(rate) for rate in re.findall(r"(?:at|loss's) +(\S+)$", told, re.M)]
    assert len(rates) == 2 and all(1e-7 < rate <= 1.0 for rate in rates)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["rates.png"]


def test_wrong_settings_are_named(
    reviews: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["find-lr", "--data", str(reviews), "--pretrained", str(tiny_model)]
    assert main([*command, "--lowest", "1", "--highest", "0.1"]) == 2
    assert "setting 'lowest': found 1, but 'highest' is 0.1" in capsys.readouterr().err
    assert main([*command, "--language-model.training.threads", "2"]) == 2
    assert "setting 'language_model.training.threads': found 2" in capsys.readouterr().err
    assert main([*command, "--output", str(tmp_path / "rates.jpg")]) == 2
    assert "let its name end in .png" in capsys.readouterr().err
