from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from ulmfit.config.questions import CurvesConfig
from ulmfit.errors import ConfigError, DataError
from ulmfit.stages.curves import Curve, curves, draw_run, read_log
from ulmfit.training.log import RunLog

PNG = b"\x89PNG\r\n"


def log(
    path: Path, parts: tuple[str, ...] = ("language_model.forward", "classifier.forward")
) -> Path:
    """A log as a run writes it; the second loss of each part is not finite."""
    written = RunLog(path, quiet=True)
    for part in parts:
        measure: dict[str, Any] = {"error": 0.5} if "classifier" in part else {"bits_per_byte": 2.0}
        written.write("started", part=part, batches=40)
        for batch, loss in ((20, 3.0), (40, math.nan)):
            written.write("step", part=part, batch=batch, batches=40, loss=loss)
        written.write("evaluation", part=part, batch=40, loss=2.5, perplexity=12.0, **measure)
    return path


def test_a_log_gives_a_curve_for_each_part(tmp_path: Path) -> None:
    assert read_log(log(tmp_path / "m.log.jsonl")) == [
        Curve("language_model.forward", [(20, 3.0)], [(40, {"loss": 2.5, "bits_per_byte": 2.0})]),
        Curve("classifier.forward", [(20, 3.0)], [(40, {"loss": 2.5, "error": 0.5})]),
    ]


def test_a_part_that_began_again_begins_its_curve_again(tmp_path: Path) -> None:
    once, again = tmp_path / "once.log.jsonl", tmp_path / "again.log.jsonl"
    written = RunLog(again, quiet=True)
    written.write("started", part="classifier.forward", batches=40)
    written.write("step", part="classifier.forward", batch=20, batches=40, loss=9.0)
    assert read_log(log(again, ("classifier.forward",))) == read_log(
        log(once, ("classifier.forward",))
    )


def test_several_runs_are_told_apart(tmp_path: Path) -> None:
    (found,) = read_log(log(tmp_path / "m.log.jsonl", ("classifier.backward",)), named=True)
    assert (found.name, found.kind) == ("m: classifier.backward", "classifier")
    (tmp_path / "other.run").mkdir()
    (going_on,) = read_log(log(tmp_path / "other.run" / "log.jsonl", ("classifier.forward",)), True)
    assert going_on.name == "other: classifier.forward"


def test_the_picture_replaces_an_older_one(tmp_path: Path) -> None:
    logs = [str(log(tmp_path / name)) for name in ("a.log.jsonl", "b.log.jsonl")]
    output = tmp_path / "curves.png"
    output.write_bytes(b"old")
    assert curves(CurvesConfig(logs=tuple(logs), output=str(output))) == output
    assert output.read_bytes().startswith(PNG) and len(output.read_bytes()) > 10_000
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.log.jsonl",
        "b.log.jsonl",
        "curves.png",
    }


def test_a_run_without_steps_has_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "m.log.jsonl"
    RunLog(path, quiet=True).write("started", part="classifier.forward", batches=1)
    draw_run(path, tmp_path / "m.curves.png")
    assert not (tmp_path / "m.curves.png").exists()
    with pytest.raises(DataError, match="nothing to draw yet"):
        read_log(path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[1]\n", b"text\n", b'{"a": 1}\n'])
def test_what_is_no_log_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.jsonl: not the log of a run"):
        read_log(path)


def test_wrong_settings_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(log(tmp_path / "m.log.jsonl"))
    with pytest.raises(ConfigError, match=r"let its name end in \.png"):
        curves(CurvesConfig(logs=(path,), output="c.jpg"))
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        curves(CurvesConfig(logs=(str(tmp_path / "none.jsonl"),), output="c.png"))
    with pytest.raises(DataError, match=r"c\.png: cannot be written"):
        curves(CurvesConfig(logs=(path,), output=str(tmp_path / "none" / "c.png")))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        curves(CurvesConfig(logs=(path,), output="c.png"))
    draw_run(Path(path), tmp_path / "m.curves.png")
    assert not (tmp_path / "m.curves.png").exists()
