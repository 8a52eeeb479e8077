"""Stage 2 by itself, whole, on made-up reviews and a tiny language model."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ulmfit.config.data import LanesConfig, ReadingConfig
from ulmfit.config.stages import FinetuneConfig
from ulmfit.config.training import OptimizerConfig, TrainingConfig
from ulmfit.errors import ArtefactError, DataError, ResumeError
from ulmfit.models.folder import read_config
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.stages.finetune import finetune

pytestmark = pytest.mark.recipes

StopAt = Callable[[int], list[str]]
KillAt = Callable[[Any, int], int]

TRAINING = TrainingConfig(
    epochs=2.0,
    batch_size=8,
    optimizer=OptimizerConfig(learning_rate=2e-2),
    evaluate_every=0.5,
    checkpoint_steps=3,
    threads=1,
)
BRIEF = {"training": replace(TRAINING, epochs=0.5), "directions": "forward"}


def settings(reviews: Path, tiny_model: Path, folder: Path, **given: Any) -> FinetuneConfig:
    values = {
        "texts": (str(reviews),),
        "pretrained": str(tiny_model),
        "output": str(folder / "model"),
        "cache": str(reviews.parent / "cache"),
        "lanes": LanesConfig(bptt=20),
        "training": TRAINING,
        **given,
    }
    return FinetuneConfig(**values)


@pytest.fixture
def config(reviews: Path, tiny_model: Path, tmp_path: Path) -> Callable[..., FinetuneConfig]:
    return lambda **given: settings(reviews, tiny_model, tmp_path, **given)


@pytest.fixture(scope="module")
def whole(reviews: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both directions that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    return finetune(settings(reviews, tiny_model, folder), quiet=True)


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_config(folder).run["finetune"]
    return found


def assert_same(a: Path, b: Path) -> None:
    first, second = (load_file(folder / "model.safetensors") for folder in (a, b))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    for part, values in record(a)["results"].items():
        assert values["history"] == record(b)["results"][part]["history"]


def test_both_directions_learn_the_target_text(
    whole: Path, tiny_model: Path, reviews: Path
) -> None:
    texts = [line.rsplit(",", 1)[0] for line in reviews.read_text().splitlines()[1:40]]
    for direction in ("forward", "backward"):
        models = [
            LanguageModel.from_pretrained(f, direction=direction) for f in (tiny_model, whole)
        ]
        before, after = (float(np.mean(model.perplexity(texts))) for model in models)
        assert after < 0.3 * before
        found = record(whole)["results"][direction]
        assert found["loss"] == min(entry["loss"] for entry in found["history"])
        assert found["perplexity"] == pytest.approx(np.exp(found["loss"]))


def test_the_folder_carries_both_records(whole: Path, tiny_model: Path) -> None:
    config, before = read_config(whole), read_config(tiny_model)
    assert [member.direction for member in config.members] == ["forward", "backward"]
    assert list(config.run) == ["pretrain", "finetune"]
    assert config.run["pretrain"] == before.run["pretrain"]
    assert record(whole)["data"][0].startswith("text: reviews.csv: 200 documents, ")
    assert record(whole)["settings"]["pretrained"] == "tiny"
    tokenizer = "tokenizer.json"
    assert (whole / tokenizer).read_bytes() == (tiny_model / tokenizer).read_bytes()
    assert sorted(path.name for path in whole.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        tokenizer,
    ]
    assert [path.name for path in whole.parent.iterdir() if path.is_dir()] == ["model"]


def test_without_held_out_text_nothing_is_measured(config: Callable[..., FinetuneConfig]) -> None:
    folder = finetune(config(**BRIEF, validation_fraction=0.0, storage="float16"), quiet=True)
    assert record(folder)["results"]["forward"]["history"] == []
    weights = load_file(folder / "model.safetensors")
    assert weights["forward.encoder.embedding.weight"].dtype == torch.float16


def test_an_empty_document_is_not_held_out_alone(
    config: Callable[..., FinetuneConfig], tmp_path: Path
) -> None:
    """Nothing can be predicted in it."""
    rows = ["the film was good"] * 20
    rows[np.random.default_rng(0).permutation(20)[0]] = ""
    texts = tmp_path / "empty.jsonl"
    texts.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    brief = {"training": replace(TRAINING, batch_size=2), "directions": "forward"}
    for fraction, measured in ((0.05, False), (0.1, True)):
        given = config(texts=(str(texts),), validation_fraction=fraction, overwrite=True, **brief)
        history = record(finetune(given, quiet=True))["results"]["forward"]["history"]
        assert bool(history) == measured


def test_text_of_any_script_is_learned(
    config: Callable[..., FinetuneConfig], tmp_path: Path
) -> None:
    strange = [
        "영화",
        "ภาพยนตร์",
        "أحببت",
        "फिल्म",
        "👩‍👩‍👧‍👦",
        "\x00\x1b\x85",
        "<bos> <pad>",
        "\udfff",
        "",
    ]
    path = tmp_path / "strange.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in strange * 10))
    folder = finetune(config(texts=(str(path),), **BRIEF), quiet=True)
    perplexity = LanguageModel.from_pretrained(folder).perplexity([*strange[:-1], "\ud800"])
    assert np.isfinite(perplexity).all()


def test_what_cannot_work_leaves_nothing_behind(
    config: Callable[..., FinetuneConfig], tiny_model: Path, tmp_path: Path, stop_at: StopAt
) -> None:
    trained = stop_at(-1)
    forward = tmp_path / "forward"
    save_language_models([LanguageModel.from_pretrained(tiny_model)], forward)
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    wrong: list[tuple[dict[str, Any], Any, str]] = [
        ({"pretrained": str(forward)}, ArtefactError, "has no backward member; it has: forward"),
        ({"pretrained": str(tmp_path)}, ArtefactError, "config.json: missing"),
        ({"texts": (str(empty),)}, DataError, "."),
        ({"reading": ReadingConfig(text_columns=("body",))}, DataError, "no column 'body'"),
    ]
    for given, kind, message in wrong:
        with pytest.raises(kind, match=message):
            finetune(config(**given), quiet=True)
        assert not any((tmp_path / name).exists() for name in ("model", "model.run"))
    assert trained == []


# The same bits


def test_a_stopped_and_resumed_run_has_the_same_bits(
    config: Callable[..., FinetuneConfig],
    whole: Path,
    tmp_path: Path,
    stop_at: StopAt,
    killed: type[BaseException],
) -> None:
    batches = record(whole)["results"]["forward"]["batches"]
    for last in (batches // 2, batches - 5):
        stop_at(last)
        torch.manual_seed(last)
        with pytest.raises(killed):
            finetune(config(resume=True), quiet=True)
    trained = stop_at(-1)
    finetune(config(resume=True), quiet=True)
    assert set(trained) == {"language_model.backward"}
    assert_same(whole, tmp_path / "model")


def test_a_run_stopped_after_its_artefact_was_written_only_clears_up(
    config: Callable[..., FinetuneConfig],
    tmp_path: Path,
    stop_at: StopAt,
    killed_while_clearing_up: Callable[[Callable[[], Any]], None],
) -> None:
    killed_while_clearing_up(lambda: finetune(config(**BRIEF), quiet=True))
    trained = stop_at(-1)
    finetune(config(**BRIEF, resume=True), quiet=True)
    assert trained == [] and not (tmp_path / "model.run").exists()


@pytest.mark.parametrize("changed", ["text", "pretrained model"])
def test_a_resumed_run_refuses_other_text_and_another_model(
    config: Callable[..., FinetuneConfig],
    reviews: Path,
    tiny_model: Path,
    tmp_path: Path,
    stop_at: StopAt,
    killed: type[BaseException],
    changed: str,
) -> None:
    text, pretrained = tmp_path / "text.csv", tmp_path / "pretrained"
    shutil.copy(reviews, text)
    shutil.copytree(tiny_model, pretrained)
    given = {**BRIEF, "texts": (str(text),), "pretrained": str(pretrained)}
    stop_at(4)
    with pytest.raises(killed):
        finetune(config(**given), quiet=True)
    if changed == "text":
        text.write_text(text.read_text() + "one more,good\n")
    else:
        model = LanguageModel.from_pretrained(pretrained)
        model.network.head.bias.data += 1
        model.save_pretrained(pretrained, overwrite=True)
    with pytest.raises(ResumeError, match=f"the {changed} is not what it was when the run began"):
        finetune(config(**given, resume=True), quiet=True)


def test_kill_9(
    config: Callable[..., FinetuneConfig], whole: Path, tmp_path: Path, kill_at: KillAt
) -> None:
    batches = record(whole)["results"]["forward"]["batches"]
    assert kill_at(config(), batches + 10) == -signal.SIGKILL
    finetune(config(resume=True), quiet=True)
    assert_same(whole, tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_kill_9_at_random_steps(
    config: Callable[..., FinetuneConfig], whole: Path, tmp_path: Path, kill_at: KillAt, seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(3):
        assert kill_at(config(resume=True), rng.randrange(4, 20)) == -signal.SIGKILL
    assert kill_at(config(resume=True), 0) == 0
    assert_same(whole, tmp_path / "model")
