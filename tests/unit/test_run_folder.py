from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from ulmfit.config.artefact import ArtefactConfig
from ulmfit.config.stages import PretrainConfig, TokenizerStageConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.config.training import OptimizerConfig, TrainingConfig
from ulmfit.errors import ArtefactError, BusyError, DataError, ResumeError, UlmfitError
from ulmfit.models.folder import read_config, write_folder
from ulmfit.stages.run_folder import RunFolder

WEIGHTS = {"weight": torch.arange(3.0)}


def config(folder: Path, **settings: Any) -> PretrainConfig:
    given = {"texts": ("wiki.txt",), "output": str(folder / "model"), **settings}
    return PretrainConfig(**given)


def interrupt(
    settings: PretrainConfig, *, part: str | None = "forward", saving: bool = False
) -> None:
    """Begin a run that is killed after it has finished `part`, or while it writes its artefact."""
    run = RunFolder(settings, quiet=True)
    run.__enter__()
    if part:
        run.finish(part, WEIGHTS, {"loss": 1.5})
    if saving:
        assert run.may_replace() == settings.overwrite
    run._lock.release()


def put_artefact(folder: Path, label: str = "old") -> None:
    artefact = ArtefactConfig(kind="tokenizer", tokenizer=TokenizerConfig(), run={"label": label})
    write_folder(folder, artefact, {"tokenizer.json": b"{}"}, label, overwrite=True)


def label(folder: Path) -> str:
    found: str = read_config(folder).run["label"]
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


# Beginning and ending


def test_a_run_leaves_nothing_but_its_artefact(tmp_path: Path) -> None:
    with RunFolder(config(tmp_path / "new" / "folder"), quiet=True) as run:
        assert run.path == tmp_path / "new" / "folder" / "model.run" and run.path.is_dir()
        run.finish("forward", WEIGHTS, {})
        run.remove()
    assert names(tmp_path / "new" / "folder") == set()


def test_a_run_that_is_done_leaves_its_log(tmp_path: Path) -> None:
    (tmp_path / "model.log.jsonl").write_text("of an earlier run")
    with RunFolder(config(tmp_path), quiet=True) as run:
        run.log.write("finished", part="forward")
        run.close()
    assert names(tmp_path) == {"model.log.jsonl"}
    log = (tmp_path / "model.log.jsonl").read_text()
    assert json.loads(log)["event"] == "finished"


@pytest.mark.parametrize("taken", ["model.log.jsonl", "model.curves.png"])
def test_what_follows_the_artefact_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], taken: str
) -> None:
    (tmp_path / taken / "mine").mkdir(parents=True)
    with RunFolder(config(tmp_path)) as run:
        run.log.write("step", part="language_model.forward", batch=1, loss=2.0)
        run.close()
    assert f"warning: {tmp_path}/model.log.jsonl and its picture" in capsys.readouterr().err
    assert "model.run" not in names(tmp_path)


def test_a_line_of_the_log_that_was_not_written_whole_goes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder(config(tmp_path), quiet=True) as run:
        run.log.write("step", batch=1)
        run.checkpoint("forward").write_bytes(b"...")
        with (run.path / "log.jsonl").open("a") as log:
            log.write('{"event": "st')
        raise KeyboardInterrupt
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        run.log.write("step", batch=2)
        lines = (run.path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["batch"] for line in lines] == [1, 2]


def test_a_run_that_fails_before_anything_is_worth_keeping_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"), RunFolder(config(tmp_path), quiet=True):
        raise DataError("no such file")
    assert names(tmp_path) == set()
    with RunFolder(config(tmp_path), quiet=True):
        pass


def test_a_run_that_fails_later_keeps_its_work(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder(config(tmp_path), quiet=True) as run:
        run.checkpoint("forward").write_bytes(b"...")
        raise KeyboardInterrupt
    assert names(tmp_path) == {"model.run"}
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        assert run.checkpoint("forward").read_bytes() == b"..."


@pytest.mark.parametrize("name", ["tokenizer.json", "standard-input.txt"])
def test_what_an_interrupted_run_made_first_is_kept(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError), RunFolder(config(tmp_path), quiet=True) as run:
        (run.path / name).write_text("...")
        raise DataError("too little text")
    assert names(tmp_path) == set()
    full = OSError(errno.ENOSPC, "No space left on device")
    no_token_files = DataError("cannot write token files here")
    no_token_files.__cause__ = full
    no_checkpoint = UlmfitError("cannot write the checkpoint")
    no_checkpoint.__cause__ = SafetensorError("I/O error: (os error 28)")
    for number, stopped in enumerate((KeyboardInterrupt(), full, no_token_files, no_checkpoint)):
        folder = tmp_path / str(number)
        with (
            pytest.raises((KeyboardInterrupt, UlmfitError)),
            RunFolder(config(folder), quiet=True) as run,
        ):
            (run.path / name).write_text("...")
            raise stopped
        with RunFolder(config(folder, resume=True), quiet=True) as run:
            assert (run.path / name).read_text() == "..."


def test_finished_parts_are_kept_and_their_checkpoints_go(tmp_path: Path) -> None:
    with RunFolder(config(tmp_path), quiet=True) as run:
        assert run.finished("forward") is None
        run.checkpoint("forward").write_bytes(b"...")
        run.finish("forward", WEIGHTS, {"loss": float("nan"), "history": [{"loss": 2.0}]})
        assert not run.checkpoint("forward").exists()
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        done = run.finished("forward")
        assert done is not None and torch.equal(done[0]["weight"], WEIGHTS["weight"])
        assert done[1]["history"] == [{"loss": 2.0}]
        assert run.finished("backward") is None


def test_what_depends_on_the_machine_is_settled_once(tmp_path: Path) -> None:
    with RunFolder(config(tmp_path), quiet=True) as run:
        assert run.resolve_once("threads", lambda: 3) == 3
        assert run.resolve_once("threads", lambda: pytest.fail("asked")) == 3
        run.finish("forward", WEIGHTS, {})
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        assert run.resolve_once("threads", lambda: pytest.fail("asked")) == 3
        assert run.resolve_once("precision", lambda: "float32") == "float32"


def test_a_changed_input_is_refused(tmp_path: Path) -> None:
    interrupt(config(tmp_path))
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        run.check_unchanged("text", "1234")
        run.check_unchanged("text", "1234")
        with pytest.raises(ResumeError) as caught:
            run.check_unchanged("text", "5678")
    assert str(caught.value) == (
        f"{tmp_path / 'model.run'}: the text is not what it was when the run began; put it back, "
        "or discard the run with --overwrite"
    )


# Going on


def test_an_interrupted_run_is_not_thrown_away(tmp_path: Path) -> None:
    interrupt(config(tmp_path))
    with pytest.raises(ResumeError) as caught, RunFolder(config(tmp_path), quiet=True):
        pass
    assert str(caught.value) == (
        f"{tmp_path / 'model.run'}: holds an interrupted run; go on with --resume or discard it "
        "with --overwrite"
    )
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        assert run.finished("forward") is not None


def test_overwrite_discards_an_interrupted_run(tmp_path: Path) -> None:
    interrupt(config(tmp_path))
    with RunFolder(config(tmp_path, overwrite=True), quiet=True) as run:
        assert run.finished("forward") is None


def test_overwrite_and_resume_go_on(tmp_path: Path) -> None:
    interrupt(config(tmp_path))
    with RunFolder(config(tmp_path, overwrite=True, resume=True), quiet=True) as run:
        assert run.finished("forward") is not None


def test_resume_with_nothing_there_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunFolder(config(tmp_path, resume=True)) as run:
        assert run.finished("forward") is None
    assert capsys.readouterr().err == (
        f"{tmp_path / 'model.run'}: there is nothing to resume; starting from the beginning\n"
    )


@pytest.mark.parametrize(
    ("change", "name", "before", "now"),
    [
        ({"texts": ("other.txt",)}, "texts", "['wiki.txt']", "['other.txt']"),
        ({"training": TrainingConfig(seed=7)}, "training.batch_size", "32", "64"),
        (
            {
                "training": TrainingConfig(
                    batch_size=32,
                    optimizer=OptimizerConfig(
                        learning_rate=0.5, betas=(0.9, 0.99), discriminative_factor=1.0
                    ),
                )
            },
            "training.optimizer.learning_rate",
            "0.003",
            "0.5",
        ),
        ({"hidden_size": 8}, "hidden_size", "None", "8"),
    ],
)
def test_other_settings_are_refused_by_name(
    tmp_path: Path, change: dict[str, Any], name: str, before: str, now: str
) -> None:
    interrupt(config(tmp_path))
    settings = config(tmp_path, resume=True, **change)
    with pytest.raises(ResumeError) as caught, RunFolder(settings, quiet=True):
        pass
    assert str(caught.value) == (
        f"{tmp_path / 'model.run'}: the interrupted run has {name} = {before}, this one {now}; "
        "resume with the same settings, or discard it with --overwrite"
    )
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        assert run.finished("forward") is not None


def test_a_setting_newer_than_the_run_has_its_default_in_it(tmp_path: Path) -> None:
    interrupt(config(tmp_path))
    path = tmp_path / "model.run" / "settings.json"
    kept = json.loads(path.read_text())
    for name in ("sampled_words", "training.schedule.cycles"):
        del kept[name]
    path.write_text(json.dumps(kept))
    other = config(tmp_path, resume=True, sampled_words=100)
    with pytest.raises(ResumeError, match="has sampled_words = 0, this one 100"):
        RunFolder(other, quiet=True).__enter__()
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        assert run.finished("forward") is not None


def test_a_setting_that_is_no_longer_known_is_refused(tmp_path: Path) -> None:
    interrupt(config(tmp_path))
    path = tmp_path / "model.run" / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "gone": 3}))
    with pytest.raises(ResumeError, match="has gone = 3, this one None"):
        RunFolder(config(tmp_path, resume=True), quiet=True).__enter__()


def test_another_command_is_refused(tmp_path: Path) -> None:
    interrupt(config(tmp_path))
    other = TokenizerStageConfig(texts=("wiki.txt",), output=str(tmp_path / "model"), resume=True)
    with pytest.raises(ResumeError, match="command = 'PretrainConfig', this one 'TokenizerStage"):
        RunFolder(other, quiet=True).__enter__()


def test_how_it_is_called_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = config(tmp_path).training
    interrupt(config(tmp_path))
    monkeypatch.chdir(tmp_path)
    often = TrainingConfig(
        batch_size=training.batch_size,
        optimizer=training.optimizer,
        checkpoint_minutes=1.0,
        checkpoint_steps=5,
    )
    settings = PretrainConfig(
        texts=("wiki.txt",), output="model", cache="other", resume=True, training=often
    )
    with RunFolder(settings, quiet=True) as run:
        assert run.finished("forward") is not None


# The output


def test_an_artefact_is_not_replaced_unasked(tmp_path: Path) -> None:
    put_artefact(tmp_path / "model")
    with pytest.raises(ArtefactError, match="model: exists already; choose another output or over"):
        RunFolder(config(tmp_path), quiet=True).__enter__()
    assert names(tmp_path) == {"model"} and label(tmp_path / "model") == "old"


def test_an_empty_folder_may_be_the_output(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with RunFolder(config(tmp_path), quiet=True) as run:
        put_artefact(run.output)


def test_the_old_artefact_stays_until_the_new_one_is_there(tmp_path: Path) -> None:
    put_artefact(tmp_path / "model")
    with RunFolder(config(tmp_path, overwrite=True), quiet=True) as run:
        assert run.overwrite and label(run.output) == "old"
        run.finish("forward", WEIGHTS, {})
        assert label(run.output) == "old"
    assert label(tmp_path / "model") == "old"


@pytest.mark.parametrize("stranger", ["thesis.doc", None])
def test_what_is_not_an_artefact_is_refused_before_the_work(
    tmp_path: Path, stranger: str | None
) -> None:
    if stranger:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / stranger).write_text("mine")
    else:
        (tmp_path / "model").write_text("mine")
    with pytest.raises(ArtefactError, match="not a model folder, so it is not overwritten"):
        RunFolder(config(tmp_path, overwrite=True), quiet=True).__enter__()
    assert names(tmp_path) == {"model"}


def test_a_folder_of_the_users_own_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "model.run").mkdir()
    (tmp_path / "model.run" / "photo.jpg").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(
            ArtefactError, match=r"model\.run: is the run's folder but holds 'photo"
        ):
            RunFolder(config(tmp_path, overwrite=overwrite), quiet=True).__enter__()
    assert (tmp_path / "model.run" / "photo.jpg").read_text() == "mine"


def test_a_run_killed_after_its_artefact_was_written_is_finished_by_resume(tmp_path: Path) -> None:
    interrupt(config(tmp_path), saving=True)
    put_artefact(tmp_path / "model", "new")
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        assert run.finished("forward") is not None
        assert run.may_replace()
        run.remove()
    assert names(tmp_path) == {"model"}


def test_an_artefact_that_came_during_the_run_is_not_replaced_by_resume(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError), RunFolder(config(tmp_path), quiet=True) as run:
        run.finish("forward", WEIGHTS, {})
        put_artefact(tmp_path / "model", "another")
        run.may_replace()
    with pytest.raises(ArtefactError, match="exists already"):
        RunFolder(config(tmp_path, resume=True), quiet=True).__enter__()
    assert label(tmp_path / "model") == "another"


def test_another_artefact_that_stands_there_is_not_replaced_by_resume(tmp_path: Path) -> None:
    interrupt(config(tmp_path))
    put_artefact(tmp_path / "model", "of another run")
    with pytest.raises(ArtefactError, match="exists already"):
        RunFolder(config(tmp_path, resume=True), quiet=True).__enter__()
    assert label(tmp_path / "model") == "of another run"


@pytest.mark.parametrize("error", [DataError("no such file"), KeyboardInterrupt()])
def test_a_run_is_discarded_only_when_another_has_learned(
    tmp_path: Path, error: BaseException
) -> None:
    interrupt(config(tmp_path))
    other = config(tmp_path, overwrite=True, preset="base")
    with pytest.raises(type(error)), RunFolder(other, quiet=True) as run:
        assert run.finished("forward") is None
        raise error
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        assert run.finished("forward") is not None
    interrupt(other, part=None)  # killed before it had learned anything
    with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
        assert run.finished("forward") is not None
    interrupt(other)
    with RunFolder(config(tmp_path, resume=True, preset="base"), quiet=True) as run:
        assert run.finished("forward") is not None
        run.remove()
    assert names(tmp_path) == set()


@pytest.mark.parametrize("name", ["settings.json", "resolved.json"])
@pytest.mark.parametrize("content", ["[]", '{"half'])
def test_a_damaged_file_of_the_run_is_named(tmp_path: Path, name: str, content: str) -> None:
    interrupt(config(tmp_path))
    (tmp_path / "model.run" / name).write_text(content)
    with pytest.raises(ResumeError, match=rf"{name}: damaged, not JSON; discard the run with"):
        RunFolder(config(tmp_path, resume=True), quiet=True).__enter__()


def test_a_run_killed_while_it_cleaned_up_is_no_run(tmp_path: Path) -> None:
    interrupt(config(tmp_path))
    put_artefact(tmp_path / "model", "new")
    (tmp_path / "model.run" / "settings.json").unlink()
    with pytest.raises(ArtefactError, match="exists already"):
        RunFolder(config(tmp_path, resume=True), quiet=True).__enter__()
    with RunFolder(config(tmp_path, overwrite=True), quiet=True) as run:
        assert run.finished("forward") is None


def test_the_settings_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path) -> None:
        assert not (path / "settings.json").exists() and (path / "forward.finished").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("ulmfit.stages.run_folder.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt), RunFolder(config(tmp_path), quiet=True) as run:
        run.finish("forward", WEIGHTS, {})
        run.remove()


@pytest.mark.parametrize("output", [".", "/"])
def test_an_output_without_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ArtefactError, match=r"exists already|cannot be written"):
        RunFolder(PretrainConfig(texts=("wiki.txt",), output=output), quiet=True).__enter__()


# Places that cannot be written


@pytest.mark.parametrize("output", ["file/model", "file/deeper/model"])
def test_an_output_under_a_file_is_refused(tmp_path: Path, output: str) -> None:
    (tmp_path / "file").write_text("mine")
    settings = PretrainConfig(texts=("wiki.txt",), output=str(tmp_path / output))
    with pytest.raises(ArtefactError) as caught:
        RunFolder(settings, quiet=True).__enter__()
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / output}: cannot be written: ")
    assert message.endswith("; choose another --output") and "\n" not in message


def test_a_file_where_the_run_would_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.run").write_text("mine")
    with pytest.raises(ArtefactError, match=r"model\.run: cannot be written: Not a directory; ch"):
        RunFolder(config(tmp_path), quiet=True).__enter__()
    with RunFolder(PretrainConfig(texts=("a",), output=str(tmp_path / "other")), quiet=True):
        pass  # the lock of the refused one is free too


@pytest.mark.parametrize(
    ("number", "path"),
    [
        (errno.ENOSPC, None),
        (errno.EDQUOT, "elsewhere/token.bin"),
        (errno.EACCES, "model.run/forward.checkpoint"),
        (errno.ENOENT, "model.run"),
        (errno.EACCES, ".model.partial/config.json"),
        (errno.EACCES, "model"),
    ],
)
def test_a_full_disk_or_a_lost_folder_is_told(
    tmp_path: Path, number: int, path: str | None
) -> None:
    error = OSError(number, os.strerror(number))
    if path:
        error.filename = str(tmp_path / path)
    with pytest.raises(ArtefactError) as caught, RunFolder(config(tmp_path), quiet=True) as run:
        run.finish("forward", WEIGHTS, {})
        raise error
    assert str(caught.value) == (
        f"{tmp_path / 'model'}: cannot be written: {error}; make room for it, then go on with "
        "--resume"
    )


def test_an_artefact_that_could_not_be_written_is_told_with_the_way_to_go_on(
    tmp_path: Path,
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ArtefactError, match=r"No space left on device; make room .* --resume"):  # noqa: SIM117
        with RunFolder(config(tmp_path), quiet=True) as run:
            run.finish("forward", WEIGHTS, {})
            raise ArtefactError("model: cannot be written") from full
    assert names(tmp_path) == {"model.run"}


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "/data/wiki.txt"),
        PermissionError(errno.EACCES, "Permission denied", "model-data.csv"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        ConnectionResetError("reset"),
        TimeoutError(),
        ValueError("a bug"),
        DataError("wiki.txt, row 3: no text"),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_pass_as_they_are(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, RunFolder(config(tmp_path), quiet=True):
        raise error
    assert caught.value is error
    with RunFolder(config(tmp_path), quiet=True):
        pass


def test_an_error_while_entering_frees_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(config(tmp_path))
    (tmp_path / "model.run" / "settings.json").write_text("{")
    with pytest.raises(
        ResumeError, match=r"settings\.json: damaged, not JSON; discard the run with"
    ):
        RunFolder(config(tmp_path, resume=True), quiet=True).__enter__()
    with RunFolder(config(tmp_path, overwrite=True), quiet=True):
        pass


# Two processes

HOLD = """
import sys
from ulmfit.config.stages import PretrainConfig
from ulmfit.stages.run_folder import RunFolder

with RunFolder(PretrainConfig(texts=("wiki.txt",), output=sys.argv[1]), quiet=True) as run:
    run.checkpoint("forward").write_bytes(b"...")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_of_two_processes_one_is_refused(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "model")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert holder.stdout is not None and holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        for flags in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(BusyError) as caught:
                RunFolder(config(tmp_path, **flags), quiet=True).__enter__()
        assert str(caught.value) == (
            f"{tmp_path / 'model'}: another process is writing it; wait for it or choose another "
            "--output"
        )
        other = PretrainConfig(texts=("wiki.txt",), output=str(tmp_path / "other"))
        with RunFolder(other, quiet=True):
            pass
        holder.kill()
        holder.wait()
        with RunFolder(config(tmp_path, resume=True), quiet=True) as run:
            assert run.checkpoint("forward").exists()
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
