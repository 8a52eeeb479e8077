"""Models trained apart, joined: their members, their answers, their records, what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ulmfit.cli import main
from ulmfit.config.artefact import Member, Task
from ulmfit.config.model import ClassifierHeadConfig, Direction, Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.models.folder import read_config
from ulmfit.models.language_model import LanguageModel
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.stages.record import with_record
from ulmfit.text.tokenizer import Tokenizer

HEAD = ClassifierHeadConfig(hidden_sizes=(6,))
TASK = Task(labels=("bad", "good"))
TEXTS = ["one two three", "", "words to learn " * 30]


def tokenizer_of(text: str = "some words to learn, here and there") -> Tokenizer:
    return Tokenizer.train([text] * 9, TokenizerConfig())


def shape_of(tokenizer: Tokenizer, hidden: int = 8) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=6, hidden_size=hidden, layers=2
    )


def record_of(direction: str, seed: int = 0) -> dict[str, Any]:
    return {
        "settings": {"directions": direction, "seed": seed},
        "data": ["text: a.csv"],
        "results": {f"classifier.{direction}": {"accuracy": 0.5}},
        "machine": "a",
    }


def classifier(
    folder: Path,
    direction: Direction = "forward",
    seed: int = 0,
    task: Task = TASK,
    text: str = "some words to learn, here and there",
    hidden: int = 8,
    record: Mapping[str, Any] = {},
    **more: Any,
) -> str:
    torch.manual_seed(seed)
    tokenizer = tokenizer_of(text)
    network = ClassifierNetwork(shape_of(tokenizer, hidden), Dropout(), HEAD, task.outputs)
    member = ClassifierMember(Member(direction=direction, prefix=direction, **more), network)
    model = TextClassifier([member], tokenizer, task, head=HEAD)
    model.run = {"pretrain": record_of("both"), "train": {**record_of(direction, seed), **record}}
    model.save_pretrained(folder)
    return str(folder)


def language_model(folder: Path, direction: Direction) -> str:
    torch.manual_seed(len(direction))
    tokenizer = tokenizer_of()
    network = LanguageModelNetwork(shape_of(tokenizer), Dropout())
    model = LanguageModel(network, tokenizer, Member(direction=direction, prefix=direction))
    model.save_pretrained(folder)
    return str(folder)


def test_the_members_of_all_answer_together(tmp_path: Path) -> None:
    forward = classifier(tmp_path / "f")
    backward = classifier(tmp_path / "b", "backward", 1, weight=3.0, begin_mark="last")
    joined = str(tmp_path / "both")
    assert main(["join", "--models", forward, backward, "--output", joined]) == 0
    alone = [
        TextClassifier.from_pretrained(name).predict_proba(TEXTS) for name in (forward, backward)
    ]
    both = TextClassifier.from_pretrained(joined)
    assert [each.member.direction for each in both.members] == ["forward", "backward"]
    expected = np.average(alone, axis=0, weights=[1.0, 3.0])
    np.testing.assert_allclose(both.predict_proba(TEXTS), expected, atol=1e-6)


def test_directions_of_one_run_have_one_record(tmp_path: Path) -> None:
    names = [classifier(tmp_path / "f"), classifier(tmp_path / "b", "backward")]
    assert main(["join", "--models", *names, "--output", str(tmp_path / "both")]) == 0
    run = read_config(tmp_path / "both").run
    assert list(run) == ["pretrain", "train"]
    assert list(run["train"]["results"]) == ["classifier.forward", "classifier.backward"]
    assert run["train"]["settings"] == {"directions": "both", "seed": 0}


@pytest.mark.parametrize("other", [{"data": ["text: b.csv"]}, {"machine": "b"}])
def test_directions_of_unlike_runs_keep_their_records(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    names = [classifier(tmp_path / "f"), classifier(tmp_path / "b", "backward", record=other)]
    assert main(["join", "--models", *names, "--output", str(tmp_path / "both")]) == 0
    run = read_config(tmp_path / "both").run
    assert run["train"] == record_of("forward") and run["train_2"] == {
        **record_of("backward"),
        **other,
    }


def test_records_of_conversions_are_kept(tmp_path: Path) -> None:
    names = [language_model(tmp_path / d, d) for d in ("forward", "backward")]
    for name in names:
        model = LanguageModel.from_pretrained(name)
        model.run = {"convert": {"data": [name]}}
        model.save_pretrained(name, overwrite=True)
    assert main(["join", "--models", *names, "--output", str(tmp_path / "both")]) == 0
    run = read_config(tmp_path / "both").run
    assert run == {"convert": {"data": [names[0]]}, "convert_2": {"data": [names[1]]}}


def test_seeds_are_kept_apart(tmp_path: Path) -> None:
    names = [classifier(tmp_path / str(seed), seed=seed) for seed in range(3)]
    assert main(["join", "--models", *names, "--output", str(tmp_path / "all")]) == 0
    config = read_config(tmp_path / "all")
    assert [each.prefix for each in config.members] == ["forward", "forward_2", "forward_3"]
    assert list(config.run) == ["pretrain", "train", "train_2", "train_3"]
    assert "## Train 3" in (tmp_path / "all" / "README.md").read_text("utf-8")
    alone = [TextClassifier.from_pretrained(name).predict_proba(TEXTS) for name in names]
    found = TextClassifier.from_pretrained(tmp_path / "all").predict_proba(TEXTS)
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-6)
    again = str(tmp_path / "more")
    assert main(["join", "--models", str(tmp_path / "all"), names[0], "--output", again]) == 0
    assert len(read_config(again).members) == 4


def test_language_models_are_joined(tmp_path: Path) -> None:
    names = [language_model(tmp_path / d, d) for d in ("forward", "backward")]
    joined = str(tmp_path / "both")
    command = ["join", "--models", *names, "--output", joined]
    assert main([*command, "--storage", "int8"]) == 0
    assert read_config(joined).storage == "int8"
    backward = LanguageModel.from_pretrained(joined, direction="backward")
    expected = LanguageModel.from_pretrained(names[1]).perplexity(TEXTS[:1])
    np.testing.assert_allclose(backward.perplexity(TEXTS[:1]), expected, rtol=1e-2)


def test_what_was_fitted_to_one_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated = classifier(tmp_path / "f", task=replace(TASK, temperature=1.5))
    plain = classifier(tmp_path / "b", "backward")
    joined = str(tmp_path / "both")
    command = ["join", "--models", calibrated, plain, "--output", joined]
    assert main(command) == 0
    assert "`ulmfit calibrate` fits them" in capsys.readouterr().err
    task = read_config(joined).task
    assert task is not None and task.temperature == 1.0
    assert main([*command, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_what_does_not_fit_together_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = classifier(tmp_path / "first")
    labels = classifier(tmp_path / "labels", task=Task(labels=("a", "b")))
    words = classifier(tmp_path / "words", text="quite another text than that one was")
    wide = classifier(tmp_path / "wide", hidden=10)
    kind = language_model(tmp_path / "kind", "forward")
    output = tmp_path / "joined"
    for other, told in (
        (labels, "task is single_label a, b"),
        (words, "its tokenizer is"),
        (wide, "hidden_size=10"),
        (kind, "its kind is language_model"),
    ):
        assert main(["join", "--models", first, other, "--output", str(output)]) == 4
        said = capsys.readouterr().err
        assert told in said and other in said and first in said
    assert main(["join", "--models", first, "--output", str(output)]) == 2
    assert "takes two or more" in capsys.readouterr().err
    assert main(["join", "--models", first, "nowhere", "--output", str(output)]) == 4
    assert not output.exists()


def test_an_output_that_is_taken_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [classifier(tmp_path / "f"), classifier(tmp_path / "b", "backward")]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", "utf-8")
    command = ["join", "--models", *names, "--output", str(tmp_path / "mine")]
    assert main(command) == 4
    assert main([*command, "--overwrite"]) == 4
    assert (tmp_path / "mine" / "letter.txt").read_text("utf-8") == "dear"


def test_a_stages_second_record_has_a_name_of_its_own() -> None:
    run: dict[str, Any] = {}
    for number in range(3):
        run = with_record(run, "finetune", number)
    assert run == {"finetune": 0, "finetune_2": 1, "finetune_3": 2}
