from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, TextIO

import pytest

from ulmfit.training.log import ProgressBar, RunLog


def strict(line: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(line, parse_constant=refuse)


def events(path: Path) -> list[Any]:
    return [strict(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_event_is_a_line_of_json(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl", quiet=True)
    log.write("step", loss=1.5, text="ünï\ncode")
    log.write("evaluation", loss=math.nan, nested={"x": [math.inf, -math.inf, 0.1]})
    first, second = events(tmp_path / "log.jsonl")
    assert first["event"] == "step" and first["loss"] == 1.5 and first["text"] == "ünï\ncode"
    assert first["time"] > 1.6e9
    assert second["loss"] is None and second["nested"] == {"x": [None, None, 0.1]}


def test_a_log_without_a_file_writes_nothing(tmp_path: Path) -> None:
    log = RunLog(None, quiet=True)
    log.write("step", loss=1.0)
    log.cut(0)
    assert log.size() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_log_is_cut_back_to_a_size(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl", quiet=True)
    assert log.size() == 0
    log.write("step", batch=1)
    size = log.size()
    log.write("step", batch=2)
    log.cut(size)
    log.cut(size + 1000)
    log.write("step", batch=3)
    assert [event["batch"] for event in events(tmp_path / "log.jsonl")] == [1, 3]


def test_messages_go_to_stderr_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    message = "/a/very/long/path/" + "x" * 200 + "/[bold]file[/bold]:warning:.csv: done"
    RunLog(None).say(message)
    out, err = capsys.readouterr()
    assert (out, err) == ("", message + "\n")


def test_a_reader_that_goes_away_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_pipe: TextIO
) -> None:
    monkeypatch.setattr(sys, "stderr", closed_pipe)
    log = RunLog(tmp_path / "log.jsonl")
    log.say("nobody reads this")
    log.warn("nor this")
    assert [event["message"] for event in events(tmp_path / "log.jsonl")] == ["nor this"]


def test_quiet_says_nothing_and_still_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = RunLog(tmp_path / "log.jsonl", quiet=True)
    log.say("hello")
    log.warn("look out")
    log.warn(None)
    assert capsys.readouterr() == ("", "")
    assert [event["message"] for event in events(tmp_path / "log.jsonl")] == ["look out"]


def test_warnings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    RunLog(None).warn("3 documents not valid")
    assert capsys.readouterr().err == "warning: 3 documents not valid\n"


def test_progress_away_from_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ProgressBar, "SECONDS_BETWEEN_LINES", 0.0)
    with ProgressBar(RunLog(None), "forward", 10) as bar:
        bar.update(3, "loss 4.2", seconds_left=90.0)
    assert capsys.readouterr().err == "forward: 3/10  loss 4.2  1.5 min left\n"
    monkeypatch.setattr(ProgressBar, "SECONDS_BETWEEN_LINES", 60.0)
    with ProgressBar(RunLog(None), "forward", 10) as bar:
        bar.update(4, "loss 4.2", seconds_left=90.0)
    assert capsys.readouterr().err == ""
