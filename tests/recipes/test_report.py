"""A report of a trained classifier, from the command line to the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sklearn import metrics

from ulmfit.cli import main
from ulmfit.models.text_classifier import TextClassifier

from .conftest import made_up_reviews

pytestmark = pytest.mark.recipes


def write(path: Path, rows: list[tuple[str, str]]) -> str:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("report")
    rows = [(text, f"<{label}>") for text, label in made_up_reviews(160)]
    command = ["train", "--data", write(where / "train.jsonl", rows)]
    command += ["--pretrained", str(tiny_model), "--output", str(where / "model")]
    command += ["--language-model.skip", "--classifier.training.epochs", "4"]
    command += ["--classifier.training.threads", "1", "--cache", str(where / "cache")]
    assert main(command) == 0
    return where


def test_the_page_tells_what_scikit_learn_finds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"{text} & <b>", f"<{label}>") for text, label in made_up_reviews(150, seed=9)]
    data, output = write(tmp_path / "test.jsonl", rows), tmp_path / "report.html"
    command = ["report", "--model", str(folder / "model"), "--data", data, "--output", str(output)]
    command += ["--training", str(folder / "train.jsonl"), "--others", str(folder / "model")]
    capsys.readouterr()
    assert main([*command, "--misses", "0"]) == 0  # and once more, over it
    assert main([*command, "--misses", "3"]) == 0
    assert capsys.readouterr().out == f"{output}\n" * 2
    page, told = output.read_text("utf-8"), json.loads(output.with_suffix(".json").read_text())

    model = TextClassifier.from_pretrained(folder / "model")
    truth = [label for _, label in rows]
    decided = model.predict([text for text, _ in rows])
    found = {row["measure"]: row for row in told["scores"]}
    assert found["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(truth, decided))
    assert found["macro_f1"]["value"] == pytest.approx(
        metrics.f1_score(truth, decided, average="macro")
    )
    assert found["accuracy"]["low"] <= found["accuracy"]["value"] <= found["accuracy"]["high"]
    assert told["confusion"] == metrics.confusion_matrix(truth, decided).tolist()
    report = metrics.classification_report(truth, decided, output_dict=True, zero_division=0.0)
    for row in told["labels"]:
        assert row["f1"] == pytest.approx(report[row["label"]]["f1-score"])
    assert [row["model"] for row in told["comparison"]] == [
        "model", "model", "TF-IDF and a linear model"
    ]  # fmt: skip
    first, second, baseline = told["comparison"]
    assert first == second and baseline["accuracy"] > 0.9
    assert len(told["misses"]) == 3 and told["misses"][0]["loss"] >= told["misses"][2]["loss"]
    for curve in told["curves"]:
        batches = [point["batch"] for point in curve["training"]]
        assert batches == [point["batch"] for point in curve["held_out"]] and len(batches) == 4
    assert told["settings"]["data"] == data and "counts words and pairs of words" in page

    assert "<script" not in page and "http" not in page.replace("http://www.w3.org", "")
    assert "&lt;bad&gt;" in page and "<bad>" not in page and "&lt;b&gt;" in page
    for section in ("scores", "comparison", "labels", "probabilities", "curves", "misses", "runs"):
        assert f'<section id="{section}">' in page and f'href="#{section}"' in page
    assert page.count("<svg") == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "report.html",
        "report.json",
        "test.jsonl",
    ]


@pytest.mark.parametrize("labels", [["a"], 2.5])
def test_reports_of_other_kinds(
    tiny_model: Path, tmp_path: Path, labels: list[str] | float
) -> None:
    other: list[str] | float = 1.0 if isinstance(labels, float) else []
    lines = [
        json.dumps({"text": f"the film {word}", "label": labels if word == "superb" else other})
        for word in ("superb", "awful") * 20
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(lines) + "\n")
    data, model = str(tmp_path / "data.jsonl"), str(tmp_path / "model")
    command = ["train", "--data", data, "--pretrained", str(tiny_model), "--output", model]
    command += ["--language-model.skip", "--classifier.training.epochs", "1"]
    command += ["--directions", "forward", "--cache", str(tmp_path / "cache")]
    command += ["--validation.fraction", "0"]
    assert main([*command, "--classifier.training.threads", "1"]) == 0
    output = tmp_path / "report.html"
    command = ["report", "--model", model, "--data", data, "--output", str(output)]
    assert main([*command, "--training", data]) == 0
    page = output.read_text("utf-8")
    assert ('id="labels"' in page) == isinstance(labels, list)
    assert "Largest misses" in page and "forward, training" in page


def test_what_is_wrong_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = str(folder / "model"), write(tmp_path / "t.jsonl", [("a text", "<bad>")])
    command = ["report", "--model", model, "--data", data, "--output"]
    assert main([*command, str(tmp_path / "r.pdf")]) == 2
    assert "let its name end in .html" in capsys.readouterr().err
    unknown = write(tmp_path / "u.jsonl", [("a text", "bad")])
    assert main(["report", "--model", model, "--data", unknown, "--output", "r.html"]) == 3
    assert "label 'bad' is not among the 2 of training" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))
    texts = write(tmp_path / "texts.json", [("a text", "<bad>")])
    command = ["report", "--model", model, "--data", texts, "--output"]
    before = Path(texts).read_text("utf-8")
    assert main([*command, str(tmp_path / "texts.html")]) == 2
    assert f"would be written over {texts}, which is read" in capsys.readouterr().err
    assert Path(texts).read_text("utf-8") == before
    for content in ('{"settings": 1}', "no JSON"):
        (tmp_path / "other.json").write_text(content)
        assert main([*command, str(tmp_path / "other.html")]) == 2
        assert "other.json, where the report goes as JSON, is something" in capsys.readouterr().err
        assert (tmp_path / "other.json").read_text() == content
    one = write(tmp_path / "one.jsonl", [("a text", "<bad>"), ("a film", "<bad>")])
    assert main([*command, str(tmp_path / "r.html"), "--training", one]) == 3
    assert f"{one}: the baseline cannot learn from it" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))


def test_the_baseline_may_count_characters(folder: Path, tmp_path: Path) -> None:
    rows = [(text, f"<{label}>") for text, label in made_up_reviews(60, seed=3)]
    data, told = write(tmp_path / "test.jsonl", rows), []
    command = ["report", "--model", str(folder / "model"), "--data", data]
    command += ["--training", write(tmp_path / "few.jsonl", rows[:6]), "--misses", "0"]
    for baseline in ("words", "characters"):
        page = tmp_path / f"{baseline}.html"
        assert main([*command, "--output", str(page), "--baseline", baseline]) == 0
        assert ("counts runs of characters" in page.read_text("utf-8")) == (baseline != "words")
        told.append(json.loads(page.with_suffix(".json").read_text())["comparison"][-1])
    assert told[0]["model"] == told[1]["model"] and told[0] != told[1]
