"""Calibration by training, by a command of its own, and what it changes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ulmfit.cli import main
from ulmfit.data.sources import Document
from ulmfit.models.folder import read_config
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.stages import calibrate

from .conftest import made_up_reviews

pytestmark = pytest.mark.recipes

SETTINGS = {
    "directions": "forward",
    "language_model.skip": None,
    "classifier.bptt": 20,
    "classifier.dropout_multiplier": 0.1,
    "classifier.training.batch_size": 8,
    "classifier.training.epochs": 6,
    "classifier.training.threads": 1,
    "classifier.training.unfreezing": "full",
    "classifier.training.optimizer.learning_rate": 0.03,
    "classifier.training.optimizer.discriminative_factor": 1.0,
}


def confusing(count: int, seed: int, several: bool = False) -> list[dict[str, Any]]:
    """Reviews of which a fifth is labelled wrongly: nobody can be sure of them."""
    rng = np.random.default_rng(seed)
    rows = []
    for text, label in made_up_reviews(count, seed=seed):
        told = label if rng.random() < 0.8 else ("good" if label == "bad" else "bad")
        rows.append({"text": text, "label": [told, "rare"] * (rng.random() < 0.9) if several
                     else told})  # fmt: skip
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def trained(tiny_model: Path, tmp_path: Path) -> Callable[..., Path]:
    def run(rows: list[dict[str, Any]], *more: str) -> Path:
        given = ["--pretrained", str(tiny_model), "--cache", str(tmp_path / "cache")]
        for name, value in SETTINGS.items():
            option = f"--{name.replace('_', '-')}"
            given += [option] if value is None else [option, str(value)]
        data, output = write(tmp_path / "train.jsonl", rows), tmp_path / "model"
        assert main(["train", "--data", data, "--output", str(output), *given, *more]) == 0
        return output

    return run


def measured(folder: Path, data: str, output: Path) -> dict[str, Any]:
    command = ["evaluate", "--model", str(folder), "--data", data, "--output", str(output)]
    assert main(command) == 0
    results: dict[str, Any] = json.loads(output.read_text())
    return results


def test_training_calibrates_on_what_is_held_out(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    more = ["--validation.fraction", "0.4", "--overwrite"]
    test = write(tmp_path / "test.jsonl", confusing(400, 2))
    plain = trained(confusing(400, 1), *more, "--calibration.no-temperature")
    assert read_config(plain).task == TextClassifier.from_pretrained(plain).task
    before = measured(plain, test, tmp_path / "before.json")
    predicted = TextClassifier.from_pretrained(plain).predict(["the film"])
    folder = trained(confusing(400, 1), *more)
    task = read_config(folder).task
    assert task is not None and task.temperature != 1.0
    after = measured(folder, test, tmp_path / "after.json")
    assert after["accuracy"] == before["accuracy"]
    assert TextClassifier.from_pretrained(folder).predict(["the film"]) == predicted
    results = read_config(folder).run["train"]["results"]
    assert results["calibration, after"]["temperature"] == task.temperature
    assert results["calibration, after"]["loss"] < results["calibration, before"]["loss"]
    assert "calibration, after" in (folder / "README.md").read_text()
    assert [row["label"] for row in after["labels"]] == ["bad", "good"]
    assert sum(row["count"] for row in after["reliability"]) == 400
    assert after["coverage"][0]["coverage"] == 1.0


def test_one_that_is_too_sure_becomes_less_so(trained: Callable[..., Path], tmp_path: Path) -> None:
    """Trained so long that it knows the wrong labels by heart."""
    folder = trained(confusing(60, 1), "--validation.fraction", "0",
                     "--classifier.training.epochs", "30")  # fmt: skip
    held, test = (write(tmp_path / f"{i}.jsonl", confusing(500, i)) for i in (2, 3))
    output = str(tmp_path / "calibrated")
    assert main(["calibrate", "--model", str(folder), "--data", held, "--output", output]) == 0
    before = measured(folder, test, tmp_path / "before.json")
    after = measured(Path(output), test, tmp_path / "after.json")
    assert read_config(Path(output)).task.temperature > 1.2  # type: ignore[union-attr]
    assert after["accuracy"] == before["accuracy"]
    assert after["loss"] < before["loss"] - 0.02
    assert after["calibration_error"] < 0.6 * before["calibration_error"]


def test_a_classifier_is_calibrated_afterwards(
    trained: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(confusing(300, 1, several=True), "--validation.fraction", "0",
                     "--storage", "int8")  # fmt: skip
    assert read_config(folder).task.thresholds is None  # type: ignore[union-attr]
    held, test = (write(tmp_path / f"{i}.jsonl", confusing(300, i, True)) for i in (2, 3))
    before = measured(folder, test, tmp_path / "before.json")
    output = tmp_path / "calibrated"
    command = ["calibrate", "--model", str(folder), "--data", held, "--output", str(output)]
    capsys.readouterr()
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "before     after" in told and "temperature" in told
    config = read_config(output)
    assert config.storage == "int8" and list(config.run) == ["pretrain", "train", "calibrate"]
    assert config.task is not None and config.task.thresholds is not None
    assert len(config.task.thresholds) == 3 and config.task.temperature != 1.0
    after = measured(output, test, tmp_path / "after.json")
    assert after["loss"] < 1.05 * before["loss"]
    fitted = config.run["calibrate"]["results"]
    assert fitted["calibration, after"]["loss"] < fitted["calibration, before"]["loss"]
    assert fitted["calibration, after"]["macro_f1"] >= fitted["calibration, before"]["macro_f1"]
    assert (output / "model.safetensors").read_bytes() == (
        folder / "model.safetensors"
    ).read_bytes()
    assert main(command) == 4 and "exists already" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--calibration.thresholds", "none"]) == 0
    assert read_config(output).task.thresholds is None  # type: ignore[union-attr]


def test_what_is_not_fitted_anew_stays(trained: Callable[..., Path], tmp_path: Path) -> None:
    folder = trained(confusing(300, 1, several=True), "--validation.fraction", "0.3")
    data = write(tmp_path / "held.jsonl", confusing(300, 2, True))
    first = read_config(folder).task
    assert first is not None and first.temperature != 1.0 and first.thresholds is not None

    def calibrated(*options: str) -> tuple[Any, dict[str, Any]]:
        output = str(tmp_path / "calibrated")
        command = ["calibrate", "--model", str(folder), "--data", data, "--output", output]
        assert main([*command, "--overwrite", *options]) == 0
        config = read_config(Path(output))
        return config.task, config.run["calibrate"]["results"]

    task, results = calibrated("--calibration.no-temperature", "--calibration.thresholds", "none")
    assert task == first
    assert results["calibration, before"] == results["calibration, after"]
    assert results["calibration, before"]["temperature"] == first.temperature
    given = measured(folder, data, tmp_path / "given.json")
    assert results["calibration, before"]["loss"] == pytest.approx(given["loss"], rel=1e-4)
    assert results["calibration, before"]["macro_f1"] == given["macro_f1"]
    task, _ = calibrated("--calibration.thresholds", "none")
    assert task.temperature != first.temperature and task.thresholds is None
    task, _ = calibrated("--calibration.no-temperature")
    assert task.temperature == first.temperature and task.thresholds is not None


def test_it_abstains_where_it_is_not_sure(trained: Callable[..., Path], tmp_path: Path) -> None:
    folder = trained(confusing(200, 1), "--validation.fraction", "0.4")
    data = write(tmp_path / "test.jsonl", confusing(80, 2))
    model = TextClassifier.from_pretrained(folder)
    texts = [row["text"] for row in confusing(80, 2)]
    sure = model.predict_proba(texts).max(1)
    threshold = f"{np.median(sure):.6f}"
    expected = model.predict(texts, abstain_below=float(threshold))
    assert 30 < expected.count(None) < 50
    for name in ("out.csv", "out.jsonl"):
        output = tmp_path / name
        assert main(["predict", "--model", str(folder), "--data", data, "--output", str(output),
                     "--abstain-below", threshold]) == 0  # fmt: skip
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["label"] or None for row in csv.DictReader(file)] == expected
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in lines] == expected


def test_what_cannot_be_calibrated_is_refused(
    trained: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = [{"text": text, "label": 1.5 + (label == "good")} for text, label in
               made_up_reviews(80)]  # fmt: skip
    folder = trained(numbers, "--classifier.training.epochs", "1")
    data = write(tmp_path / "few.jsonl", numbers[:20])
    command = ["calibrate", "--model", str(folder), "--data", data, "--output", str(tmp_path / "o")]
    assert main(command) == 2
    assert "answers with numbers; there is nothing to calibrate" in capsys.readouterr().err
    assert main(["predict", "--model", str(folder), "--data", data, "--abstain-below", "0.5"]) == 2
    assert "setting 'abstain_below': found 0.5, but" in capsys.readouterr().err
    folder = trained(confusing(80, 1), "--overwrite", "--classifier.training.epochs", "1")
    data = write(tmp_path / "few.jsonl", confusing(20, 2))
    assert main(command) == 3
    assert "few.jsonl: 20 documents, too few to calibrate by; give 50" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_training_says_if_too_few_are_held_out(
    trained: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(confusing(100, 1))
    assert "not calibrated: 10 documents held out, 50 are needed" in capsys.readouterr().err
    assert read_config(folder).task == TextClassifier.from_pretrained(folder).task
    trained(confusing(100, 1), "--calibration.documents", "10", "--overwrite")
    assert "not calibrated" not in capsys.readouterr().err


def test_with_many_labels_a_part_of_the_documents_is_fitted_to() -> None:
    documents = [Document(text=str(i), label="a", where=f"row {i}") for i in range(10)]
    assert calibrate._at_most(documents, 10) is documents
    assert [each.text for each in calibrate._at_most(documents, 4)] == ["0", "2", "5", "7"]
