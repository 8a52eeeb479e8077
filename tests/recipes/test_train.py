"""Stages 2 and 3, whole, on made-up reviews of which one word tells the label."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ulmfit.config.data import LanesConfig, ReadingConfig, ValidationConfig
from ulmfit.config.settings import from_dict
from ulmfit.config.stages import ClassifierStage, LanguageModelStage, TrainConfig
from ulmfit.config.training import OptimizerConfig, TrainingConfig
from ulmfit.errors import ArtefactError, ConfigError, DataError, ResumeError, UlmfitError
from ulmfit.models.folder import read_config
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.stages.train import train

pytestmark = pytest.mark.recipes

Row = Sequence[str]
StopAt = Callable[[int], list[str]]
KillAt = Callable[[Any, int], int]

LANGUAGE_MODEL = LanguageModelStage(
    lanes=LanesConfig(bptt=20),
    training=TrainingConfig(
        epochs=2.0, batch_size=8, optimizer=OptimizerConfig(learning_rate=2e-2)
    ),
)
CLASSIFIER = ClassifierStage(
    bptt=10,
    dropout_multiplier=0.1,
    training=TrainingConfig(
        epochs=7.0,
        batch_size=8,
        clip_gradient=1.0,
        unfreezing="gradual",
        optimizer=OptimizerConfig(learning_rate=3e-2, discriminative_factor=1.3),
        precision="float32",  # on any machine
        threads=1,
    ),
)


def brief(stage: Any, epochs: float = 1.0, **settings: Any) -> Any:
    return replace(stage, training=replace(stage.training, epochs=epochs, **settings))


LITTLE = {
    "language_model": brief(LANGUAGE_MODEL, 0.5),
    "classifier": brief(CLASSIFIER),
    "directions": "forward",
}


@pytest.fixture
def config(reviews: Path, tiny_model: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Settings that learn the reviews, with `settings` in their place."""

    def make(**settings: Any) -> TrainConfig:
        given = {
            "data": str(reviews),
            "pretrained": str(tiny_model),
            "output": str(tmp_path / "model"),
            "cache": str(reviews.parent / "cache"),
            "validation": ValidationConfig(fraction=0.25),
            "language_model": LANGUAGE_MODEL,
            "classifier": CLASSIFIER,
            **settings,
        }
        return TrainConfig(**given)

    return make


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def write(path: Path, rows: Sequence[Row], header: Row = ("text", "label")) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_config(folder).run["train"]
    return found


def trained_batches(folder: Path) -> list[int]:
    """The number of batches of each part that was trained, in order."""
    parts = record(folder)["results"].values()
    return [part["batches"] for part in parts if "batches" in part]


def timeless(results: dict[str, Any]) -> dict[str, Any]:
    return {
        part: {n: v for n, v in values.items() if n not in ("seconds", "tokens_per_second")}
        for part, values in results.items()
    }


def assert_same(a: Path, b: Path) -> None:
    first, second = (load_file(folder / "model.safetensors") for folder in (a, b))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert timeless(record(a)["results"]) == timeless(record(b)["results"])


def nothing_left(folder: Path) -> bool:
    return not any((folder / name).exists() for name in ("model", "model.run"))


# What it makes


@pytest.fixture(scope="module")
def learned(reviews: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of both directions."""
    return train(
        TrainConfig(
            data=str(reviews),
            pretrained=str(tiny_model),
            output=str(tmp_path_factory.mktemp("learned") / "model"),
            cache=str(reviews.parent / "cache"),
            validation=ValidationConfig(fraction=0.25),
            language_model=LANGUAGE_MODEL,
            classifier=brief(CLASSIFIER, 12.0),
        ),
        quiet=True,
    )


def test_it_learns_what_can_be_learned(learned: Path) -> None:
    results = record(learned)["results"]
    for direction in ("forward", "backward"):
        assert results[f"classifier, {direction}"]["accuracy"] > 0.9
        first, second = results[f"language model, {direction}"]["history"]
        assert second["perplexity"] < first["perplexity"] < 100
    model = TextClassifier.from_pretrained(learned)
    assert model.labels == ("bad", "good")
    assert [each.member.direction for each in model.members] == ["forward", "backward"]
    words = ("superb", "awful")
    texts = [f"we saw the {word} film in a small room and it was old" for word in words]
    assert model.predict(texts) == ["good", "bad"]


def test_it_learns_in_bfloat16_and_is_measured_in_float32(
    config: Callable[..., TrainConfig], reviews: Path
) -> None:
    training = replace(CLASSIFIER.training, precision="bfloat16")
    try:
        folder = train(config(classifier=replace(CLASSIFIER, training=training)), quiet=True)
    except ConfigError as error:
        pytest.skip(str(error))
    found = record(folder)
    assert found["resolved"]["precision"] == "bfloat16"
    for direction in ("forward", "backward"):
        losses = found["results"][f"language model, {direction}"]["history"]
        assert losses[1]["perplexity"] < losses[0]["perplexity"] < 100
        assert found["results"][f"classifier, {direction}"]["accuracy"] > 0.7
    weights = load_file(folder / "model.safetensors").values()
    assert all(w.dtype == torch.float32 for w in weights if w.is_floating_point())
    assert all(w.isfinite().all() for w in weights)


def test_the_folder_holds_four_files_and_the_whole_record(learned: Path, tiny_model: Path) -> None:
    assert sorted(path.name for path in learned.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert [path.name for path in learned.parent.iterdir() if path.is_dir()] == ["model"]
    run = read_config(learned).run
    assert run["pretrain"] == read_config(tiny_model).run["pretrain"]
    assert (
        run["train"]["data"][0] == "labelled: reviews.csv: 150 documents to train on, 50 held out"
    )
    assert run["train"]["data"][1].startswith("text: reviews.csv: 200 documents, ")
    assert run["train"]["settings"]["classifier"]["bptt"] == read_config(learned).bptt == 10
    assert run["train"]["settings"]["pretrained"] == "tiny"
    assert run["train"]["resolved"]["gradient_chunks"] >= 3
    card = (learned / "README.md").read_text(encoding="utf-8")
    told = ("2 labels, one a document: bad, good", "150 documents to train on", "| accuracy |")
    for shown in (*told, "wiki.txt"):
        assert shown in card
    for name in ("config.json", "README.md"):
        assert str(learned.parent) not in (learned / name).read_text(encoding="utf-8")


def test_from_scratch_takes_the_shape_and_the_tokenizer_alone(
    config: Callable[..., TrainConfig], tiny_model: Path, tmp_path: Path
) -> None:
    stages = {
        "language_model": replace(LITTLE["language_model"], skip=True),
        "classifier": brief(CLASSIFIER, 0.1, unfreezing="last"),
    }
    pretrained = load_file(tiny_model / "model.safetensors")
    untouched = "forward.encoder.embedding.weight"
    for name, from_scratch in (("with", False), ("without", True)):
        output = str(tmp_path / name)
        made = config(**{**LITTLE, **stages}, from_scratch=from_scratch, output=output)
        folder = train(made, quiet=True)
        own = load_file(folder / "model.safetensors")[untouched]
        assert torch.equal(own, pretrained[untouched]) is not from_scratch
        assert (float(own.abs().max()) <= 0.1) is from_scratch  # as it is drawn
        files = [(where / "tokenizer.json").read_bytes() for where in (folder, tiny_model)]
        assert files[0] == files[1]
        assert ("pretrain" in read_config(folder).run) is not from_scratch


def test_the_measured_accuracy_is_that_of_the_saved_model(
    config: Callable[..., TrainConfig], reviews: Path, tmp_path: Path
) -> None:
    rows = rows_of(reviews)
    held = ValidationConfig(path=write(tmp_path / "valid.csv", rows[:40]))
    training = write(tmp_path / "train.csv", rows[40:])
    settings = {"directions": "backward", "classifier": brief(CLASSIFIER, 3.0)}
    made = config(data=training, validation=held, **{**LITTLE, **settings})
    folder = train(made, quiet=True)
    predicted = TextClassifier.from_pretrained(folder).predict_proba([row[0] for row in rows[:40]])
    labels = np.array([row[1] == "good" for row in rows[:40]]).astype(int)
    found = record(folder)["results"]["classifier, backward"]
    assert found["accuracy"] == pytest.approx((predicted.argmax(1) == labels).mean())
    loss = -np.log(predicted[np.arange(40), labels].astype(np.float64)).mean()
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["loss"] == min(entry["loss"] for entry in found["history"])


@pytest.mark.parametrize(("storage", "bound"), [("float16", 5e-3), ("int8", 0.1)])
def test_smaller_storage_predicts_nearly_the_same(
    learned: Path, tmp_path: Path, storage: Any, bound: float
) -> None:
    model = TextClassifier.from_pretrained(learned)
    model.save_pretrained(tmp_path / "small", storage=storage)
    small = TextClassifier.from_pretrained(tmp_path / "small")
    texts = ["the film was superb", "", "awful", "we saw it in a small room with some friends"]
    gap = np.abs(model.predict_proba(texts) - small.predict_proba(texts)).max()
    assert 0 < gap < bound


def test_the_storage_asked_for_is_that_of_the_folder(config: Callable[..., TrainConfig]) -> None:
    folder = train(config(**LITTLE, storage="int8"), quiet=True)
    assert read_config(folder).storage == "int8"
    weights = load_file(folder / "model.safetensors")
    assert weights["forward.encoder.layers.0.weight_hh"].dtype == torch.int8


# Ways of giving the data


def test_validation_by_column(
    config: Callable[..., TrainConfig], reviews: Path, tmp_path: Path
) -> None:
    rows = [[*row, "yes" if i % 4 == 0 else "no"] for i, row in enumerate(rows_of(reviews))]
    data = write(tmp_path / "marked.csv", rows, ("text", "label", "held"))
    folder = train(
        config(data=data, validation=ValidationConfig(column="held"), **LITTLE), quiet=True
    )
    assert "150 documents to train on, 50 held out" in record(folder)["data"][0]


def test_without_validation_the_last_weights_are_kept(config: Callable[..., TrainConfig]) -> None:
    folder = train(config(validation=ValidationConfig(fraction=0.0), **LITTLE), quiet=True)
    results = record(folder)["results"]
    assert "200 documents to train on, 0 held out" in record(folder)["data"][0]
    for part in ("language model, forward", "classifier, forward"):
        assert results[part]["history"] == [] and "accuracy" not in results[part]


def test_unlabelled_text_is_read_by_the_language_model_alone(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    more = tmp_path / "more.txt"
    more.write_text("".join(f"a word {i} of old friends\n" for i in range(100)))
    stage = brief(LANGUAGE_MODEL, 1.0)
    made = config(**{**LITTLE, "language_model": stage}, unlabelled=(str(tmp_path / "*.txt"),))
    described = record(train(made, quiet=True))["data"]
    assert described[0].startswith("labelled: reviews.csv: 150 documents")
    assert described[1].startswith("text: reviews.csv, *.txt: 300 documents")


def test_a_single_unlabelled_document_is_learned_from(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    handbook = tmp_path / "handbook.txt"
    handbook.write_text("a word of old friends " * 2_000)
    stage = brief(LANGUAGE_MODEL, 1.0)
    made = config(**{**LITTLE, "language_model": stage}, unlabelled=(str(handbook),))
    run = record(train(made, quiet=True))
    assert run["data"][1].startswith("text: reviews.csv, handbook.txt: 201 documents")
    assert run["results"]["language model, forward"]["tokens"] > 10_000


def test_stage_two_can_be_skipped(config: Callable[..., TrainConfig], tiny_model: Path) -> None:
    frozen = brief(CLASSIFIER, 0.5, unfreezing="last")
    stage = replace(LANGUAGE_MODEL, skip=True)
    folder = train(config(language_model=stage, classifier=frozen), quiet=True)
    run = record(folder)
    assert list(run["results"])[:2] == ["classifier, forward", "classifier, backward"]
    assert len(run["data"]) == 1
    before, after = (load_file(f / "model.safetensors") for f in (tiny_model, folder))
    for name in before:
        if ".encoder." in name:
            assert torch.equal(before[name], after[name]), name


def test_a_label_seen_once_several_columns_and_numbers(
    config: Callable[..., TrainConfig], reviews: Path, tmp_path: Path
) -> None:
    rows = [["", text, "1" if label == "good" else "0"] for text, label in rows_of(reviews)]
    rows.append(["a title", "", "7"])
    data = tmp_path / "data.jsonl"
    data.write_text(
        "".join(
            json.dumps({"title": title, "body": body, "stars": int(stars)}) + "\n"
            for title, body, stars in rows
        )
    )
    reading = ReadingConfig(text_columns=("title", "body"), label_column="stars")
    folder = train(config(data=str(data), reading=reading, **LITTLE), quiet=True)
    model = TextClassifier.from_pretrained(folder)
    assert model.labels == ("0", "1", "7")
    assert model.predict_proba([("a", "b"), ("", "")]).shape == (2, 3)


STRANGE = [
    "영화가 정말 재미있었어요",
    "ผมชอบภาพยนตร์เรื่องนี้มาก",
    "أحببت هذا الفيلم كثيرا",
    "मुझे यह फिल्म पसंद आई",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🙂🙂🙂",
    "bell \x07 null \x00 escape \x1b[31m next \x85 line \u2028 form \x0c",
    "<pad> <unk> <bos> <fld> xxbos xxfld",
    "lone \ud800 and \udfff",
    "",
]


def test_text_of_any_script_goes_through_train_and_predict(
    config: Callable[..., TrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "strange.jsonl"
    with data.open("w") as file:
        for i in range(8):
            for text in STRANGE:
                label = "나쁨\u0301" if i % 2 else "👍"
                file.write(json.dumps({"text": f"{text} {i}", "label": label}) + "\n")
    folder = train(config(data=str(data), **LITTLE))
    told = [line for line in capsys.readouterr().err.splitlines() if "Unicode" in line]
    assert told == [
        f"warning: 8 documents not valid Unicode, replaced by U+FFFD; the first: {data}, row 8"
    ]
    model = TextClassifier.from_pretrained(folder)
    assert model.labels == ("나쁨\u0301", "👍")
    together = model.predict_proba(STRANGE)
    alone = np.concatenate([model.predict_proba([text]) for text in STRANGE])
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, atol=1e-5)
    replaced = model.predict_proba(["lone \ufffd and \ufffd"])[0]
    np.testing.assert_allclose(
        together[STRANGE.index("lone \ud800 and \udfff")], replaced, atol=1e-6
    )
    assert "나쁨\u0301, 👍" in (folder / "README.md").read_text(encoding="utf-8")


# What cannot work


def test_what_is_wrong_with_the_data_is_told_before_anything_is_trained(
    config: Callable[..., TrainConfig], reviews: Path, tmp_path: Path
) -> None:
    rows = rows_of(reviews)
    one_class = write(tmp_path / "one.csv", [row for row in rows if row[1] == "good"])
    empty = write(tmp_path / "empty.csv", [])
    unseen = write(tmp_path / "unseen.csv", [["a", "good"], ["b", "goood"]])
    columns = ReadingConfig(text_columns=("texts",))
    wrong: list[tuple[dict[str, Any], type[UlmfitError], str]] = [
        ({"data": one_class}, DataError, "one.csv, row 1: this and all other .* 'good'"),
        ({"data": empty}, DataError, "empty.csv|no documents"),
        ({"data": str(tmp_path / "none.csv")}, DataError, "none.csv: no such file"),
        ({"reading": columns}, DataError, "reviews.csv: no column 'texts'.*'text'"),
        (
            {"validation": ValidationConfig(path=unseen)},
            DataError,
            "unseen.csv, row 2: label 'goood' is not among the 2 of training .*'good'",
        ),
        ({"validation": ValidationConfig(column="held")}, DataError, "no column 'held'"),
        (
            {"classifier": replace(CLASSIFIER, class_weights={"god": 2.0})},
            ConfigError,
            "'classifier.class_weights': label 'god'",
        ),
        (
            {"classifier": brief(CLASSIFIER, batch_size=1)},
            ConfigError,
            "'classifier.training.batch_size': found 1",
        ),
        (
            {"language_model": brief(LANGUAGE_MODEL, threads=2)},
            ConfigError,
            "'language_model.training.threads': found 2, .*'classifier.training.threads' = 1",
        ),
        ({"pretrained": str(tmp_path)}, ArtefactError, "config.json: missing"),
    ]
    for settings, kind, message in wrong:
        with pytest.raises(kind, match=message) as caught:
            train(config(**settings), quiet=True)
        assert "\n" not in str(caught.value)
        assert nothing_left(tmp_path), message


def test_a_missing_direction_is_told_before_the_other_is_trained(
    config: Callable[..., TrainConfig], tiny_model: Path, tmp_path: Path, stop_at: StopAt
) -> None:
    save_language_models([LanguageModel.from_pretrained(tiny_model)], tmp_path / "forward")
    trained = stop_at(-1)
    with pytest.raises(ArtefactError, match="forward: has no backward member; it has: forward"):
        train(config(pretrained=str(tmp_path / "forward")), quiet=True)
    assert trained == [] and nothing_left(tmp_path)


def test_a_model_that_is_there_is_not_replaced_unasked(
    config: Callable[..., TrainConfig], learned: Path, tmp_path: Path
) -> None:
    shutil.copytree(learned, tmp_path / "model")
    with pytest.raises(ArtefactError, match="model: exists already"):
        train(config(**LITTLE), quiet=True)
    train(config(**LITTLE, overwrite=True), quiet=True)
    assert len(read_config(tmp_path / "model").members) == 1


# The same bits


WHOLE = {
    "language_model": replace(
        brief(LANGUAGE_MODEL, 1.0, checkpoint_steps=3, evaluate_every=0.5), dropout_multiplier=1.0
    ),
    "classifier": replace(
        brief(CLASSIFIER, 3.0, checkpoint_steps=4, accumulation=2, batch_size=16),
        dropout_multiplier=1.0,
        variable_bptt=True,
        gradient_chunks=1,
        label_smoothing=0.1,
        class_weights="balanced",
    ),
    "directions": "both",
}
"""Everything on that draws or is carried along."""


@pytest.fixture(scope="module")
def whole(reviews: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    made = TrainConfig(
        data=str(reviews),
        pretrained=str(tiny_model),
        output=str(tmp_path_factory.mktemp("whole") / "model"),
        cache=str(reviews.parent / "cache"),
        validation=ValidationConfig(fraction=0.25),
        **WHOLE,
    )
    return train(made, quiet=True)


def test_a_stopped_and_resumed_run_has_the_same_bits(
    config: Callable[..., TrainConfig],
    whole: Path,
    tmp_path: Path,
    stop_at: StopAt,
    killed: type[BaseException],
) -> None:
    batches = trained_batches(whole)
    forward = batches[0] + batches[1]
    for last in (batches[0] // 2, batches[0] + 5, batches[1] // 2 + 1, batches[2] + 10):
        stop_at(last)
        torch.manual_seed(last)  # whatever a new process begins with
        with pytest.raises(killed):
            train(config(**WHOLE, resume=True), quiet=True)
    trained = stop_at(-1)
    train(config(**WHOLE, resume=True), quiet=True)
    assert set(trained) <= {"language_model.backward", "classifier.backward"}
    assert 0 < len(trained) < sum(batches) - forward
    assert_same(whole, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["model"]


def test_the_same_seed_gives_the_same_bits(
    config: Callable[..., TrainConfig], whole: Path, tmp_path: Path
) -> None:
    torch.manual_seed(12345)
    assert_same(whole, train(config(**WHOLE), quiet=True))


def test_a_run_stopped_after_its_artefact_was_written_only_clears_up(
    config: Callable[..., TrainConfig],
    tmp_path: Path,
    stop_at: StopAt,
    killed_while_clearing_up: Callable[[Callable[[], Any]], None],
) -> None:
    killed_while_clearing_up(lambda: train(config(**LITTLE), quiet=True))
    before = load_file(tmp_path / "model" / "model.safetensors")
    trained = stop_at(-1)
    train(config(**LITTLE, resume=True), quiet=True)
    after = load_file(tmp_path / "model" / "model.safetensors")
    assert trained == [] and not (tmp_path / "model.run").exists()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("changed", ["labels", "validation", "unlabelled", "pretrained"])
def test_a_resumed_run_refuses_other_data(
    config: Callable[..., TrainConfig],
    reviews: Path,
    tiny_model: Path,
    tmp_path: Path,
    stop_at: StopAt,
    killed: type[BaseException],
    changed: str,
) -> None:
    rows = rows_of(reviews)
    held = tmp_path / "valid.csv"
    shutil.copytree(tiny_model, tmp_path / "pretrained")
    settings = {
        "data": write(tmp_path / "train.csv", rows[40:]),
        "validation": ValidationConfig(path=write(held, rows[:40])),
        "unlabelled": (str(tmp_path / "more.txt"),),
        "pretrained": str(tmp_path / "pretrained"),
        **LITTLE,
        "language_model": brief(LANGUAGE_MODEL, checkpoint_steps=1),
    }
    (tmp_path / "more.txt").write_text("one more text\n" * 30)
    stop_at(3)
    with pytest.raises(killed):
        train(config(**settings), quiet=True)
    match changed:
        case "labels":
            swapped = [[text, "good" if label == "bad" else "bad"] for text, label in rows[40:]]
            write(tmp_path / "train.csv", swapped)
        case "validation":
            write(held, rows[:39])
        case "unlabelled":
            (tmp_path / "more.txt").write_text("another text\n" * 30)
        case "pretrained":
            model = LanguageModel.from_pretrained(tiny_model)
            model.network.head.bias.data += 1
            model.save_pretrained(tmp_path / "pretrained", overwrite=True)
    name = {"unlabelled": "unlabelled text", "pretrained": "pretrained model"}.get(changed, "data")
    stop_at(-1)
    with pytest.raises(ResumeError, match=f"the {name} is not what it was when the run began"):
        train(config(**settings, resume=True), quiet=True)


def test_kill_9(
    config: Callable[..., TrainConfig],
    whole: Path,
    tmp_path: Path,
    kill_at: KillAt,
    stop_at: StopAt,
) -> None:
    """In the midst of the classifier, by its own hand in a process of its own."""
    batches = trained_batches(whole)
    assert kill_at(config(**WHOLE), sum(batches[:2]) + batches[2] // 2) == -signal.SIGKILL
    trained = stop_at(-1)
    train(config(**WHOLE, resume=True), quiet=True)
    assert trained[0] == "classifier.forward"
    assert_same(whole, tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_kill_9_at_random_steps(
    config: Callable[..., TrainConfig], whole: Path, tmp_path: Path, kill_at: KillAt, part: int
) -> None:
    """Three times within each stage of each direction."""
    batches = trained_batches(whole)
    rng = random.Random(part)
    last = sum(batches[:part]) + rng.randrange(batches[part] // 3)
    for _ in range(3):
        assert kill_at(config(**WHOLE, resume=True), last) == -signal.SIGKILL
        last = 4 + rng.randrange(batches[part] // 6)
    assert kill_at(config(**WHOLE, resume=True), 0) == 0
    assert_same(whole, tmp_path / "model")


def test_settings_come_from_plain_values(config: Callable[..., TrainConfig]) -> None:
    with pytest.raises(ConfigError, match=re.escape("unknown setting 'classifier.bpt'")):
        from_dict(TrainConfig, {"data": "a", "output": "b", "classifier": {"bpt": 3}}, "test")


def test_documents_of_weight_0_teach_nothing(
    config: Callable[..., TrainConfig], reviews: Path, tmp_path: Path
) -> None:
    """With every label told wrongly once, at a weight of 0, the right ones are learned."""
    other = {"good": "bad", "bad": "good"}
    rows = [(text, label, "1") for text, label in rows_of(reviews)]
    wrong = [(text, other[label], "0") for text, label, _ in rows]
    data = write(tmp_path / "weighted.csv", [*rows, *wrong], ("text", "label", "trust"))
    settings: dict[str, Any] = {
        "language_model": replace(LANGUAGE_MODEL, skip=True),
        "directions": "forward",
        "validation": ValidationConfig(fraction=0.0),
    }
    reading = ReadingConfig(weight_column="trust")
    errors = {}
    for name, given in (("weighted", reading), ("unweighted", ReadingConfig())):
        folder = train(config(data=data, reading=given, output=str(tmp_path / name), **settings))
        model = TextClassifier.from_pretrained(folder)
        found = model.predict([text for text, _, _ in rows])
        errors[name] = np.mean([a != label for a, (_, label, _) in zip(found, rows, strict=True)])
    assert errors["weighted"] < 0.1 < 0.25 < errors["unweighted"]
