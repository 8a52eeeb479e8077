"""The command `ulmfit`: one sub-command a stage, its options made from the stage's settings.

A failure that is the user's to mend ends in one line on standard error, `ulmfit: error: ...`, and
in the exit code of its class in `errors`; `exit_codes` lists them all.
"""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from ulmfit import __doc__ as about
from ulmfit import __version__
from ulmfit.errors import ConfigError, UlmfitError
from ulmfit.training.interrupt import Terminated, terminable

COMMANDS = {
    "tokenizer": ("stages:TokenizerStageConfig", "ulmfit.stages.tokenizer:train_tokenizer"),
    "pretrain": ("stages:PretrainConfig", "ulmfit.stages.pretrain:pretrain"),
    "transfer": ("conversions:TransferConfig", "ulmfit.stages.transfer:transfer"),
    "finetune": ("stages:FinetuneConfig", "ulmfit.stages.finetune:finetune"),
    "find-lr": ("trials:FindRateConfig", "ulmfit.stages.find_rate:find_rate"),
    "profile": ("trials:ProfileConfig", "ulmfit.stages.profile:profile_training"),
    "bench": ("trials:BenchConfig", "ulmfit.stages.bench:bench"),
    "train": ("stages:TrainConfig", "ulmfit.stages.train:train"),
    "join": ("conversions:JoinConfig", "ulmfit.stages.join:join"),
    "calibrate": ("conversions:CalibrateConfig", "ulmfit.stages.calibrate:calibrate"),
    "evaluate": ("questions:EvaluateConfig", "ulmfit.stages.evaluate:evaluate"),
    "report": ("questions:ReportConfig", "ulmfit.stages.report:report"),
    "predict": ("questions:PredictConfig", "ulmfit.stages.predict:predict"),
    "explain": ("questions:ExplainConfig", "ulmfit.stages.explain:explain"),
    "visualize": ("questions:VisualizeConfig", "ulmfit.stages.visualize:visualize"),
    "generate": ("questions:GenerateConfig", "ulmfit.stages.generate:generate"),
    "convert": ("conversions:ConvertConfig", "ulmfit.interop.convert:convert"),
    "curves": ("questions:CurvesConfig", "ulmfit.stages.curves:curves"),
    "inspect": ("questions:InspectConfig", "ulmfit.stages.inspect:inspect"),
}
"""Settings of each command, a class below `config`, and the function that carries it out.

Its module, and PyTorch with it, is imported when the command runs, not before.
"""

SPINS = "1000"
"""Turns for which a waiting thread of libgomp holds its core before it sleeps.

By default they are 300,000: threads that wait for one another hold the cores another process needs,
and two trainings side by side are together less than half as fast (`benchmarks/LOG.md`).
"""

INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143
"""Exit codes as shells give them: 128 and the number of the signal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line `arguments` (default: the process's own); return the exit code."""
    _print_any_character()
    try:
        with terminable():
            _run(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
    except UlmfitError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt as interrupt:
        code = TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED
        return _fail("; ".join(["interrupted", *interrupt.args]), code)
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except OSError as error:
        file = f"{error.filename}: " if error.filename is not None else ""
        return _fail(f"{file}{error.strerror or error}", UlmfitError.exit_code)
    return 0


def _run(arguments: list[str]) -> None:
    if not arguments:
        raise ConfigError("a command is needed; `ulmfit --help` lists them")
    if arguments[0] in ("-h", "--help"):
        print(overview())
        return
    command, *rest = arguments
    if command == "--version":
        print(f"ulmfit {__version__}")
        return
    if command not in COMMANDS:
        nearest = difflib.get_close_matches(command, COMMANDS, n=1, cutoff=0.0)
        raise ConfigError(f"unknown command '{command}'; the nearest is '{nearest[0]}'")
    from ulmfit.arguments import parse_arguments
    from ulmfit.text.printable import printable

    config, quiet = parse_arguments(settings_of(command), command, rest)
    _share_cores()
    try:
        result = resolve_name(COMMANDS[command][1])(config, quiet=quiet)
    except ModuleNotFoundError as error:
        if error.name in (None, "ulmfit") or "." in str(error.name):
            raise  # a bug: a package that is not there is named at its top
        raise ConfigError(
            f"{command}: needs the package '{error.name}', which is not installed; install ulmfit "
            "with all that it depends on"
        ) from None
    except KeyboardInterrupt as interrupt:
        hint = ["go on with the same command and --resume"] if _can_go_on(config) else []
        raise type(interrupt)(*hint) from None
    first = os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"
    if result is not None and first:
        print(printable(str(result)))


def _share_cores() -> None:
    """Let waiting threads sleep soon; to be called before PyTorch is loaded, which reads this."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _can_go_on(config: Any) -> bool:
    """Tell whether the command left the folder of an interrupted run."""
    if not hasattr(config, "resume"):
        return False
    output = Path(config.output)
    return output.with_name(f"{output.name}.run").exists()


def settings_of(command: str) -> Any:
    """Return the class of the settings of a command."""
    return resolve_name(f"ulmfit.config.{COMMANDS[command][0]}")


def overview() -> str:
    """Return the help on all commands and exit codes."""
    lines = ["usage: ulmfit COMMAND [OPTIONS]", "", str(about), "", "commands:"]
    lines += [f"  {name:<11}{_summary(settings_of(name))}" for name in COMMANDS]
    lines += ["", "options:"]
    lines += ["  --help     Show this; after a command, all its settings.", "  --version"]
    lines += ["", "exit codes:", *(f"  {code:<5}{text}" for code, text in exit_codes().items())]
    return "\n".join(lines)


def exit_codes() -> dict[int, str]:
    """Return what each exit code means; those from 2 are told by the class of the error."""
    return {
        0: "Done.",
        1: "The operating system refused. With a traceback: a bug.",
        **{kind.exit_code: _summary(kind) for kind in UlmfitError.__subclasses__()},
        INTERRUPTED: "Interrupted by the keyboard.",
        BROKEN_PIPE: "The reader of the output went away.",
        TERMINATED: "Ended by SIGTERM, which kill sends, and a scheduler before it kills.",
    }


def _summary(documented: type) -> str:
    return str(documented.__doc__).partition("\n")[0]


def _fail(message: str, code: int) -> int:
    with suppress(BrokenPipeError):
        print(f"ulmfit: error: {_one_line(message)}", file=sys.stderr)
    return code


def _one_line(message: str) -> str:
    """Return `message` with escapes for what a name in a file could do to a terminal."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in message
    )


def _print_any_character() -> None:
    """Write as an escape what the terminal's encoding lacks, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Keep Python from writing the rest to the closed pipe when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
