"""A new vocabulary for a language model, by the command, and what comes after it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from ulmfit import LanguageModel
from ulmfit.cli import main
from ulmfit.models.folder import read_config

pytestmark = pytest.mark.recipes

TEXTS = ["the doctor saw the patient in a small room"] * 20


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "notes.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text",), *((text,) for text in TEXTS)])
    return path


def test_a_model_is_given_the_words_of_the_text(
    tiny_model: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, tuned = tmp_path / "moved", tmp_path / "tuned"
    arguments = ["--pretrained", str(tiny_model), "--texts", str(texts)]
    words = ["--tokenizer.kind", "word", "--cache", str(tmp_path / "cache")]
    assert main(["transfer", *arguments, *words, "--output", str(output)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{output}\n"
    assert "known: 100.0% of the vocabulary, 100.0% of the text" in told.err
    config = read_config(output)
    assert config.tokenizer.kind == "word" and list(config.run) == ["pretrain", "transfer"]
    assert [member.direction for member in config.members] == ["forward", "backward"]
    assert config.run["transfer"]["results"]["vocabulary"]["known tokens"] == 1.0
    assert "known: 100.0% of the vocabulary" in (output / "README.md").read_text(encoding="utf-8")
    assert "patient" in LanguageModel.from_pretrained(output).tokenizer.words()
    log = [json.loads(line) for line in (tmp_path / "moved.log.jsonl").read_text().splitlines()]
    assert [(line["event"], line["tokens"], line["unknown"]) for line in log] == [
        ("coverage", 1.0, [])
    ]
    brief = ["--training.epochs", "0.5", "--training.batch-size", "2"]
    finetuned = ["--pretrained", str(output), "--texts", str(texts), "--output", str(tuned)]
    assert main(["finetune", *finetuned, *brief, "--cache", str(tmp_path / "cache")]) == 0
    assert list(read_config(tuned).run) == ["pretrain", "transfer", "finetune"]


def test_a_tokenizer_can_be_given(tiny_model: Path, texts: Path, tmp_path: Path) -> None:
    made = ["--texts", str(texts), "--tokenizer.vocab-size", "300", "--output"]
    assert main(["tokenizer", *made, str(tmp_path / "tokenizer")]) == 0
    arguments = ["--pretrained", str(tiny_model), "--texts", str(texts), "--directions", "backward"]
    given = ["--tokenizer-folder", str(tmp_path / "tokenizer"), "--cache", str(tmp_path / "cache")]
    assert main(["transfer", *arguments, *given, "--output", str(tmp_path / "moved")]) == 0
    model = LanguageModel.from_pretrained(tmp_path / "moved")
    whole = (tmp_path / "tokenizer" / "tokenizer.json").read_bytes()
    assert model.tokenizer.to_json() == whole and model.member.direction == "backward"
