from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fake_hub import ServeHub, run_with_hub

from ulmfit.config.artefact import ArtefactConfig, Task
from ulmfit.config.text import TokenizerConfig
from ulmfit.errors import ArtefactError, BusyError
from ulmfit.models import folder as folders
from ulmfit.models.folder import read_config, resolve, write_folder

FILES = {"model.safetensors": bytes(range(256)) * 40, "tokenizer.json": b'{"model": 1}'}
CONFIG = ArtefactConfig(
    kind="text_classifier",
    tokenizer=TokenizerConfig(),
    task=Task(labels=("나쁨", "good")),
    run={"loss": 0.1 + 0.2, "rate": 1e-300, "path": "\udcff", "diverged": float("nan")},
)


def write(folder: Path, tokenizer: bytes = FILES["tokenizer.json"], **options: Any) -> Path:
    write_folder(folder, CONFIG, {**FILES, "tokenizer.json": tokenizer}, "# Card\n", **options)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "some" / "model")


def rewrite_config(model: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the configuration and give it the right checksum, as another writer would."""
    values = json.loads((model / "config.json").read_bytes())
    change(values)
    (model / "config.json").write_bytes(folders._render(values))


def test_thresholds_are_as_many_as_labels(model: Path) -> None:
    rewrite_config(model, lambda values: values["task"].update(thresholds=[0.5] * 9))
    with pytest.raises(ArtefactError, match=r"config\.json: 9 thresholds for \d labels"):
        read_config(model)


# Reading and writing


def test_what_is_written_is_read_back(model: Path) -> None:
    config = read_config(str(model))
    assert config.task == CONFIG.task
    assert config.run == {"loss": 0.1 + 0.2, "rate": 1e-300, "path": "\udcff", "diverged": None}
    assert {name: (model / name).read_bytes() for name in config.files} == FILES
    assert {name: record.bytes for name, record in config.files.items()} == {
        "model.safetensors": 10240,
        "tokenizer.json": 12,
    }
    assert (model / "README.md").read_text() == "# Card\n"


def test_the_configuration_can_be_read_by_people_and_by_any_json_reader(model: Path) -> None:
    text = (model / "config.json").read_text(encoding="utf-8")
    assert '"나쁨"' in text and "NaN" not in text
    assert list(json.loads(text))[-1] == "sha256"


def test_a_file_may_be_written_by_what_has_its_content(tmp_path: Path) -> None:
    def write_weights(path: Path) -> None:
        path.write_bytes(b"weights")

    write_folder(tmp_path / "model", CONFIG, {**FILES, "model.safetensors": write_weights}, "")
    assert read_config(tmp_path / "model").files["model.safetensors"].bytes == 7
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == b"weights"


def test_a_model_without_its_weights_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no valid record of the file 'model.safetensors'"):
        write_folder(tmp_path / "model", CONFIG, {"tokenizer.json": b"{}"}, "")
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / ".model.partial").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_what_the_system_refuses_to_write_leaves_the_old_model(
    model: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = (model / "config.json").read_bytes()

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ArtefactError) as caught:
        write(model, tokenizer=b"another", overwrite=True)
    assert str(caught.value) == (
        f"{model}: cannot be written: [Errno {number}] {os.strerror(number)}; "
        "make room or choose another folder"
    )
    assert (model / "config.json").read_bytes() == before
    assert {path.name for path in model.parent.iterdir()} == {"model", ".model.lock"}


# Damage


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(ArtefactError, match=f"{name}: missing; .*folder again"):
        read_config(model)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_truncated_file_is_named(model: Path, name: str, share: float) -> None:
    content = (model / name).read_bytes()
    (model / name).write_bytes(content[: int(share * (len(content) - 1))])
    with pytest.raises(ArtefactError, match=f"{name}: (truncated|altered)"):
        read_config(model)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("place", [0, 5, -1])
def test_a_file_altered_by_a_bit_is_named(model: Path, name: str, place: int) -> None:
    content = bytearray((model / name).read_bytes())
    content[place] ^= 1
    (model / name).write_bytes(content)
    with pytest.raises(ArtefactError, match=f"{name}: altered"):
        read_config(model)


def test_no_byte_of_the_configuration_is_free(model: Path) -> None:
    content = (model / "config.json").read_bytes()
    for place in range(0, len(content), 5):
        altered = bytearray(content)
        altered[place] ^= 1
        (model / "config.json").write_bytes(altered)
        with pytest.raises(ArtefactError, match=r"config\.json"):
            read_config(model)


def test_added_space_in_the_configuration_is_an_alteration(model: Path) -> None:
    with (model / "config.json").open("a") as file:
        file.write("\n")
    with pytest.raises(ArtefactError, match=r"config\.json: altered"):
        read_config(model)


def test_the_card_may_be_edited_or_missing(model: Path) -> None:
    (model / "README.md").write_text("mine")
    read_config(model)
    (model / "README.md").unlink()
    read_config(model)


def test_an_unknown_format_version_asks_for_an_upgrade(model: Path) -> None:
    rewrite_config(model, lambda values: values.update(format_version=2, brand_new=True))
    with pytest.raises(ArtefactError, match=r"config\.json: format version 2, .*upgrade ulmfit"):
        read_config(model)


def test_an_unknown_setting_is_refused(model: Path) -> None:
    rewrite_config(model, lambda values: values.update(bppt=70))
    with pytest.raises(ArtefactError, match=r"unknown setting 'bppt'.*'bptt'"):
        read_config(model)


@pytest.mark.parametrize("prefix", ["<b>", "../forward", "forward_", "sideways", ""])
def test_a_member_is_named_by_its_direction(model: Path, prefix: str) -> None:
    members = [{"direction": "forward", "prefix": prefix}]
    rewrite_config(model, lambda values: values.update(members=members))
    with pytest.raises(ArtefactError, match=r"config\.json: setting 'members.0.prefix': found "):
        read_config(model)


@pytest.mark.parametrize("name", ["../outside.json", "sub/file"])
def test_recorded_files_are_in_the_folder(model: Path, name: str) -> None:
    record = {"bytes": 0, "sha256": ""}
    rewrite_config(model, lambda values: values["files"].update({name: record}))
    with pytest.raises(ArtefactError, match=f"no valid record of the file '{name}'"):
        read_config(model)


def test_the_configuration_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ArtefactError, match="not the configuration of an ulmfit model"):
        read_config(tmp_path)


def test_a_folder_that_is_missing_or_a_file(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="none: no such model folder"):
        read_config(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(ArtefactError, match="file: is a file"):
        read_config(tmp_path / "file")


# Overwriting


def test_a_model_is_replaced_only_when_asked(model: Path) -> None:
    with pytest.raises(ArtefactError, match=r"exists already; .*overwrite"):
        write(model, b"new")
    assert (model / "tokenizer.json").read_bytes() == FILES["tokenizer.json"]
    write(model, b"new", overwrite=True)
    read_config(model)
    assert (model / "tokenizer.json").read_bytes() == b"new"
    assert {path.name for path in model.parent.iterdir()} <= {"model", ".model.lock"}


def test_a_damaged_model_can_be_replaced(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    write(model, b"new", overwrite=True)
    read_config(model)


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    read_config(write(tmp_path / "model"))


@pytest.mark.parametrize(
    ("name", "content"), [("config.json", '{"model_type": "bert"}'), ("thesis.txt", "years of it")]
)
def test_what_is_not_a_model_is_never_deleted(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ArtefactError, match="not a model folder, so it is not overwritten"):
        write(tmp_path, overwrite=True)
    assert (tmp_path / name).read_text() == content


def test_a_record_of_files_that_is_none_is_no_reason_to_fail(model: Path) -> None:
    rewrite_config(model, lambda values: values.update(files=["abc"]))
    read_config(write(model, overwrite=True))


def test_a_model_with_a_file_of_the_users_in_it_is_not_deleted(model: Path) -> None:
    (model / "notes.txt").write_text("years of it")
    with pytest.raises(ArtefactError, match=r"holds 'notes\.txt', .*move that file away"):
        write(model, overwrite=True)
    assert (model / "notes.txt").read_text() == "years of it"


def test_a_file_in_the_place_of_the_folder_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("mine")
    with pytest.raises(ArtefactError, match="not a model folder"):
        write(tmp_path / "model", overwrite=True)
    assert (tmp_path / "model").read_text() == "mine"


def _write_and_die_before_call(folder: Path, call: int) -> None:
    """Overwrite `folder`, ending the process where the `call`th change of the disk would be."""
    left = iter(range(call))

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if next(left, None) is None:
                os._exit(9)
            return function(*args, **kwargs)

        return wrapper

    for module, name in [(os, "replace"), (os, "fsync"), (os, "mkdir"), (shutil, "rmtree")]:
        setattr(module, name, dying(getattr(module, name)))
    write(folder, b"new", overwrite=True)
    os._exit(0)


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_a_killed_write_leaves_the_old_model_or_the_new_one(tmp_path: Path) -> None:
    found, context = [], multiprocessing.get_context("fork")
    for call in range(100):
        model = write(tmp_path / f"model-{call}")
        process = context.Process(target=_write_and_die_before_call, args=(model, call))
        process.start()
        process.join()
        read_config(model)
        found.append((model / "tokenizer.json").read_bytes())
        write(model, b"newer", overwrite=True)
        read_config(model)
        assert not {path.name for path in tmp_path.iterdir() if "." in path.name} - {
            f".model-{each}.lock" for each in range(call + 1)
        }
        if process.exitcode == 0:
            break
    assert process.exitcode == 0 and call > 5
    assert found == sorted(found, reverse=True), "once new, always new"
    assert set(found) == {b"new", FILES["tokenizer.json"]}


def test_two_writers_do_not_meet(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_PATIENCE", 0.01)
    with folders._locked(model.resolve()), pytest.raises(BusyError, match="another process"):
        write(model, overwrite=True)


# Finding


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folders, "SHIPPED", tmp_path / "pretrained")
    return write(tmp_path / "pretrained" / "wikipedia-en-small")


def test_a_shipped_model_is_found_by_name(shipped: Path) -> None:
    assert resolve("wikipedia-en-small") == shipped


def test_a_folder_is_found_by_path(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(model) == model
    monkeypatch.chdir(model.parent.parent)
    assert resolve("some/model") == Path("some/model")


def test_a_wrong_name_gets_the_nearest_and_all_others(shipped: Path) -> None:
    with pytest.raises(ArtefactError) as caught:
        resolve("wikipedia-en-smal")
    assert str(caught.value) == (
        "wikipedia-en-smal: no such model folder; did you mean 'wikipedia-en-small'? "
        "shipped models: wikipedia-en-small; or OWNER/NAME on the hub"
    )


def test_a_folder_has_no_revisions(model: Path) -> None:
    with pytest.raises(ArtefactError, match="only a model on the hub, OWNER/NAME, has revisions"):
        resolve(model, revision="main")


@pytest.fixture
def hub(model: Path, serve_hub: ServeHub) -> tuple[str, list[str]]:
    """Serve `model` as me/mine, a pickle beside its files; give address and what was asked."""
    content = {path.name: path.read_bytes() for path in model.iterdir()}
    return serve_hub({"models/me/mine": {**content, "evil.bin": b"pickle", "evil/evil.onnx": b"x"}})


def run_resolve(name: str, revision: str, endpoint: str, home: Path) -> str:
    """Return what a process of its own prints: the hub's address is read when it is imported."""
    code = (
        "import sys; from ulmfit.errors import ArtefactError\n"
        "from ulmfit.models.folder import read_config, resolve\n"
        "try:\n    folder = resolve(*sys.argv[1:]); read_config(folder); print(folder)\n"
        "except ArtefactError as error: print('refused', error)"
    )
    return run_with_hub(endpoint, home, "-c", code, name, revision).stdout.strip()


def test_a_model_is_downloaded_from_the_hub(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    endpoint, asked = hub
    folder = Path(run_resolve("me/mine", "v1", endpoint, tmp_path))
    assert {path.name for path in folder.iterdir()} == {"config.json", "README.md", *FILES}
    assert not any("evil" in line for line in asked)


def test_what_the_hub_does_not_have_is_named(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    answer = run_resolve("me/none", "v1", hub[0], tmp_path)
    assert answer.startswith("refused me/none: no such folder here, and not to be had from the hub")
