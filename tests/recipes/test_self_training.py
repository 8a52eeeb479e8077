"""The classifier labels the unlabelled documents and learns from them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from ulmfit.config.artefact import Task
from ulmfit.config.data import ValidationConfig
from ulmfit.config.settings import from_dict
from ulmfit.config.stages import TrainConfig
from ulmfit.data.pseudo_labels import aligned, sureness, surest
from ulmfit.data.sources import Document
from ulmfit.errors import ConfigError, DataError, ResumeError
from ulmfit.models.folder import read_config
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.models.tfidf import TfidfModel
from ulmfit.stages.classifier_training import LabelledData, of_mean_weight_one
from ulmfit.stages.self_training import Labelling
from ulmfit.stages.train import train

from .conftest import made_up_reviews

pytestmark = pytest.mark.recipes

StopAt = Callable[[int], list[str]]
LABELLED, UNLABELLED = 40, 160


def write(path: Path, rows: Sequence[tuple[str, ...]], *header: str) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.fixture
def config(tiny_model: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A few labelled reviews and many without labels, the labelled ones among them."""
    rows = made_up_reviews(LABELLED + UNLABELLED, seed=5)
    data = write(tmp_path / "labelled.csv", list(rows[:LABELLED]), "text", "label")
    texts = write(tmp_path / "unlabelled.csv", [(text,) for text, _ in rows], "text")

    def make(**settings: Any) -> TrainConfig:
        training = {
            "epochs": 10.0,
            "batch_size": 8,
            "unfreezing": "full",
            "threads": 1,
            "precision": "float32",  # on every processor the same
            "checkpoint_steps": 3,
            "optimizer": {"learning_rate": 3e-2, "discriminative_factor": 1.3},
        }
        values = {
            "data": data,
            "unlabelled": (texts,),
            "pretrained": str(tiny_model),
            "output": str(tmp_path / "model"),
            "cache": str(tmp_path / "cache"),
            "validation": {"fraction": 0.0},
            "language_model": {"skip": True},
            "classifier": {"bptt": 10, "dropout_multiplier": 0.1, "training": training},
            "self_training": {"rounds": 1, "epochs": 3.0},
            **settings,
        }
        return from_dict(TrainConfig, values, "test")

    return make


def error(folder: Path) -> float:
    held = made_up_reviews(300, seed=6)
    predicted = TextClassifier.from_pretrained(folder).predict([text for text, _ in held])
    return float(np.mean([p != label for p, (_, label) in zip(predicted, held, strict=True)]))


def test_it_learns_from_what_it_labelled(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    without = error(train(config(self_training={"rounds": 0}), quiet=True))
    folder = train(config(self_training={"rounds": 2, "epochs": 3.0}, overwrite=True), quiet=True)
    assert error(folder) < without
    results = read_config(folder).run["train"]["results"]
    assert list(results) == [
        f"classifier, {direction}{number}"
        for number in ("", ", 1", ", 2")
        for direction in ("forward", "backward")
    ]
    batches = [part["batches"] for part in results.values()]
    assert batches[:2] == [50, 50] and batches[2:] == [75] * 4  # 3 x (40 + 160) / 8


def test_several_teachers_label_together(
    config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TextClassifier] = []
    labelled: list[int] = []

    def noted(own: Labelling, teachers: Sequence[TextClassifier]) -> list[Document]:
        labelled.append(len(teachers))
        return by(own, teachers)

    def answered(own: TextClassifier, texts: Any, **more: Any) -> Any:
        asked.append(own)
        return predict_proba(own, texts, **more)

    by, predict_proba = Labelling.by, TextClassifier.predict_proba
    monkeypatch.setattr(Labelling, "by", noted)
    monkeypatch.setattr(TextClassifier, "predict_proba", answered)
    settings = {"rounds": 2, "epochs": 1.0, "teachers": 3}
    folder = train(config(self_training=settings), quiet=True)
    assert labelled == [3, 4]  # and that of a round, which alone is asked then
    assert len(asked) == 4 and len({id(each.members[0].network) for each in asked}) == 4
    states = [each.members[0].network.state_dict() for each in asked[:3]]
    weights = [state["head.blocks.0.2.weight"] for state in states]
    assert not any(weights[0].equal(other) for other in weights[1:])
    trained = read_config(folder)
    assert len(trained.members) == 2
    assert list(trained.run["train"]["results"])[:4] == [
        "classifier, forward",
        "classifier, backward",
        "classifier, forward, teacher_2",
        "classifier, backward, teacher_2",
    ]


def test_the_surest_are_kept_as_many_of_each_label_as_are_labelled() -> None:
    task, sure = Task(labels=("a", "b")), np.array([0.6, 0.9, 0.7, 0.8, 0.99, 0.95])
    answers = np.stack([np.r_[sure, 1 - sure], np.r_[1 - sure, sure]], axis=1)
    assert surest(task, answers, 0.5, np.repeat([0, 1], [20, 10])).tolist() == [1, 3, 4, 5, 10, 11]
    three = Task(labels=("a", "b", "c"))
    few = np.array([[0.6, 0.4, 0.0], [0.2, 0.8, 0.0], [0.3, 0.7, 0.0]])
    assert surest(three, few, 1.0, np.array([0, 1, 2])).tolist() == [0, 1]
    several = Task(kind="multi_label", labels=("a", "b"))
    unsure = np.array([[0.5, 0.5], [0.1, 0.9], [0.4, 0.9], [0.1, 0.9]])
    assert surest(several, unsure, 0.5, np.eye(2)).tolist() == [1, 3]


def test_a_list_of_one_label_is_that_label(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    path = write(tmp_path / "texts.csv", [(f"text {i}",) for i in range(40)], "text")
    known = [Document("a text", ("long",), ""), Document("no text", ("short",), "")]
    made = config(unlabelled=(path,), self_training={"rounds": 1, "share": 0.5})
    data = LabelledData(known, [], FakeClassifier.task)
    found = Labelling(made, data, "float32").by([FakeClassifier()])  # type: ignore[list-item]
    assert [document.label for document in found] == ["long"] * 10  # half of 40, none "short"


def test_weights_of_any_scale_weigh_the_same_beside_what_is_labelled() -> None:
    weighted = [Document("a", "x", "", weight=300.0), Document("b", "y", "", weight=100.0)]
    assert [document.weight for document in of_mean_weight_one(weighted)] == [1.5, 0.5]
    plain = [Document("a", "x", ""), Document("b", "y", "")]
    assert of_mean_weight_one(plain) == plain


def test_no_number_is_surer_than_another(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    rows = [(f"text {i}", f"{i}.5") for i in range(20)]
    data = write(tmp_path / "numbers.csv", rows, "text", "label")
    with pytest.raises(ConfigError, match=r"'self_training.share': found 0.5, but .* numbers"):
        train(config(data=data, self_training={"rounds": 1, "share": 0.5}), quiet=True)


def test_labels_are_aligned_one_a_document(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    path = write(tmp_path / "texts.csv", [("a text",), ("another",)] * 3, "text")
    known = [Document(str(i), "long" if i == 0 else "short", "") for i in range(4)]
    data = LabelledData(known, [], FakeClassifier.task)
    made = config(unlabelled=(path,), self_training={"rounds": 1, "aligned": True})
    found = Labelling(made, data, "float32").by([FakeClassifier()])  # type: ignore[list-item]
    assert {document.label for document in found} == {"short"}
    assert np.mean([document.weight for document in found]) == pytest.approx(0.75)
    rows = [(f"text {i}", f"{i}.5") for i in range(20)]
    numbers = write(tmp_path / "numbers.csv", rows, "text", "label")
    with pytest.raises(ConfigError, match=r"'self_training.aligned': found true, .* one label"):
        train(config(data=numbers, self_training={"rounds": 1, "aligned": True}), quiet=True)


@given(st.integers(2, 5), st.integers(1, 50), st.integers(0, 99))
def test_aligned_answers_have_the_shares_asked_for(labels: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    answers, shares = rng.dirichlet(np.ones(labels), count), rng.dirichlet(5 * np.ones(labels))
    found = aligned(answers, shares)
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found.mean(0), shares, atol=1e-6)
    factors = found / answers
    ratios = factors / factors[:, :1]
    np.testing.assert_allclose(ratios, np.broadcast_to(ratios[:1], ratios.shape), rtol=1e-6)


def test_a_share_of_what_is_labelled_is_learned_from(config: Callable[..., TrainConfig]) -> None:
    settings = config(self_training={"rounds": 1, "epochs": 3.0, "share": 0.5})
    results = read_config(train(settings, quiet=True)).run["train"]["results"]
    batches = [part["batches"] for part in results.values()]
    assert batches[:2] == [50, 50] and all(24 <= count <= 45 for count in batches[2:])


def test_rows_without_a_label_are_as_a_file_of_their_own(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    rows = made_up_reviews(LABELLED + UNLABELLED, seed=5)
    marked = [(text, label if i % 5 == 0 else "") for i, (text, label) in enumerate(rows)]
    table = write(tmp_path / "table.csv", marked, "text", "label")
    labelled = write(tmp_path / "some.csv", [row for row in marked if row[1]], "text", "label")
    apart = write(tmp_path / "apart.csv", [row[:1] for row in marked if not row[1]], "text")
    settings = {
        "directions": "forward",
        "validation": {"fraction": 0.1},
        "language_model": {"training": {"epochs": 1.0, "threads": 1}},
    }
    files = {"data": labelled, "unlabelled": (apart,), "output": str(tmp_path / "two")}
    two = train(config(**settings, **files), quiet=True)
    reading = {"missing_label": "unlabelled"}
    one = train(config(**settings, data=table, unlabelled=(), reading=reading), quiet=True)
    first, second = (load_file(folder / "model.safetensors") for folder in (two, one))
    assert all((first[name] == second[name]).all() for name in first)


def test_a_stopped_and_resumed_run_has_the_same_bits(
    config: Callable[..., TrainConfig],
    tmp_path: Path,
    stop_at: StopAt,
    killed: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = train(config(output=str(tmp_path / "whole")), quiet=True)
    for last in (105, 85):  # in the forward, then in the backward classifier of the round
        stop_at(last)
        with pytest.raises(killed):
            train(config(resume=True), quiet=True)
    trained = stop_at(-1)
    labelled = []

    def noted(*given: Any) -> list[Document]:
        labelled.append(given)
        return by(*given)

    by = Labelling.by
    monkeypatch.setattr(Labelling, "by", noted)
    train(config(resume=True), quiet=True)
    assert set(trained) == {"classifier.backward.1"} and len(labelled) == 1
    first, second = (load_file(f / "model.safetensors") for f in (whole, tmp_path / "model"))
    assert all((first[name] == second[name]).all() for name in first)


def test_other_unlabelled_text_is_not_resumed(
    config: Callable[..., TrainConfig],
    tmp_path: Path,
    stop_at: StopAt,
    killed: type[BaseException],
) -> None:
    stop_at(5)
    with pytest.raises(killed):
        train(config(), quiet=True)
    stop_at(-1)
    with (tmp_path / "unlabelled.csv").open("a") as file:
        file.write("one more\n")
    with pytest.raises(ResumeError, match="unlabelled text"):
        train(config(resume=True), quiet=True)


class FakeClassifier:
    """Decides by the length of a text."""

    task = Task(labels=("long", "short"))

    def predict_proba(self, texts: list[str]) -> Any:
        sure = np.array([0.5 + 0.4 * (len(text) % 2) for text in texts])
        return np.stack([sure, 1 - sure], axis=1)


def test_classifiers_decide_by_their_mean_and_are_asked_once(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    class Says:
        def __init__(self, *answers: float) -> None:
            self.answers, self.asked = np.array([answers], np.float32), [0]

        def predict_proba(self, texts: list[str]) -> Any:
            self.asked[0] += 1  # a list: of copies, too
            return np.repeat(self.answers, len(texts), 0)

    path = write(tmp_path / "texts.csv", [("a text",), ("another",)], "text")
    made = config(unlabelled=(path,), self_training={"rounds": 2})
    labelling = Labelling(made, LabelledData([], [], FakeClassifier.task), "float32")
    teachers: list[Any] = [Says(0.9, 0.1), Says(0.3, 0.7), Says(0.15, 0.85)]
    found = labelling.by(teachers[:2])
    assert [(each.label, round(each.weight, 6)) for each in found] == [("long", 0.6)] * 2
    found = labelling.by(teachers)
    assert [(each.label, round(each.weight, 6)) for each in found] == [("short", 0.55)] * 2
    assert [each.asked for each in teachers] == [[1], [1], [1]]


def test_known_texts_are_left_out_and_all_others_as_likely(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    texts = [(f"text {i}",) for i in range(40)]
    path = write(tmp_path / "texts.csv", texts, "text")
    known = [Document(text, "long", "") for (text,) in texts[:10]]
    data = LabelledData(known[:5], known[5:], FakeClassifier.task)
    counts: dict[str, int] = {}
    for seed in range(200):
        training = {"training": {"seed": seed}}
        made = config(
            unlabelled=(path,), self_training={"rounds": 1, "documents": 12}, classifier=training
        )
        found = Labelling(made, data, "float32").by([FakeClassifier()])  # type: ignore[list-item]
        assert len(found) == 12
        rows = [int(document.where.rpartition(" ")[2]) for document in found]
        assert rows == sorted(rows)
        for document in found:
            counts[str(document.text)] = counts.get(str(document.text), 0) + 1
            assert document.label == "long"
            assert document.weight == pytest.approx(0.5 + 0.4 * (len(document.text) % 2))
    assert set(counts) == {text for (text,) in texts[10:]}
    # 200 draws of 12 out of 30: 80 each, with a deviation of 6.9; five of these.
    assert all(abs(count - 80) < 35 for count in counts.values())


def test_how_sure_a_decision_is() -> None:
    answers = np.array([[0.7, 0.3], [0.1, 0.9]])
    several = Task(kind="multi_label", labels=("a", "b"))
    assert sureness(Task(labels=("a", "b")), answers) == pytest.approx([0.7, 0.9])
    assert sureness(several, answers) == pytest.approx([0.7, 0.9])
    assert sureness(Task(kind="number", range=(0, 1)), answers[:, :1]) == pytest.approx([1, 1])


def test_faults_of_unlabelled_text_are_told_before_training(
    config: Callable[..., TrainConfig], tmp_path: Path, stop_at: StopAt
) -> None:
    trained = stop_at(-1)
    bad = tmp_path / "bad.csv"
    bad.write_text("text,other\nfine,1\nshort\n")
    with pytest.raises(DataError, match=r"bad\.csv, row 2 .* 1 fields where the header has 2"):
        train(config(unlabelled=(str(bad),)), quiet=True)
    assert not trained


def test_it_needs_documents(config: Callable[..., TrainConfig]) -> None:
    with pytest.raises(ConfigError) as caught:
        train(config(unlabelled=()), quiet=True)
    assert str(caught.value) == (
        "setting 'self_training.rounds': found 1, but there are no documents to label; give "
        "--unlabelled"
    )


@pytest.mark.parametrize("labels", [[["a"], ["a", "b"]], [1.5, 2.5]])
@pytest.mark.parametrize("counted", ["none", "words"])
def test_other_kinds_of_task(
    config: Callable[..., TrainConfig], tmp_path: Path, labels: list[Any], counted: str
) -> None:
    data = tmp_path / "data.jsonl"
    lines = [f'{{"text": "it was {i}", "label": {labels[i % 2]}}}\n' for i in range(12)]
    data.write_text("".join(lines).replace("'", '"'))
    validation = ValidationConfig(fraction=0.25)
    settings = {"rounds": 1, "epochs": 3.0, "co_training": counted}
    made = config(
        data=str(data), directions="forward", validation=validation, self_training=settings
    )
    folder = train(made, quiet=True)
    task = read_config(folder).task
    assert task is not None and task.kind == ("number" if labels[0] == 1.5 else "multi_label")


def test_words_counted_answer_too(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    class Unsure:
        """Right of what is labelled, surer of long texts, and wrong of a short one."""

        def predict_proba(self, texts: list[str]) -> Any:
            right = [0.5 + len(text) / 100 if len(text) > 9 else 0.45 for text in texts]
            good = [r if "good" in text else 1 - r for r, text in zip(right, texts, strict=True)]
            return np.array([(1 - g, g) for g in good], np.float32)

    known = [Document("good", "pos", ""), Document("bad", "neg", "")]
    long = [f"{word} film number {i}" for i in range(8) for word in ("good", "bad")]
    path = write(tmp_path / "texts.csv", [*[(text,) for text in long], ("good one",)], "text")
    data = LabelledData(known, [], Task(labels=("neg", "pos")))
    said: dict[str, Any] = {}
    for counted in ("none", "words", "characters"):
        made = config(unlabelled=(path,), self_training={"rounds": 1, "co_training": counted})
        found = Labelling(made, data, "float32").by([Unsure()])  # type: ignore[list-item]
        said[counted] = next((d.label, d.weight) for d in found if d.text == "good one")
    assert said["none"] == ("neg", pytest.approx(0.55))
    assert said["words"][0] == said["characters"][0] == "pos"
    surest_half = [*long[12:], *long[8:12]]  # of 17 documents four of each label
    counting = TfidfModel(data.task).fit(
        ["good", "bad", *surest_half], np.array([1, 0, *[1, 0] * 4])
    )
    half = (0.45 + counting.answers(["good one"])[0, 1]) / 2
    assert said["words"][1] == pytest.approx(half, rel=1e-3)


def test_texts_without_words_are_told(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    data = write(tmp_path / "labelled.csv", [("?!", "a"), ("!", "b")] * 10, "text", "label")
    path = write(tmp_path / "texts.csv", [(f"{'.' * i}",) for i in range(1, 9)], "text")
    settings = {"rounds": 1, "co_training": "words"}
    made = config(data=data, unlabelled=(path,), self_training=settings)
    with pytest.raises(DataError, match=r"co_training': found 'words', .* documents: empty vocab"):
        train(made, quiet=True)


def test_nothing_left_to_label_is_told(
    config: Callable[..., TrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "labelled.csv").open() as file:
        known = [(row["text"],) for row in csv.DictReader(file)]
    path = write(tmp_path / "known.csv", known, "text")
    settings = {"rounds": 1, "co_training": "words", "aligned": True, "share": 0.5}
    train(config(unlabelled=(path,), self_training=settings))
    assert "no document without a label is left" in capsys.readouterr().err
