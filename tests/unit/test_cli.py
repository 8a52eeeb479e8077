from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, TextIO, get_type_hints

import pytest

from ulmfit import __version__, cli
from ulmfit.cli import COMMANDS, main, settings_of
from ulmfit.config.questions import GenerateConfig, PredictConfig
from ulmfit.config.settings import descriptions
from ulmfit.config.stages import TrainConfig
from ulmfit.errors import (
    ArtefactError,
    BusyError,
    ConfigError,
    DataError,
    ResumeError,
    TrainingError,
    UlmfitError,
)

GIVEN = {
    "tokenizer": ["--output", "out", "--texts", "a.txt"],
    "pretrain": ["--output", "out", "--texts", "a.txt"],
    "transfer": ["--output", "out", "--texts", "a.txt"],
    "finetune": ["--output", "out", "--texts", "a.txt"],
    "train": ["--output", "out", "--data", "d.csv"],
    "join": ["--models", "a", "--output", "out"],
    "calibrate": ["--model", "m", "--data", "a.csv", "--output", "out"],
    "find-lr": ["--data", "a.csv"],
    "profile": ["--data", "a.csv"],
    "bench": [],
    "report": ["--model", "m", "--data", "d.csv", "--output", "r.html"],
    "visualize": ["--model", "m", "--data", "d.csv", "--output", "v.html"],
    "explain": ["--model", "m", "--text", "a text"],
    "evaluate": ["--model", "m", "--data", "d.csv"],
    "predict": ["--model", "m"],
    "generate": ["--model", "m"],
    "convert": ["--sources", "a.txt", "--output", "out"],
    "curves": ["--logs", "a.txt"],
    "inspect": ["--model", "m"],
}
"""What each command cannot do without."""

Stage = Callable[..., object]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, bool]]:
    """The configurations that the commands are called with, and whether quietly."""
    made: list[tuple[Any, bool]] = []
    install(monkeypatch, lambda config, *, quiet: made.append((config, quiet)))
    return made


def install(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> None:
    """Let `stage` carry out every command."""
    module = ModuleType("stand_in")
    module.stage = stage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stand_in", module)
    for name, (config, _) in COMMANDS.items():
        monkeypatch.setitem(COMMANDS, name, (config, "stand_in:stage"))


def raising(error: BaseException) -> Stage:
    def stage(config: object, *, quiet: bool) -> None:
        raise error

    return stage


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(arguments)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("ulmfit: error: ") and printed.err.count("\n") == 1
    return code, printed.err.removeprefix("ulmfit: error: ").rstrip("\n")


def python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Help


def test_the_overview_tells_of_every_command_and_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in COMMANDS:
        summary = str(settings_of(name).__doc__).splitlines()[0]
        assert f"  {name:<11}{summary}\n" in shown
    for kind in UlmfitError.__subclasses__():
        assert f"\n  {kind.exit_code}    {kind.__doc__}" in shown


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ulmfit {__version__}\n"


def every_option(cls: Any, prefix: str = "--") -> list[str]:
    found = ["--config", "--quiet"]
    for name, hint in get_type_hints(cls).items():
        option = prefix + name.replace("_", "-")
        found += every_option(hint, f"{option}.") if is_dataclass(hint) else [option]
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_setting_with_its_meaning(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0
    words = set(shown.replace(",", " ").split())
    assert not set(every_option(settings_of(command))) - words
    flowing = " ".join(shown.replace("│", " ").split())
    for meaning in descriptions(settings_of(command)).values():
        assert meaning in flowing


def test_help_shows_the_default_that_holds_at_that_place(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    flowing = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "ends within a pass. (default: 5.0)" in flowing  # the language model's
    assert "ends within a pass. (default: 10.0)" in flowing  # the classifier's
    assert "with a sub-folder a class. (required)" in flowing


def test_help_imports_no_torch_and_no_stage() -> None:
    code = (
        "import sys\n"
        "from ulmfit.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'pyarrow', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert not [m for m in sys.modules if m.startswith('ulmfit.stages')]\n"
    )
    assert "commands:" in python("-c", code, "--help")
    assert "--classifier.training.epochs" in python("-c", code, "train", "--help")


def test_the_package_is_a_command_too() -> None:
    assert python("-m", "ulmfit", "--version") == f"ulmfit {__version__}\n"


# Settings


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_not_given_keeps_its_default(command: str, calls: list[tuple[Any, bool]]) -> None:
    assert main([command, *GIVEN[command]]) == 0
    cls = settings_of(command)
    options = dict(zip(GIVEN[command][::2], GIVEN[command][1::2], strict=True))
    named: dict[str, Any] = {name.removeprefix("--"): value for name, value in options.items()}
    for several in named.keys() & {"texts", "models", "sources", "logs", "text"}:
        named[several] = (named[several],)
    assert calls == [(cls(**named), False)]


def test_sources_may_stand_in_front(calls: list[tuple[Any, bool]]) -> None:
    assert main(["convert", "a.pth", "b.pth", "--vocab", "v.pkl", "--output", "out"]) == 0
    assert calls[0][0].sources == ("a.pth", "b.pth") and calls[0][0].vocab == "v.pkl"


def test_values_of_every_type(calls: list[tuple[Any, bool]]) -> None:
    line = (
        "train --output o --data d --unlabelled a.txt b.txt --quiet --resume "
        "--classifier.training.epochs 2.5 --classifier.training.no-keep-best "
        "--classifier.training.optimizer.betas 0.8 0.9 --language-model.lanes.bptt=30 "
        "--classifier.gradient_chunks 4 --classifier.class-weights spam=2 a=b=0.5 "
        "--validation.path v.csv --storage int8"
    )
    assert main(line.split()) == 0
    ((config, quiet),) = calls
    assert isinstance(config, TrainConfig)
    assert quiet and config.resume and not config.overwrite
    assert config.unlabelled == ("a.txt", "b.txt")
    training = config.classifier.training
    assert (training.epochs, training.keep_best, training.batch_size) == (2.5, False, 32)
    assert training.optimizer.betas == (0.8, 0.9)
    assert training.optimizer.learning_rate == 1e-2
    assert config.language_model.lanes.bptt == 30
    assert config.classifier.gradient_chunks == 4
    assert config.classifier.class_weights == {"spam": 2.0, "a=b": 0.5}
    assert (config.validation.path, config.storage) == ("v.csv", "int8")


def test_either_type_of_a_setting_of_two(calls: list[tuple[Any, bool]]) -> None:
    assert main(["train", *GIVEN["train"], "--classifier.class-weights", "balanced"]) == 0
    assert calls[0][0].classifier.class_weights == "balanced"
    assert calls[0][0].classifier.gradient_chunks == "auto"


@pytest.mark.parametrize("between", [" ", "="])
def test_values_of_one_option_stand_together(
    capsys: pytest.CaptureFixture[str], calls: list[tuple[Any, bool]], between: str
) -> None:
    twice = [word for text in "ab" for word in f"--unlabelled{between}{text}.txt".split()]
    code, message = error_of(capsys, "train", *GIVEN["train"], *twice)
    assert code == 2
    assert message == "train: --unlabelled is given twice; give all its values behind one"
    again = f"--data{between}b.csv".split()
    code, message = error_of(capsys, "train", *GIVEN["train"], *again)
    assert (code, message) == (2, "train: --data is given twice; give one")
    once = ["--classifier.bptt", "30", "--classifier.bptt", "40"]  # the later one counts
    assert main(["train", *GIVEN["train"], *once]) == 0
    assert calls[0][0].classifier.bptt == 40


def test_control_characters_do_not_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stage(config: object, *, quiet: bool) -> str:
        return "a\tb\n\x1b]0;owned\x07\x9b"

    install(monkeypatch, stage)
    assert main(["inspect", *GIVEN["inspect"]]) == 0
    assert capsys.readouterr().out == "a\tb\n\u241b]0;owned\u2407\ufffd\n"


@pytest.mark.parametrize("names", ["toxic", "toxic rude", "a=1 b=2"])
def test_one_name_or_several_where_there_may_be_none(
    names: str, calls: list[tuple[Any, bool]]
) -> None:
    given = ["--reading.label-columns", *names.split()]
    assert main(["train", *GIVEN["train"], *given]) == 0
    assert calls[0][0].reading.label_columns == tuple(names.split())


@pytest.mark.parametrize("prompt", ["-", "-5", "-x", "- an item", "a=b", "", "한국어 🙂", "\udcff"])
def test_a_text_may_begin_with_a_dash(prompt: str, calls: list[tuple[Any, bool]]) -> None:
    assert main(["generate", "--model", "m", "--prompt", prompt, "--tokens", "3"]) == 0
    assert calls == [(GenerateConfig(model="m", prompt=prompt, tokens=3), False)]


def test_a_text_that_looks_like_an_option_is_given_with_an_equals_sign(
    calls: list[tuple[Any, bool]],
) -> None:
    assert main(["generate", "--model=m", "--prompt=--tokens"]) == 0
    assert calls == [(GenerateConfig(model="m", prompt="--tokens"), False)]


def test_the_command_line_overrides_the_file_and_the_file_the_defaults(
    tmp_path: Path, calls: list[tuple[Any, bool]]
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'output = "in file"\ndata = "d.csv"\nunlabelled = ["a", "b"]\n'
        "[classifier]\nbptt = 40\nclass_weights = {a = 2.0, b = 3.0}\n"
        "[classifier.training]\nepochs = 7\nseed = 3\n"
    )
    arguments = "--output here --classifier.training.epochs 8 --classifier.class-weights a=9"
    assert main(["train", "--config", str(path), *arguments.split()]) == 0
    config = calls[0][0]
    assert (config.output, config.data, config.unlabelled) == ("here", "d.csv", ("a", "b"))
    training = config.classifier.training
    assert (training.epochs, training.seed, training.batch_size) == (8.0, 3, 32)
    assert (config.classifier.bptt, config.classifier.class_weights) == (40, {"a": 9.0})


def test_a_later_file_lies_over_an_earlier_one(
    tmp_path: Path, calls: list[tuple[Any, bool]]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[reading]\nlabel_column = "team"\n'
        "[classifier]\nbptt = 40\nlabel_smoothing = 0.3\n[validation]\nfraction = 0.2\n"
    )
    words = ["train", "--data", "d.csv", "--output", "m"]
    mine, recipe = ["--config", str(path)], ["--config=few-labels"]
    assert main([*words, *mine, *recipe]) == 0
    assert main([*words, *recipe, *mine]) == 0
    (recipe_on_top, _), (mine_on_top, _) = calls
    for config in (recipe_on_top, mine_on_top):
        assert config.reading.label_column == "team"
        assert config.classifier.bptt == 40
        assert config.classifier.training.unfreezing == "full"
    assert (recipe_on_top.validation.fraction, mine_on_top.validation.fraction) == (0.0, 0.2)
    smoothing = [config.classifier.label_smoothing for config in (recipe_on_top, mine_on_top)]
    assert smoothing == [0.1, 0.3]


def test_a_file_of_all_settings_is_a_command_line(
    tmp_path: Path, calls: list[tuple[Any, bool]]
) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"model": "m", "reading": {"text_columns": ["title", "body"]}}')
    assert main(["predict", "--config", str(path)]) == 0
    assert calls[0][0].reading.text_columns == ("title", "body")


# Failures: one line, and a code that says of what kind


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "a command is needed; `ulmfit --help` lists them"),
        ("trian", "unknown command 'trian'; the nearest is 'train'"),
        ("train", "train: needs --output and --data; see `ulmfit train --help`"),
        ("pretrain --output o", "pretrain: needs --texts; see `ulmfit pretrain --help`"),
        (
            "predict --modle m",
            "predict: unknown option '--modle'; the nearest is '--model'",
        ),
        (
            "train --output o --data d --classifier.training.epoch 3",
            "train: unknown option '--classifier.training.epoch'; the nearest is "
            "'--classifier.training.epochs'",
        ),
        (
            "train --output o --data d --learning-rate 3",
            "train: unknown option '--learning-rate'; the nearest is "
            "'--language-model.training.optimizer.learning-rate'",
        ),
        (
            "predict m",
            "predict: unexpected argument 'm'; each value stands behind its option",
        ),
        ("predict --model", "predict: --model needs a value"),
        ("predict --model --quiet", "predict: --model needs a value"),
        (
            "predict --model --modle",
            "predict: --model needs a value; if '--modle' is one, write --model=--modle",
        ),
        (
            "train --output o --data d --classifier.training.epochs -1",
            "train: setting 'classifier.training.epochs': found '-1'; "
            "input should be greater than 0",
        ),
        (
            "train --output o --data d --language-model.lanes.bptt 1",
            "train: setting 'language_model.lanes.bptt': found '1'; "
            "input should be greater than or equal to 2",
        ),
        (
            "train --output o --data d --classifier.gradient-chunks few",
            "train: setting 'classifier.gradient_chunks': found 'few'; input should be a valid "
            "integer, unable to parse string as an integer or 'auto'",
        ),
        (
            "train --output o --data d --reading.label-separator=",
            "train: setting 'reading.label_separator': found ''; input should not be empty",
        ),
        (
            "curves --logs --output c.png",
            "curves: setting 'logs': found []; tuple should have at least 1 item after validation, "
            "not 0",
        ),
        (
            "train --output o --data d --classifier.class-weights balance",
            "train: setting 'classifier.class_weights': found 'balance'; "
            "input should be values by name or 'none' or 'balanced'",
        ),
        (
            "generate --model m --top-p nan",
            "generate: setting 'top_p': found 'nan'; input should be a finite number",
        ),
        (
            "finetune --output o --texts t --directions up",
            "finetune: setting 'directions': found 'up'; "
            "input should be 'forward', 'backward' or 'both'",
        ),
    ],
)
def test_a_wrong_command_line_exits_with_2(
    line: str, message: str, capsys: pytest.CaptureFixture[str], calls: list[tuple[Any, bool]]
) -> None:
    assert error_of(capsys, *line.split()) == (2, message)
    assert calls == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "modle = 'm'\n",
            "unknown setting 'modle'; the nearest known one is 'model'",
        ),
        (
            "reading = {strct = true}\n",
            "unknown setting 'reading.strct'; the nearest known one is 'strict'",
        ),
        (
            "token_budget = 0\n",
            "setting 'token_budget': found 0; input should be greater than or equal to 1",
        ),
        (
            "reading = 3\n",
            "setting 'reading': found 3; input should be settings by name",
        ),
    ],
)
def test_a_wrong_file_is_named_whatever_the_command_line_says(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    code, found = error_of(
        capsys, "predict", "--config", str(path), "--token-budget", "5", "--reading.strict"
    )
    assert code == 2
    assert found.startswith(f"{path}: {message}")
    assert error_of(capsys, "predict", "--config", str(path))[1] == found


@pytest.mark.parametrize(
    "kind",
    [ConfigError, DataError, ArtefactError, BusyError, ResumeError, TrainingError, UlmfitError],
)
def test_an_error_of_the_user_s_is_one_line_and_its_class_s_code(
    kind: type[UlmfitError], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, raising(kind("a.csv, row 3: what is wrong; what to do")))
    message = "a.csv, row 3: what is wrong; what to do"
    assert error_of(capsys, "predict", "--model", "m") == (kind.exit_code, message)


def test_the_exit_codes_are_these() -> None:
    kinds = [ConfigError, DataError, ArtefactError, BusyError, ResumeError, TrainingError]
    assert [kind.exit_code for kind in kinds] == [2, 3, 4, 5, 6, 7]
    assert sorted(cli.exit_codes()) == [0, 1, 2, 3, 4, 5, 6, 7, 130, 141, 143]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "a.csv"), "a.csv: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_what_the_system_refuses_exits_with_1(
    error: OSError,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, raising(error))
    assert error_of(capsys, "predict", "--model", "m") == (1, message)


def test_an_error_is_one_line_whatever_is_in_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, message = error_of(capsys, "predict", "--model", "a\nb\x1b[31m", "--data", "새")
    assert (code, message[:16]) == (4, r"a\nb\x1b[31m: no")


def test_an_interrupted_training_tells_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    install(monkeypatch, raising(KeyboardInterrupt()))
    assert error_of(capsys, "train", *GIVEN["train"]) == (130, "interrupted")
    Path("out.run").mkdir()
    message = "interrupted; go on with the same command and --resume"
    assert error_of(capsys, "train", *GIVEN["train"]) == (130, message)
    assert error_of(capsys, "predict", *GIVEN["predict"]) == (130, "interrupted")


def test_a_terminated_command_cleans_up_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stage(config: object, *, quiet: bool) -> None:
        with TemporaryDirectory(dir=tmp_path):
            signal.raise_signal(signal.SIGTERM)

    install(monkeypatch, stage)
    assert error_of(capsys, "predict", *GIVEN["predict"]) == (143, "interrupted")
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_program_s_own_answer_to_sigterm_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    found = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    install(monkeypatch, lambda config, *, quiet: signal.raise_signal(signal.SIGTERM))
    try:
        assert main(["predict", *GIVEN["predict"]]) == 0
    finally:
        signal.signal(signal.SIGTERM, found)
    assert heard == [signal.SIGTERM]


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_waiting_threads_sleep_soon_unless_the_environment_says_otherwise(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "to be put back")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen: list[str | None] = []

    def stage(config: object, *, quiet: bool) -> None:
        seen.append(os.environ.get("GOMP_SPINCOUNT"))

    install(monkeypatch, stage)
    assert main(["predict", *GIVEN["predict"]]) == 0
    assert seen == [expected]


def test_a_package_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, raising(ModuleNotFoundError("none", name="a_package_of_nobody")))
    code, found = error_of(capsys, "evaluate", "--model", "m", "--data", "d.csv")
    assert code == 2
    assert found == (
        "evaluate: needs the package 'a_package_of_nobody', which is not installed; install ulmfit "
        "with all that it depends on"
    )


@pytest.mark.parametrize("name", [None, "ulmfit", "ulmfit.none", "numpy.gone"])
def test_a_module_that_is_not_where_it_should_be_is_a_bug(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, raising(ModuleNotFoundError("a bug", name=name)))
    with pytest.raises(ModuleNotFoundError):
        main(["predict", "--model", "m"])


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, raising(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        main(["predict", "--model", "m"])


@pytest.mark.skipif(os.name != "posix", reason="pipes are closed otherwise elsewhere")
def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import sys; from types import ModuleType; from ulmfit import cli\n"
        "module = sys.modules['stand_in'] = ModuleType('stand_in')\n"
        "module.stage = lambda config, quiet: '한국어\\n' * 1_000_000\n"
        "cli.COMMANDS['predict'] = ('questions:PredictConfig', 'stand_in:stage')\n"
        "sys.exit(cli.main(['predict', '--model', 'm']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().decode() == "한국어\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_is_closed_is_no_error(
    monkeypatch: pytest.MonkeyPatch, closed_pipe: TextIO, stream: str
) -> None:
    monkeypatch.setattr(sys, stream, None if stream == "stdout" else closed_pipe)
    install(monkeypatch, lambda config, quiet: "done")
    assert main(["predict", "--model", "m"]) == 0
    assert main(["predict"]) == 2


@pytest.mark.parametrize("command", ["evaluate", "explain"])
def test_a_file_of_settings_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"model": "m", "data": "d.csv", "output": str(path)}))
    code, message = error_of(capsys, command, "--config", str(path))
    assert code == 2
    assert message == (
        f"setting 'output': {path} would be written over {path}, which is read; give another name"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --config wikipedia-small", "is a recipe for `ulmfit pretrain`"),
        ("pretrain --config few-labels --texts a", "is a recipe for `ulmfit train`"),
        ("predict --model m --data=", "setting 'data': found ''; input should not be empty"),
        ("explain --model m --text -hello", "if it is a value, write it as in --text=-hello"),
    ],
)
def test_what_to_do_is_told(
    capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    code, said = error_of(capsys, *arguments.split(), *["--output", "o"])
    assert code == 2 and said.endswith(message)


def test_settings_nested_without_end_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    code, message = error_of(capsys, "train", "--config", str(path))
    assert code == 2 and message.startswith(f"{path}: cannot read the configuration: ")


def test_what_the_terminal_cannot_show_is_escaped() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "ulmfit", "한국어"], capture_output=True, env=environment
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(rb"ulmfit: error: unknown command '\ud55c\uad6d\uc5b4'")


def test_predict_s_settings_are_all_options() -> None:
    assert "--format" in every_option(PredictConfig)
