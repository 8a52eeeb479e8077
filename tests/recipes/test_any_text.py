"""Text of any script, and what is no text at all, goes through every command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ulmfit.cli import COMMANDS, main
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.text.unicode import replace_surrogates

pytestmark = pytest.mark.recipes

STRANGE = [
    "영화가 정말 재미있었어요",
    "ผมชอบภาพยนตร์เรื่องนี้มาก",
    "أحببت هذا الفيلم كثيرا",
    "मुझे यह फिल्म पसंद आई",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🙂🙂🙂",
    "bell \x07 null \x00 escape \x1b[31m tab \t next \x85 line \u2028 form \x0c",
    "two\r\nlines\nof text",
    "<pad> <unk> <bos> <fld> xxbos xxfld xxmaj xxrep 3 a </script> {{ x }}",
    "lone \ud800 and \udfff",
    "e\u0301 é ﬁ ＡＢＣ \ufeff",
    "",
    "   ",
]
LABELS = ("나쁨\u0301", "👍 <b>")


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "strange.jsonl"
    rows = [
        {"text": f"{text} {i}" if i else text, "label": LABELS[(i + j) % 2]}
        for i in range(10)
        for j, text in enumerate(STRANGE)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_any_text_goes_through_every_command(documents: Path, tmp_path: Path) -> None:
    done = set()

    def ulmfit(command: str, *arguments: object) -> Path:
        """Run `ulmfit command arguments`; the last of them is what it writes."""
        done.add(command)
        assert main([command, *map(str, arguments)]) == 0, (command, arguments)
        return Path(str(arguments[-1]))

    def at(name: str) -> tuple[str, Path]:
        return "--output", tmp_path / name

    texts, data = ("--texts", documents), ("--data", documents)
    cache = ("--cache", tmp_path / "cache")
    brief = ("--training.epochs", 0.5, "--training.batch-size", 4)
    shape = ("--embedding-size", 6, "--hidden-size", 8, "--layers", 2, "--lanes.bptt", 20)
    few = ("--language-model.training.epochs", 0.3, "--classifier.training.epochs", 1)

    tokenizer = ulmfit("tokenizer", *texts, "--tokenizer.vocab-size", 320, *at("tokenizer"))
    pretrained = ulmfit(
        "pretrain", *texts, "--tokenizer-folder", tokenizer, *brief, *shape, *cache, *at("lm")
    )
    start = ("--pretrained", pretrained)
    words = ("--tokenizer.kind", "word", "--tokenizer.vocab-size", 200)
    moved = ulmfit("transfer", *start, *texts, *words, *cache, *at("words"))
    tuned = ulmfit("finetune", "--pretrained", moved, *texts, *brief, *cache, *at("tuned"))
    ulmfit("train", *data, "--pretrained", tuned, *few, *cache, *at("word-classifier"))
    classifier = ulmfit("train", *data, *start, *few, *cache, *at("classifier"))
    model = ("--model", classifier)
    ulmfit("find-lr", *data, *start, *at("rates.png"))
    ulmfit("profile", *data, *start, *at("profile.json"))
    ulmfit("calibrate", *model, *data, *at("calibrated"))
    ulmfit("evaluate", *model, *data, *at("scores.json"))
    page = ulmfit("report", *model, *data, "--training", documents, *at("report.html"))
    said = ulmfit("predict", *model, *data, *at("said.jsonl"))
    why = ulmfit("explain", *model, "--text", "".join(STRANGE[:8]), *at("why.html"))
    shown = ulmfit("visualize", *model, *data, *at("units.html"))
    ulmfit("generate", "--model", pretrained, "--prompt", STRANGE[0] + STRANGE[7], "--tokens", 3)
    ulmfit("curves", "--logs", f"{classifier}.log.jsonl", *at("curves.png"))
    ulmfit("convert", tuned, "--to", "fastai-2", *at("back"))
    ulmfit("inspect", *model)
    assert done == COMMANDS.keys() - {"bench", "join"}  # which read no text

    loaded = TextClassifier.from_pretrained(classifier)
    assert loaded.labels == LABELS
    assert len(said.read_text(encoding="utf-8").splitlines()) == 10 * len(STRANGE)
    for html in (page, why, shown):
        assert "</script> {{ x }}" not in html.read_text(encoding="utf-8")
    for text in map(replace_surrogates, STRANGE):
        assert loaded.tokenizer.decode(loaded.tokenizer.encode(text)) == text
