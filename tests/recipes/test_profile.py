"""Where the time goes, told of both stages; and how fast the machine is at each part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ulmfit.cli import main
from ulmfit.stages import profile

pytestmark = pytest.mark.recipes

SMALL = [
    *("--classifier.training.batch-size", "8", "--classifier.training.threads", "1"),
    *("--language-model.training.batch-size", "4", "--steps", "2"),
]


def test_the_parts_of_both_stages_are_told(
    reviews: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["profile", "--data", str(reviews), "--pretrained", str(tiny_model), *SMALL]
    assert main([*command, "--output", str(tmp_path / "profile.json")]) == 0
    told = capsys.readouterr().out
    assert "language model, 3 groups" in told and "classifier, 1 group " in told
    found = json.loads((tmp_path / "profile.json").read_text())
    stages = [(row["stage"], row["trainable"]) for row in found["steps"]]
    assert stages == [("language model", 3), *(("classifier", n) for n in (1, 2, 3, 4))]
    for row in found["steps"]:
        assert sum(row["shares"].values()) == pytest.approx(1.0, abs=1e-3)
        assert all(0 < share < 1 for share in row["shares"].values())
        assert row["tokens_per_second"] > 0 and row["gflops"] > 0
    assert found["evaluation"]["classifier"]["seconds"] > 0
    assert found["advice"] and all(f"- {line}" in told for line in found["advice"])
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]


def test_what_takes_long_is_told_with_the_setting_that_changes_it(
    reviews: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profile, "MUCH", dict.fromkeys(profile.MUCH, 0.0))
    command = ["profile", "--data", str(reviews), "--pretrained", str(tiny_model), *SMALL]
    assert main([*command, "--classifier.training.unfreezing", "full"]) == 0
    told = capsys.readouterr().out
    for setting in ("sampled-words 3000", "--language-model.training.batch-size", "evaluate-every"):
        assert setting in told
    assert main([*command, "--language-model.sampled-words", "50"]) == 0
    assert "sampled-words" not in capsys.readouterr().out


def test_a_file_for_a_training_is_taken_as_it_is(
    reviews: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "train.toml"
    file.write_text(
        f'data = "{reviews}"\npretrained = "{tiny_model}"\ndirections = "both"\n'
        "[self_training]\nrounds = 1\n[validation]\nfraction = 0.25\n"
    )
    command = ["--config", str(file), "--config", "few-labels", *SMALL]
    assert main(["profile", *command]) == 0
    told = capsys.readouterr().out  # the recipe holds nothing out, and freezes nothing
    assert "classifier, an evaluation: 0.00 s" in told and "classifier, 1 group " not in told
    assert main(["find-lr", *command, "--steps", "20"]) == 0
    file.write_text("[self_trainings]\nrounds = 1\n")
    assert main(["profile", *command]) == 2
    assert "unknown setting 'self_trainings'" in capsys.readouterr().err


def test_wrong_names_are_refused(
    reviews: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["profile", "--data", str(reviews), "--pretrained", str(tiny_model)]
    assert main([*command, "--output", "profile.txt"]) == 2
    assert "let its name end in .json" in capsys.readouterr().err


TINY = ("--embedding-size", "6", "--hidden-size", "8", "--layers", "2", "--vocab-size", "200")


def test_every_part_of_the_method_is_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--batch-size", "4", "--documents", "4", "--words", "30", "--bptt", "10")
    rounds = ("--steps", "1", "--rounds", "2", "--sampled-words", "50", "--threads", "1")
    command = ["bench", *TINY, *few, *rounds, "--output", str(tmp_path / "bench.json")]
    assert main(command) == 0
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["shape"] == [200, 6, 8, 2]
    assert found["products_gflops"]["float32"] > 0 and found["memory_gb_a_second"] > 0
    trained = [
        "language model",
        "language model, softmax over 50",
        "classifier, 1 group",
        *(f"classifier, {count} groups" for count in (2, 3, 4)),
    ]
    read = ["reading, documents", "reading, short texts", "reading, one document"]
    if "bfloat16" in found["products_gflops"]:  # the default of this machine
        read = [way for name in read for way in (name, f"{name}, bfloat16")]
    assert list(found["parts"]) == trained + read
    for name, part in found["parts"].items():
        speed = part["tokens_a_second"]
        assert 0 < speed["least"] <= speed["median"] <= speed["most"]
        assert part["tokens"] > 0 and 0 < part["share_of_products"] < 1
        assert name in told and f"{speed['median']:,.0f}" in told
    assert found["parts"]["language model"]["tokens"] == 4 * 10  # a step is batch_size * bptt


def test_a_sample_of_all_words_is_no_second_way(capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--batch-size", "2", "--documents", "2", "--words", "5", "--bptt", "5")
    assert main(["bench", *TINY, *few, "--steps", "1", "--rounds", "1"]) == 0
    assert "softmax" not in capsys.readouterr().out


def test_bench_refuses_what_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--output", "bench.txt"]) == 2
    assert "let its name end in .json" in capsys.readouterr().err
    assert main(["bench", "--precision", "float16", "--device", "cpu"]) == 2
    assert "float16 needs a GPU" in capsys.readouterr().err
