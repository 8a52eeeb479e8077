"""The commands on tiny models of random weights: what goes in, what comes out, what is refused."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ulmfit
from ulmfit.cli import main
from ulmfit.config.artefact import ArtefactConfig, Member, Task
from ulmfit.config.model import ClassifierHeadConfig, Direction, Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.data.sources import Document
from ulmfit.models.classifier import BLOCK_TEXTS
from ulmfit.models.folder import write_folder
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.stages.predict import _in_blocks
from ulmfit.text.printable import printable
from ulmfit.text.tokenizer import Tokenizer

LABELS = ("긍정", 'no, "no"', "yes")
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")

STRANGE = [
    "plain text",
    "",
    "   ",
    "영화가 정말 재미있었어요",
    "ผมชอบภาพยนตร์เรื่องนี้มาก",
    "أحببت هذا الفيلم كثيرا",
    "मुझे यह फिल्म पसंद आई",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🙂🙂🙂",
    "bell \x07 null \x00 escape \x1b[31m tab \t next \x85 line \u2028 form \x0c vertical \x0b",
    "<pad> <unk> <bos> <fld> xxbos xxfld xxmaj xxrep 3 a",
    '"quoted", with, commas',
    "\ufeffmarked",
    "e\u0301 é ﬁ ＡＢＣ",
    "long " * 300,
]


@dataclass
class Shell:
    """Runs a command in this process and keeps what it printed."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: object, stdin: bytes = b"") -> int:
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main([str(argument) for argument in arguments])
        self.out, self.err = self.capsys.readouterr()
        return code

    def error(self, *arguments: object, stdin: bytes = b"") -> tuple[int, str]:
        code = self(*arguments, stdin=stdin)
        assert self.err.startswith("ulmfit: error: ") and self.err.count("\n") == 1
        return code, self.err.removeprefix("ulmfit: error: ").rstrip("\n")

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out)))


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(capsys, monkeypatch)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(STRANGE, TokenizerConfig(vocab_size=320))


def encoder(tokenizer: Tokenizer) -> EncoderConfig:
    size = tokenizer.vocab_size
    return EncoderConfig(vocab_size=size, embedding_size=8, hidden_size=10, layers=2)


@pytest.fixture(scope="module")
def classifier(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    head = ClassifierHeadConfig(hidden_sizes=(6,))
    members = [
        ClassifierMember(
            Member(direction=direction, prefix=direction),
            ClassifierNetwork(encoder(tokenizer), Dropout(), head, len(LABELS)),
        )
        for direction in DIRECTIONS
    ]
    for each in members:  # sure enough of itself for every label to be predicted
        for weight in each.network.parameters():
            weight.data.mul_(4)
    folder = tmp_path_factory.mktemp("models") / "classifier"
    model = TextClassifier(members, tokenizer, Task(labels=LABELS), head=head, bptt=20)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def language_model(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    models = [
        LanguageModel(
            LanguageModelNetwork(encoder(tokenizer), Dropout()),
            tokenizer,
            Member(direction=direction, prefix=direction),
            run={"pretrain": {"results": {"forward": {"perplexity": 12.5}}, "data": ["a: b"]}},
        )
        for direction in DIRECTIONS
    ]
    folder = tmp_path_factory.mktemp("models") / "language-model"
    save_language_models(models, folder, storage="int8")
    return folder


def write_csv(path: Path, texts: list[str], labels: list[str] | None = None) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"] if labels else ["text"])
        rows.writerows(zip(texts, labels, strict=True) if labels else ([text] for text in texts))
    return path


def expected(folder: Path, texts: list[str]) -> np.ndarray:
    return TextClassifier.from_pretrained(folder).predict_proba(texts)


def probabilities(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(row[f"p_{label}"]) for label in LABELS] for row in rows])


# predict


def test_every_line_of_standard_input_has_its_line_of_output(
    shell: Shell, classifier: Path
) -> None:
    assert not any("\n" in text for text in STRANGE)
    lines = "\n".join(STRANGE).encode()
    assert shell("predict", "--model", classifier, stdin=lines) == 0
    rows = shell.rows()
    assert shell.err == ""
    assert list(rows[0]) == ["row", "label", *(f"p_{label}" for label in LABELS)]
    assert [row["row"] for row in rows] == [str(i) for i in range(1, len(STRANGE) + 1)]
    right = expected(classifier, STRANGE)
    np.testing.assert_allclose(probabilities(rows), right, atol=1e-5)
    assert [row["label"] for row in rows] == [LABELS[i] for i in right.argmax(1)]
    assert len(set(right.argmax(1))) > 1


@pytest.mark.parametrize("lines", [b"", b"\n", b"\n\n\n", b"a\n\nb", b"a\r\n\r\nb\r\n"])
def test_empty_lines_are_documents(shell: Shell, classifier: Path, lines: bytes) -> None:
    assert shell("predict", "--model", classifier, stdin=lines) == 0
    texts = [line.decode() for line in lines.splitlines()]
    assert len(shell.rows()) == len(texts)
    if texts:
        right = expected(classifier, texts)
        np.testing.assert_allclose(probabilities(shell.rows()), right, atol=1e-5)


def test_a_file_gives_what_standard_input_gives(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    path, output = write_csv(tmp_path / "in.csv", STRANGE), tmp_path / "out.csv"
    assert shell("predict", "--model", classifier, "--data", path, "--output", output) == 0
    assert (shell.out, shell.err) == ("", "")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["in.csv", "out.csv"]
    in_file = output.read_text(encoding="utf-8")
    shell("predict", "--model", classifier, stdin="\n".join(STRANGE).encode())
    from_file = list(csv.DictReader(io.StringIO(in_file)))
    assert [(row["row"], row["label"]) for row in from_file] == [
        (row["row"], row["label"]) for row in shell.rows()
    ]
    np.testing.assert_allclose(probabilities(from_file), probabilities(shell.rows()), atol=1e-5)


def test_json_lines_hold_the_same(shell: Shell, classifier: Path, tmp_path: Path) -> None:
    data, output = tmp_path / "in.jsonl.gz", tmp_path / "out.jsonl"
    with gzip.open(data, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in STRANGE)
    shell("predict", "--model", classifier, "--data", data, "--output", output)
    records = [json.loads(line) for line in output.read_text(encoding="utf-8").split("\n")[:-1]]
    right = expected(classifier, STRANGE)
    assert [record["row"] for record in records] == list(range(1, len(STRANGE) + 1))
    assert [record["label"] for record in records] == [LABELS[i] for i in right.argmax(1)]
    given = [list(record["probabilities"].values()) for record in records]
    assert tuple(records[0]["probabilities"]) == LABELS
    np.testing.assert_allclose(given, right, atol=1e-5)
    shell("predict", "--model", classifier, "--format", "jsonl", stdin=b"plain text")
    assert json.loads(shell.out)["label"] == records[0]["label"]


def test_rows_of_a_text_file_are_its_lines_and_of_a_folder_its_files(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    text = tmp_path / "lines.txt"
    text.write_text("one\n\nthree\n")
    shell("predict", "--model", classifier, "--data", text)
    assert [row["row"] for row in shell.rows()] == ["1", "3"]
    (tmp_path / "in" / "spam").mkdir(parents=True)
    (tmp_path / "in" / "spam" / "a, row 2").write_text("one")
    (tmp_path / "in" / "spam" / "b").write_text("two")
    shell("predict", "--model", classifier, "--data", tmp_path / "in")
    assert shell.rows()[1]["row"] == str(tmp_path / "in" / "spam" / "b")


LONE = b"fine\n\xed\xa0\x80 lone\nfine\n"


def test_a_lone_surrogate_is_replaced_and_told(shell: Shell, classifier: Path) -> None:
    assert shell("predict", "--model", classifier, stdin=LONE) == 0
    assert shell.err == (
        "ulmfit: warning: 1 document not valid Unicode, replaced by U+FFFD; "
        "the first: standard input, row 2\n"
    )
    right = expected(classifier, ["fine", "\ufffd lone", "fine"])
    np.testing.assert_allclose(probabilities(shell.rows()), right, atol=1e-5)
    shell("predict", "--model", classifier, "--quiet", stdin=LONE)
    assert shell.err == ""


def test_a_lone_surrogate_is_refused_when_strict(shell: Shell, classifier: Path) -> None:
    code, message = shell.error("predict", "--model", classifier, "--strict", stdin=LONE)
    assert code == 3
    assert message.startswith(
        "standard input, row 2: not valid Unicode: lone surrogate U+D800 at character 0; "
    )


@pytest.mark.parametrize("suffix", ["json", "html"])
def test_a_lone_surrogate_is_explained_as_what_replaces_it(
    shell: Shell, classifier: Path, tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"why.{suffix}"
    command = ("explain", "--model", classifier, "--method", "occlusion", "--output", output)
    assert shell(*command, "--text", "good \udcff film") == 0
    assert "the first: --text" in shell.err
    assert "\ufffd" in output.read_text("utf-8")
    data = tmp_path / "in.jsonl"
    data.write_text(json.dumps({"text": "good \ud800 film"}), "utf-8")
    assert shell(*command, "--data", data) == 0
    assert f"the first: {data}, row 1" in shell.err
    assert shell.error(*command, "--data", data, "--strict")[0] == 3


def test_another_number_of_text_columns_than_in_training_is_told(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    model = TextClassifier.from_pretrained(classifier)
    model.run = {"train": {"settings": {"reading": {"text_columns": ["premise", "hypothesis"]}}}}
    model.save_pretrained(tmp_path / "pairs")
    output = tmp_path / "why.json"
    labels = [label for label in LABELS for _ in range(20)]
    data = write_csv(tmp_path / "data.csv", ["a text"] * len(labels), labels)
    calibrated = ("--output", tmp_path / "calibrated", "--overwrite")
    more = {
        "evaluate": (),
        "predict": (),
        "explain": ("--method", "occlusion", "--output", output),
        "report": ("--output", tmp_path / "report.html"),
        "calibrate": calibrated,
    }
    for command, given in more.items():
        assert shell(command, "--model", tmp_path / "pairs", "--data", data, *given) == 0
        assert shell.err == (
            "ulmfit: warning: documents have 1 text column(s), where those of training had 2; "
            "--reading.text-columns names them\n"
        )
        assert shell(command, "--model", tmp_path / "pairs", "--data", data, *given, "--quiet") == 0
        assert shell.err == ""


def test_several_columns_are_explained_one_after_the_other(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    output = tmp_path / "why.json"
    command = ("explain", "--model", classifier, "--method", "occlusion", "--output", output)
    assert shell(*command, "--text", "a title", "its text") == 0
    words = json.loads(output.read_text("utf-8"))["words"]
    assert [(word["column"], word["word"]) for word in words] == [
        (0, "a"), (0, "title"), (1, "its"), (1, "text")
    ]  # fmt: skip


def test_returns_stay_in_their_cells(shell: Shell, classifier: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    texts = ["first\rline", "second", "a\r\nb", "c\n"]
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    output = tmp_path / "out.csv"
    command = ("predict", "--model", classifier, "--data", data, "--keep", "text")
    assert shell(*command, "--output", output) == 0
    with output.open(encoding="utf-8", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == texts
    assert b"\r\n" not in output.read_bytes().replace(b"a\r\nb", b"")


def test_broken_bytes_are_refused_by_row(shell: Shell, classifier: Path) -> None:
    code, message = shell.error("predict", "--model", classifier, stdin=b"fine\nab\xff\n")
    assert code == 3
    assert message == (
        "standard input, row 2: byte 0xff (after 'ab') does not decode as utf-8; "
        "give the file's encoding with --reading.encoding, for example latin-1"
    )
    command = ("predict", "--model", classifier, "--reading.encoding", "cp949")
    assert shell(*command, stdin="한국어".encode("cp949")) == 0
    right = expected(classifier, ["한국어"])
    np.testing.assert_allclose(probabilities(shell.rows()), right, atol=1e-5)


@pytest.mark.parametrize(
    ("encoding", "given", "code", "message"),
    [
        (
            "utf-16-le",
            b"\x00\xd8a\x00",
            3,
            "standard input: does not decode as utf-16-le; give the",
        ),
        ("base64", b"a", 2, "setting 'reading.encoding': unknown encoding 'base64'; give one that"),
    ],
)
def test_an_encoding_that_does_not_fit_is_named(
    shell: Shell, classifier: Path, encoding: str, given: bytes, code: int, message: str
) -> None:
    command = ("predict", "--model", classifier, "--reading.encoding", encoding)
    found, told = shell.error(*command, stdin=given)
    assert found == code and told.startswith(message)


def test_a_file_of_a_strange_name_is_answered(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "texts" / "yes"
    folder.mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("a text")
    output = tmp_path / "out.csv"
    data = ("--data", tmp_path / "texts", "--output", output)
    assert shell("predict", "--model", classifier, *data) == 0
    (row,) = csv.DictReader(output.open(encoding="utf-8"))
    assert row["row"] == f"{folder}/caf\ufffd.txt" and row["label"] in LABELS


def test_standard_input_stays_open(shell: Shell, classifier: Path) -> None:
    shell("predict", "--model", classifier, stdin=b"a")
    assert not sys.stdin.closed and sys.stdin.read() == ""


def test_what_is_in_memory_does_not_grow_with_the_stream(classifier: Path) -> None:
    read = 0

    def documents() -> Iterator[Document]:
        nonlocal read
        for read in range(1, 3 * BLOCK_TEXTS):
            yield Document(text=f"text {read % 9}", label=None, where=f"a.csv, row {read}")

    rows: list[tuple[object, ...]] = []
    for names, block in _in_blocks(TextClassifier.from_pretrained(classifier), documents(), 32_768):
        assert read - len(rows) <= BLOCK_TEXTS
        assert len(names) == len(block)
        rows += names
    assert rows == [(row,) for row in range(1, 3 * BLOCK_TEXTS)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_columns_are_kept_in_front_of_the_answers(
    shell: Shell, classifier: Path, tmp_path: Path, suffix: str
) -> None:
    data, output = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    records: list[dict[str, Any]] = [
        {"id": 7, "text": "superb, 한국어", "from": None},
        {"id": "a,b", "text": "awful\nend", "from": [1]},
    ]
    data.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    options = ("predict", "--model", classifier, "--data", data, "--output", output)
    assert shell(*options, "--keep", "id", "text", "from") == 0
    if suffix == "csv":
        with output.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0][:5] == ["row", "id", "text", "from", "label"]
        assert [row[:4] for row in rows[1:]] == [
            ["1", "7", "superb, 한국어", ""],
            ["2", "a,b", "awful\nend", "[1]"],
        ]
    else:
        found = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
        assert [(row["id"], row["text"], row["from"]) for row in found] == [
            (7, "superb, 한국어", None),
            ("a,b", "awful\nend", "[1]"),
        ]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (["name"], "no column 'name'"),
        (["label"], "the predictions have a column 'label' already"),
        (["id", "id"], "the predictions have a column 'id' already"),
    ],
)
def test_a_column_that_cannot_be_kept_is_named(
    shell: Shell, classifier: Path, tmp_path: Path, keep: list[str], message: str
) -> None:
    data = tmp_path / "in.csv"
    data.write_text("id,text,label\n1,fine,good\n")
    assert shell("predict", "--model", classifier, "--data", data, "--keep", *keep) in (2, 3)
    assert message in shell.err
    assert shell("predict", "--model", classifier, "--keep", "id", stdin=b"fine\n") == 2
    assert "standard input has no columns" in shell.err


def test_a_terminal_is_answered_line_by_line(
    shell: Shell, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    stdin = Terminal(io.BytesIO(b"one\ntwo\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["predict", "--model", str(classifier)]) == 0
    rows = list(csv.DictReader(io.StringIO(shell.capsys.readouterr().out)))
    right = expected(classifier, ["one", "two"])
    np.testing.assert_allclose(probabilities(rows), right, atol=1e-5)


def test_a_failed_prediction_leaves_the_old_output(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    data, output = tmp_path / "in.txt", tmp_path / "out.csv"
    data.write_bytes(b"fine\n\xff\n")
    output.write_text("old")
    code, message = shell.error(
        "predict", "--model", classifier, "--data", data, "--output", output
    )
    assert (code, message.split(":")[0]) == (3, f"{data}, row 2")
    assert output.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.txt", "out.csv"]


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_the_data_is_not_written_over(
    shell: Shell, classifier: Path, tmp_path: Path, command: str
) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"text": "a text", "label": LABELS[0]}) + "\n")
    given = ("--model", classifier, "--data", data, "--output", data)
    more = ("--format", "jsonl") if command == "predict" else ()
    code, message = shell.error(command, *given, *more)
    assert code == 2 and "would be written over" in message
    assert json.loads(data.read_text())["text"] == "a text"


# evaluate


def test_a_classifier_is_measured_as_scikit_learn_measures(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    from sklearn.metrics import classification_report, log_loss

    texts = [f"{text} {i}" for i in range(4) for text in STRANGE]
    labels = [LABELS[i % 2] for i in range(len(texts))]
    data, output = write_csv(tmp_path / "test.csv", texts, labels), tmp_path / "results.json"
    command = ("evaluate", "--model", classifier, "--data", data, "--output", output)
    assert shell(*command) == 0
    results = json.loads(output.read_text(encoding="utf-8"))
    right = expected(classifier, texts)
    predicted = [LABELS[i] for i in right.argmax(1)]
    report: Any = classification_report(labels, predicted, output_dict=True, zero_division=0.0)
    assert results["documents"] == len(texts)
    assert results["accuracy"] == pytest.approx(report["accuracy"])
    assert results["error"] == pytest.approx(1 - report["accuracy"])
    assert results["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    loss = log_loss([LABELS.index(label) for label in labels], right, labels=range(len(LABELS)))
    assert results["loss"] == pytest.approx(loss, rel=1e-4)
    for row, label in zip(results["labels"], LABELS, strict=True):
        measures = report[label]
        measures["f1"] = measures.pop("f1-score")
        assert row == {"label": label, **{n: pytest.approx(v) for n, v in measures.items()}}
    assert results["settings"]["data"] == str(data) and results["ulmfit"] == ulmfit.__version__
    assert re.search(rf"^accuracy +{results['accuracy']:.4f}$", shell.out, re.M)
    assert all(label in shell.out for label in LABELS)


def test_rows_without_a_label_are_left_out_of_what_is_measured(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    labels = [LABELS[0], "", LABELS[1], LABELS[2], " "]
    texts = [f"text {i}" for i in range(len(labels))]
    table = write_csv(tmp_path / "table.csv", texts, labels)
    having = [(text, label) for text, label in zip(texts, labels, strict=True) if label.strip()]
    apart = write_csv(tmp_path / "apart.csv", *map(list, zip(*having, strict=True)))
    found = []
    for data in (table, apart):
        output = tmp_path / "results.json"
        command = ("evaluate", "--model", classifier, "--data", data, "--output", output)
        assert shell(*command, "--reading.missing-label", "unlabelled") == 0
        results = json.loads(output.read_text(encoding="utf-8"))
        found.append({name: value for name, value in results.items() if name != "settings"})
    assert found[0] == found[1] and found[0]["documents"] == 3


def test_a_label_never_seen_in_training_is_named_at_its_row(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    data, output = tmp_path / "test.csv", tmp_path / "results.json"
    write_csv(data, ["one", "two"], ["yes", "yse"])
    assert shell.error("evaluate", "--model", classifier, "--data", data, "--output", output) == (
        3,
        f"{data}, row 2: label 'yse' is not among the 3 of training (the nearest: 'yes'); "
        "correct it, or give training documents with it",
    )
    assert not output.exists()


def test_every_token_of_the_text_is_scored_in_each_direction(
    shell: Shell, language_model: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    data, output = write_csv(tmp_path / "text.csv", STRANGE), tmp_path / "results.json"
    command = ("evaluate", "--model", language_model, "--data", data, "--output", output)
    assert shell(*command) == 0
    results = json.loads(output.read_text())
    tokens = sum(len(ids) for ids in tokenizer.encode_batch(STRANGE))
    assert results["documents"] == len(STRANGE)
    assert [member["member"] for member in results["members"]] == ["forward", "backward"]
    for member in results["members"]:
        assert 0 < tokens - member["tokens"] <= len(STRANGE)  # the first of each lane is given
        size, nll = sum(len(text.encode()) for text in STRANGE), member["loss"] * member["tokens"]
        assert member["perplexity"] == pytest.approx(np.exp(member["loss"]))
        assert member["bits_per_byte"] == pytest.approx(nll / np.log(2) / size)
        words = sum(len(text.split()) for text in STRANGE)
        assert member["word_perplexity"] == pytest.approx(np.exp(nll / words))
        assert f"\n{member['member']} " in shell.out


def test_of_two_members_of_a_direction_the_one_in_use_is_measured(
    shell: Shell, language_model: Path, tmp_path: Path
) -> None:
    joined, data = tmp_path / "joined", write_csv(tmp_path / "text.csv", STRANGE)
    assert shell("join", "--models", language_model, language_model, "--output", joined) == 0
    measured = []
    for model in (language_model, joined):
        output = tmp_path / "results.json"
        assert shell("evaluate", "--model", model, "--data", data, "--output", output) == 0
        measured.append(json.loads(output.read_text())["members"])
    assert measured[0] == measured[1]


def test_a_measure_without_a_value_is_null(
    shell: Shell, language_model: Path, tmp_path: Path
) -> None:
    data, output = write_csv(tmp_path / "text.csv", ["\u200b"]), tmp_path / "results.json"
    data.write_text('text\n"   "\n')
    assert shell("evaluate", "--model", language_model, "--data", data, "--output", output) == 0
    member = json.loads(output.read_text())["members"][0]
    assert member["word_perplexity"] is None and member["tokens"] > 0


# generate


@pytest.mark.parametrize("prompt", ["", "In 1999", "영화 🙂", "<bos> <pad>", "-x", "\udcff"])
def test_a_text_goes_on_from_its_prompt(shell: Shell, language_model: Path, prompt: str) -> None:
    command = ("generate", "--model", language_model, "--prompt", prompt, "--tokens", 5)
    assert shell(*command, "--seed", 1) == 0
    model = LanguageModel.from_pretrained(language_model)
    shown = model.generate(prompt.replace("\udcff", "\ufffd"), tokens=5, seed=1)
    assert shell.out == printable(shown) + "\n"
    assert ("U+FFFD" in shell.err) == (prompt == "\udcff")


# inspect


def test_a_summary_of_a_language_model(shell: Shell, language_model: Path) -> None:
    assert shell("inspect", "--model", language_model) == 0
    model = LanguageModel.from_pretrained(language_model)
    count = sum(tensor.numel() for tensor in model.network.state_dict().values())
    assert f"{language_model}: language model, format version 1, whole\n" in shell.out
    assert f"members     forward, {count:,} parameters, weight 1, begin mark first\n" in shell.out
    assert f"            backward, {count:,} parameters, weight 1" in shell.out
    assert "encoder     AWD-LSTM, embedding 8, hidden 10, 2 layers;" in shell.out
    assert "storage     int8\n" in shell.out
    assert "forward: perplexity 12.5" in shell.out and "a: b" in shell.out
    size = (language_model / "model.safetensors").stat().st_size
    assert f"model.safetensors   {size:>14,} bytes" in shell.out


def test_a_summary_of_a_classifier_needs_no_torch(classifier: Path) -> None:
    code = (
        "import sys; from ulmfit.cli import main\n"
        "code = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(code)\n"
    )
    command = [sys.executable, "-c", code, "inspect", "--model", str(classifier)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"task        3 labels, one a document: {', '.join(LABELS)}\n" in done.stdout
    assert "head        concat pooling, hidden layers of 6\n" in done.stdout


# What is refused


def damage(folder: Path, change: Callable[[Path], object]) -> Path:
    copy = folder.parent / "damaged"
    if copy.exists():
        for path in copy.iterdir():
            path.unlink()
    copy.mkdir(exist_ok=True)
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    change(copy)
    return copy


@pytest.mark.parametrize("command", ["predict", "evaluate", "generate", "inspect"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_folder_is_refused_by_its_file(
    shell: Shell, classifier: Path, tmp_path: Path, command: str, name: str
) -> None:
    data = write_csv(tmp_path / "a.csv", ["one"], ["yes"])
    given = {"predict": ["--data", data], "evaluate": ["--data", data]}.get(command, [])

    def truncate(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    for change in (truncate, lambda folder: (folder / name).unlink()):
        folder = damage(classifier, change)
        code, message = shell.error(command, "--model", folder, *given)
        assert code == 4 and shell.out == ""
        assert message.startswith(f"{folder / name}: ")


def test_what_is_not_the_right_model_is_refused(
    shell: Shell, classifier: Path, language_model: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    data = write_csv(tmp_path / "a.csv", ["one"], ["yes"])
    assert shell.error("predict", "--model", language_model, "--data", data) == (
        4,
        f"{language_model}: holds a language_model, not a text classifier",
    )
    assert shell.error("generate", "--model", classifier) == (
        4,
        f"{classifier}: holds a text_classifier, not a language model",
    )
    folder = tmp_path / "tokenizer"
    config = ArtefactConfig(kind="tokenizer", tokenizer=tokenizer.config)
    write_folder(folder, config, {"tokenizer.json": tokenizer.to_json()}, "")
    assert shell.error("evaluate", "--model", folder, "--data", data) == (
        4,
        f"{folder}: holds a tokenizer; there is nothing to measure",
    )
    assert shell("inspect", "--model", folder) == 0
    assert f"{folder}: tokenizer, format version 1, whole\n" in shell.out
    code, message = shell.error("inspect", "--model", tmp_path)
    assert (code, message) == (
        4,
        f"{tmp_path / 'config.json'}: missing; a model folder has one; "
        "get or make the folder again",
    )
    code, message = shell.error("inspect", "--model", tmp_path / "none")
    assert code == 4 and message.startswith(f"{tmp_path / 'none'}: no such model folder; ")
    assert shell.error("inspect", "--model", data) == (
        4,
        f"{data}: is a file; give the folder of a model",
    )


def test_data_that_is_not_what_was_asked_for_is_refused(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    data = write_csv(tmp_path / "a.csv", ["one"])
    none = tmp_path / "none.csv"
    assert shell.error("predict", "--model", classifier, "--data", none) == (
        3,
        f"{none}: no such file; check the path",
    )
    column = ("--reading.text-columns", "texts")
    assert shell.error("predict", "--model", classifier, "--data", data, *column) == (
        3,
        f"{data}: no column 'texts'; found 'text'; the nearest is 'text': "
        "name it with --reading.text-columns",
    )
    assert shell.error("evaluate", "--model", classifier, "--data", data) == (
        3,
        f"{data}: no column 'label'; found 'text': name it with --reading.label-column",
    )
    assert shell.error("predict", "--model", classifier, "--reading.format", "csv") == (
        2,
        "setting 'reading.format': found 'csv', but standard input is text, a document a line; "
        "give a file with --data",
    )
    for wrong in (
        ("--reading.encoding", "utf-9"),
        ("--reading.format", "jsonl"),
        ("--reading.text-columns", "title", "text"),
        ("--reading.document-start", " = "),
    ):
        assert shell.error("predict", "--model", classifier, *wrong)[0] == 2
        assert shell.out == ""


def test_an_output_that_cannot_be_is_refused(
    shell: Shell, classifier: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    file = write_csv(tmp_path / "a.csv", ["one"], ["yes"])
    predict = ("predict", "--model", classifier, "--data", file, "--output")
    assert shell.error(*predict, tmp_path / "out.xlsx") == (
        2,
        f"setting 'output': found '{tmp_path / 'out.xlsx'}'; let its name end in .csv or .jsonl, "
        "or give --format",
    )
    for path, reason in {
        tmp_path / "folder.csv": "it is a folder",
        tmp_path / "none" / "out.csv": "No such file or directory",
        file / "out.csv": "Not a directory",
    }.items():
        assert shell.error(*predict, path) == (
            3,
            f"{path}: cannot be written: {reason}; choose another --output",
        )
    evaluate = ("evaluate", "--model", classifier, "--data", file, "--output")
    assert shell.error(*evaluate, tmp_path / "out.csv") == (
        2,
        f"setting 'output': found '{tmp_path / 'out.csv'}'; let its name end in .json",
    )
    nowhere = tmp_path / "none" / "out.json"
    assert shell.error(*evaluate, nowhere) == (
        3,
        f"{nowhere}: cannot be written: No such file or directory; choose another --output",
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do all")
def test_no_permission_is_told(shell: Shell, classifier: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "a.csv", ["one"])
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    output = closed / "out.csv"
    command = ("predict", "--model", classifier, "--data", data)
    assert shell.error(*command, "--output", output) == (
        3,
        f"{output}: cannot be written: Permission denied; choose another --output",
    )
    data.chmod(0)
    assert shell.error(*command) == (3, f"{data}: cannot be read: Permission denied")


def test_a_device_that_is_not_there_is_refused(shell: Shell, classifier: Path) -> None:
    code, message = shell.error("predict", "--model", classifier, "--device", "tpu")
    assert code == 2
    assert message.startswith("setting 'device': 'tpu' cannot be used here: ")
