"""Several labels a document, and numbers: trained, measured and predicted from the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ulmfit.cli import main
from ulmfit.config.artefact import Task
from ulmfit.errors import ConfigError
from ulmfit.models.folder import read_config
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.stages.predict import WRITERS, Block

pytestmark = pytest.mark.recipes

MEANING = {"sad": "awful", "happy": "superb", "bored": "long"}
"""A label is there if its word is."""

NEUTRAL = ("the", "film", "was", "and", "we", "saw", "it", "in", "a", "small", "room", "old")

SETTINGS = {
    "language_model.training.epochs": 2,
    "language_model.lanes.bptt": 20,
    "language_model.training.batch_size": 8,
    "classifier.bptt": 10,
    "classifier.dropout_multiplier": 0.1,
    "classifier.training.batch_size": 8,
    "classifier.training.epochs": 8,
    "classifier.training.threads": 1,
    "classifier.training.optimizer.learning_rate": 0.03,
    "classifier.training.optimizer.discriminative_factor": 1.3,
    "directions": "both",
}


def texts_and_labels(count: int, seed: int) -> list[tuple[str, list[str]]]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        labels = [label for label in MEANING if rng.random() < 0.4]
        words = [*rng.choice(NEUTRAL, rng.integers(2, 12)), *(MEANING[each] for each in labels)]
        rows.append((" ".join(map(str, rng.permutation(words))), sorted(labels)))
    return rows


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def options(settings: dict[str, Any]) -> list[str]:
    return [
        part
        for name, value in settings.items()
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Trains on `data` and returns the folder."""

    def trained(data: Path, *more: str, **settings: Any) -> Path:
        output = tmp_path / "model"
        given = {**SETTINGS, **settings, "data": data, "pretrained": tiny_model}
        given |= {"output": output, "cache": tmp_path / "cache"}
        assert main(["train", *options(given), *more]) == 0
        return output

    return trained


def test_several_labels_from_lists_to_a_csv(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, held = texts_and_labels(260, 0), texts_and_labels(80, 1)
    data = write_lines(tmp_path / "train.jsonl", [{"text": t, "label": y} for t, y in rows])
    folder = run(data)
    told = capsys.readouterr().err
    assert "3 labels, any number of them a document: bored, happy, sad; if not so, give" in told
    model = TextClassifier.from_pretrained(folder)
    assert (model.task.kind, model.labels) == ("multi_label", ("bored", "happy", "sad"))

    test = tmp_path / "test.csv"
    with test.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((t, " | ".join(y)) for t, y in held)])
    results = tmp_path / "results.json"
    reading = ("--reading.label-separator", "|")
    assert main(["evaluate", "--model", str(folder), "--data", str(test), *reading,
                 "--output", str(results)]) == 0  # fmt: skip
    measured = json.loads(results.read_text())
    assert measured["macro_f1"] > 0.9 and measured["micro_f1"] > 0.9
    assert [row["label"] for row in measured["labels"]] == ["bored", "happy", "sad"]
    assert "macro_f1" in capsys.readouterr().out

    output = tmp_path / "out.csv"
    assert (
        main(["predict", "--model", str(folder), "--data", str(test), "--output", str(output)]) == 0
    )
    with output.open(newline="") as file:
        predicted = list(csv.DictReader(file))
    assert list(predicted[0]) == ["row", "labels", "p_bored", "p_happy", "p_sad"]
    given = [tuple(filter(None, row["labels"].split("|"))) for row in predicted]
    assert given == model.predict([text for text, _ in held])
    assert np.mean([list(g) == y for g, (_, y) in zip(given, held, strict=True)]) == pytest.approx(
        measured["accuracy"]
    )

    output = tmp_path / "out.jsonl"
    assert (
        main(["predict", "--model", str(folder), "--data", str(test), "--output", str(output)]) == 0
    )
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [tuple(line["labels"]) for line in lines] == given
    assert list(lines[0]["probabilities"]) == ["bored", "happy", "sad"]


def test_a_label_that_csv_would_cut_is_refused_there() -> None:
    task = Task(kind="multi_label", labels=("a|b", "c"))
    block: Block = [(1,)], [("a|b",)], np.array([[0.75, 0.5]], np.float32)
    csv_file, jsonl_file = io.StringIO(), io.StringIO()
    with pytest.raises(ConfigError, match=r"the label 'a\|b' holds the '\|' .* --format jsonl$"):
        WRITERS["csv"](csv_file, task, ("row",), [block])
    assert csv_file.getvalue() == ""
    WRITERS["jsonl"](jsonl_file, task, ("row",), [block])
    assert json.loads(jsonl_file.getvalue())["labels"] == ["a|b"]


def test_a_single_label_may_hold_what_stands_between_several() -> None:
    task = Task(kind="single_label", labels=("a|b", "c"))
    file = io.StringIO()
    WRITERS["csv"](file, task, ("row",), [([(1,)], ["a|b"], np.array([[0.75, 0.25]], np.float32))])
    assert file.getvalue().splitlines()[1] == "1,a|b,0.75,0.25"


def test_numbers_from_a_csv_to_numbers(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stars(labels: list[str]) -> float:
        return 3.5 + 1.5 * ("happy" in labels) - 1.5 * ("sad" in labels)

    data = tmp_path / "train.csv"
    with data.open("w", newline="") as file:
        rows = [(text, stars(labels)) for text, labels in texts_and_labels(260, 0)]
        csv.writer(file).writerows([("text", "label"), *rows])
    folder = run(data, "--classifier.range", "1", "6")
    assert "numbers from 1 to 6; if not so, give --classifier.task" in capsys.readouterr().err
    task = read_config(folder).task
    assert task is not None and (task.kind, task.range, task.labels) == ("number", (1.0, 6.0), ())

    held = texts_and_labels(80, 1)
    test = write_lines(
        tmp_path / "test.jsonl", [{"text": t, "label": stars(labels)} for t, labels in held]
    )
    results = tmp_path / "results.json"
    assert main(["evaluate", "--model", str(folder), "--data", str(test),
                 "--output", str(results)]) == 0  # fmt: skip
    measured = json.loads(results.read_text())
    assert measured["mean_absolute_error"] < 0.5 and measured["r2"] > 0.7
    assert not any(isinstance(value, list) for value in measured.values())

    for name in ("out.csv", "out.jsonl"):
        output = str(tmp_path / name)
        assert (
            main(["predict", "--model", str(folder), "--data", str(test), "--output", output]) == 0
        )
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert list(lines[0]) == ["row", "number"]
    numbers = [line["number"] for line in lines]
    distance = np.abs(np.array(numbers) - [stars(labels) for _, labels in held])
    assert distance.mean() == pytest.approx(measured["mean_absolute_error"], rel=1e-5)
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [float(row["number"]) for row in csv.DictReader(file)] == numbers
    assert TextClassifier.from_pretrained(folder).predict(["we saw it"])[0] == pytest.approx(
        3.5, abs=1.0
    )


@pytest.mark.parametrize(
    ("labels", "more", "message"),
    [
        (["a", "b"], ["--classifier.metric", "micro_f1"], "micro_f1 of one label a document is"),
        (["1", "2.5"], ["--classifier.label-smoothing", "0.1"],
         "setting 'classifier.label_smoothing': found 0.1, but the documents are labelled"),
        (["1", "2.5"], ["--classifier.class-weights", "balanced"], "'classifier.class_weights'"),
        (["a", "b"], ["--classifier.task", "number"], "row 1: found the label 'a' where a number"),
        ([["a"], ["b"]], ["--classifier.class-weights", "c=2"], "label 'c' is none of the train"),
        ([["a", "b"], ["b"]], ["--classifier.task", "single_label"], "2 labels where one is expe"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_stage_two(
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    labels: list[Any],
    more: list[str],
    message: str,
) -> None:
    records = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels * 4)]
    data = write_lines(tmp_path / "train.jsonl", records)
    given = {"data": data, "pretrained": tiny_model, "output": tmp_path / "model"}
    assert main(["train", *options(given), *more]) in (2, 3)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
