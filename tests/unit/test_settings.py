from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from ulmfit.config import stages
from ulmfit.config.settings import from_dict, load_file, read_values, recipes, to_dict
from ulmfit.config.stages import ClassifierStage, TrainConfig
from ulmfit.config.training import TrainingConfig
from ulmfit.errors import ConfigError

GIVEN = {
    "output": "out",
    "texts": ["a.txt", "b.txt"],
    "sources": ["a.pth"],
    "logs": ["a.log.jsonl"],
    "data": "data.csv",
    "model": "model",
    "models": ["forward", "backward"],
}
"""A value for every setting that some command requires."""

CLASSES = [
    value
    for value in vars(stages).values()
    if isinstance(value, type) and value.__module__ == stages.__name__
]


def required(cls: type) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    return {name: value for name, value in GIVEN.items() if name in names}


def error_of(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        from_dict(TrainConfig, {"output": "out", "data": "d.csv", **values}, "run.toml")
    return str(caught.value)


def nested(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_command_s_settings_survive_json(cls: type) -> None:
    config: Any = from_dict(cls, required(cls), "test")
    values = json.loads(json.dumps(to_dict(config)))
    assert set(values) == {f.name for f in fields(cls)}
    assert from_dict(cls, values, "test") == config


def test_values_other_than_the_defaults_survive_json() -> None:
    values: dict[str, Any] = {
        "unlabelled": ["a.txt"],
        "directions": "backward",
        "validation": {"fraction": 0.0, "column": "split"},
        "classifier": {
            "gradient_chunks": 4,
            "class_weights": {"spam": 2.0, "ham": 1.0},
            "head": {"hidden_sizes": [100, 50]},
            "training": {"epochs": 2.5, "optimizer": {"name": "sgd", "betas": [0.8, 0.9]}},
        },
        "storage": "int8",
    }
    config = from_dict(TrainConfig, {"output": "o", "data": "d", **values}, "test")
    assert config.classifier.gradient_chunks == 4
    assert config.classifier.class_weights == {"spam": 2.0, "ham": 1.0}
    assert config.classifier.head.hidden_sizes == (100, 50)
    assert config.classifier.training.optimizer.betas == (0.8, 0.9)
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config))), "test") == config


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("derections", "directions"),
        ("classifier.trainin", "training"),
        ("classifier.training.optimizer.leaning_rate", "learning_rate"),
        ("language_model.lanes.bppt", "bptt"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(path: str, nearest: str) -> None:
    assert error_of(nested(path, 1)) == (
        f"run.toml: unknown setting '{path}'; the nearest known one is '{nearest}'"
    )


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("classifier.training.epochs", 0, "greater than 0"),
        ("classifier.training.optimizer.learning_rate", -0.1, "greater than 0"),
        ("classifier.training.schedule.cut_frac", 1.0, "less than 1"),
        ("classifier.dropout.weight", 1.0, "less than 1"),
        ("language_model.lanes.bptt", 1, "greater than or equal to 2"),
        ("validation.fraction", 1.5, "less than 1"),
    ],
)
def test_a_value_out_of_range_is_refused(path: str, value: float, reason: str) -> None:
    message = error_of(nested(path, value))
    assert message == f"run.toml: setting '{path}': found {value!r}; input should be {reason}"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("classifier.training.epochs", "many", "a valid number"),
        ("classifier.training.seed", 1.5, "a valid integer"),
        ("classifier.training.keep_best", "perhaps", "a valid boolean"),
        ("directions", "sideways", "'forward', 'backward' or 'both'"),
        ("unlabelled", "one.txt", "input should be a list, its values in brackets"),
        ("unlabelled.1", ["one.txt", ""], "input should not be empty"),
        ("output", "", "input should not be empty"),
        ("unlabelled.1", ["one.txt", 3], "a valid string"),
        ("classifier.training", 3, "input should be settings by name"),
        ("data", None, "a valid string"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(path: str, value: Any, reason: str) -> None:
    given = path.removesuffix(".1")
    found = value[1] if path != given else value
    message = error_of(nested(given, value))
    assert message.startswith(f"run.toml: setting '{path}': found {found!r}; ")
    assert reason in message
    assert "\n" not in message


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(TrainConfig, {"output": "out"}, "run.toml")
    assert str(caught.value) == "run.toml: setting 'data' is required"
    assert caught.value.exit_code == 2


def test_a_mapping_given_in_python_leaves_its_neighbours_at_the_stage_s_defaults() -> None:
    values: dict[str, Any] = {"epochs": 20.0, "optimizer": {"weight_decay": 0.5}}
    for config in (
        TrainConfig(data="d.csv", output="out", classifier={"training": values}),  # type: ignore[arg-type]
        TrainConfig(
            data="d.csv",
            output="out",
            classifier=ClassifierStage(training=values),  # type: ignore[arg-type]
        ),
    ):
        found, default = config.classifier.training, ClassifierStage().training
        assert (found.epochs, found.optimizer.weight_decay) == (20.0, 0.5)
        assert (found.unfreezing, found.batch_size) == (default.unfreezing, default.batch_size)
        assert found.optimizer.learning_rate == default.optimizer.learning_rate
        assert found.batch_size != TrainingConfig().batch_size


def test_a_nested_setting_leaves_its_neighbours_at_the_stage_s_defaults() -> None:
    values = nested("training.optimizer.weight_decay", 0.5)
    training = from_dict(ClassifierStage, values, "test").training
    default = ClassifierStage().training
    assert training.optimizer.weight_decay == 0.5
    assert training.unfreezing == default.unfreezing == "gradual"
    assert training.epochs == default.epochs
    assert training.optimizer.learning_rate == default.optimizer.learning_rate


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="setting 'epochs'"):
        from_dict(TrainingConfig, {"epochs": value}, "test")


def test_settings_cannot_be_changed() -> None:
    config = TrainingConfig()
    with pytest.raises(FrozenInstanceError):
        config.epochs = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", '{"output": "é", "data": "d", "classifier": {"training": {"seed": 7}}}'),
        ("run.toml", 'output = "é"\ndata = "d"\n[classifier.training]\nseed = 7\n'),
    ],
)
def test_settings_are_read_from_json_and_toml(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    config = load_file(TrainConfig, path)
    assert (config.output, config.data, config.classifier.training.seed) == ("é", "d", 7)


def test_a_recipe_is_read_by_its_name(tmp_path: Path) -> None:
    assert "few-labels" in recipes()
    values = read_values("few-labels")
    assert values["validation"] == {"fraction": 0.0}
    with pytest.raises(ConfigError, match=r"^few: .* the shipped recipes are few-labels, few"):
        read_values("few")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("run.yaml", b"output: o", "a configuration file ends in .json or .toml"),
        ("run.json", b"{", "cannot read the configuration: "),
        ("run.toml", b"output = ", "cannot read the configuration: "),
        ("run.json", b'{"output": "\xff"}', "cannot read the configuration: "),
        ("run.json", b"[1]", "expected settings by name, found list"),
        ("run.json", b'{"output": "o"}', "setting 'data' is required"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_file(TrainConfig, path)
    assert str(caught.value).startswith(f"{path}: {reason}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot read the configuration: "):
        load_file(TrainConfig, tmp_path / "none.json")
