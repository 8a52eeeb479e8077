from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from ulmfit import __version__
from ulmfit.config.conversions import CalibrateConfig
from ulmfit.config.data import ValidationConfig
from ulmfit.config.stages import FinetuneConfig, PretrainConfig, TrainConfig
from ulmfit.data.token_store import TokenStore
from ulmfit.stages.record import describe_machine, describe_store, run_record


def test_settings_are_kept_without_folders(tmp_path: Path) -> None:
    config = TrainConfig(
        data=str(tmp_path / "secret" / "reviews.csv"),
        unlabelled=(str(tmp_path / "a" / "*.txt"), "b.txt"),
        pretrained=str(tmp_path),
        output=str(tmp_path / "model"),
        cache=str(tmp_path / "cache"),
        overwrite=True,
        validation=ValidationConfig(path=str(tmp_path / "secret" / "valid.csv")),
    )
    record = run_record(config, ["a line"], {"part": {"loss": 1.0}}, {"device": "cpu"})
    settings = record["settings"]
    assert settings["data"] == "reviews.csv" and settings["unlabelled"] == ["*.txt", "b.txt"]
    assert settings["validation"]["path"] == "valid.csv" and settings["pretrained"] == tmp_path.name
    assert settings["classifier"]["training"]["epochs"] == 10.0
    assert not {"output", "cache", "resume", "overwrite"} & settings.keys()
    assert str(tmp_path) not in json.dumps(record)
    assert record["data"] == ["a line"] and record["results"] == {"part": {"loss": 1.0}}
    assert record["resolved"] == {"device": "cpu"} and len(record["date"]) == 10


def test_a_model_is_kept_without_its_folder(tmp_path: Path) -> None:
    config = CalibrateConfig(model=str(tmp_path), data=str(tmp_path / "a.csv"), output="b")
    assert run_record(config, [], {}, {})["settings"]["model"] == tmp_path.name


@pytest.mark.parametrize("name", ["wikipedia-en-small", "owner/name"])
def test_a_model_that_is_no_folder_keeps_its_name(name: str) -> None:
    config = FinetuneConfig(texts=("a",), output="b", pretrained=name)
    assert run_record(config, [], {}, {})["settings"]["pretrained"] == name


def test_what_is_not_given_stays_null() -> None:
    settings = run_record(PretrainConfig(texts=("a",), output="b"), [], {}, {})["settings"]
    assert settings["validation"] is None and settings["tokenizer_folder"] is None
    assert settings["texts"] == ["a"]


def test_the_machine_is_told_with_its_versions() -> None:
    machine = describe_machine()
    for part in (platform.python_version(), torch.__version__, __version__, "threads"):
        assert part in machine
    assert "\n" not in machine


def test_a_store_is_described_by_its_totals() -> None:
    store = TokenStore(np.zeros(1234, np.uint16), np.array([0, 1000, 1234]), np.full((2, 2), 2500))
    line = describe_store("text", ["/a/one.csv", "two.txt"], store)
    assert line == "text: one.csv, two.txt: 2 documents, 1,234 tokens, 5,000 bytes"
