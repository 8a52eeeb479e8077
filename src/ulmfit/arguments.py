"""From the command line to a configuration: every setting `a.b_c` is the option `--a.b-c`.

What the command line leaves out comes from the files that `--config` names, the last one first,
then from the defaults. Values stay strings until `config.settings` checks them, as it does all
others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import SequenceMatcher
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypedDict,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from ulmfit.config.settings import (
    check_part,
    command_of_recipe,
    descriptions,
    from_dict,
    overlaid,
    read_values,
    required_first,
)
from ulmfit.errors import ConfigError

T = TypeVar("T")

COMMON = {
    "config": Annotated[
        str,
        tyro.conf.arg(
            metavar="FILE",
            help="A `.json` or `.toml` file of settings, or the name of a shipped recipe, which "
            "options given here override. May be given again: a later one overrides.",
            help_behavior_hint="",
        ),
    ],
    "quiet": Annotated[
        bool,
        tyro.conf.arg(
            help="Show neither progress nor warnings.", help_behavior_hint="(default: no)"
        ),
    ],
}
"""Options of every command that are no settings of its own."""

FLAGS = ("--quiet", "--no-quiet", "--help", "-h")

SHORT = {"--strict": "--reading.strict"}
"""Options that may be given without the class that holds their setting."""

ONE_FILE = ("--data", "--model")
"""Options that take one value though several might be meant. Of others a later one counts."""

_CONFIG = "--config="

LEADING = "sources"
"""The setting whose option may be left out where its values come first."""


def parse_arguments(cls: type[T], command: str, arguments: Sequence[str]) -> tuple[T, bool]:
    """Return the configuration `cls` of `ulmfit COMMAND`, and whether it is to be quiet.

    Raises `ConfigError` that names the option or the setting at fault, `SystemExit` after
    `--help`.
    """
    paths, given = _given(cls, command, arguments)
    quiet = given.pop("quiet", False)
    check_part(cls, given, command)
    values: dict[str, Any] = {}
    passed_over: set[str] = getattr(cls, "passed_over", set)()
    for path in paths:
        found = read_values(path)
        in_file = {name: value for name, value in found.items() if name not in passed_over}
        _check_file(cls, in_file, path, command)
        values = overlaid(cls, values, in_file)
    values = overlaid(cls, values, given)
    if missing := [_option(name) for name in _required(cls) if name not in values]:
        raise ConfigError(
            f"{command}: needs {' and '.join(missing)}; see `ulmfit {command} --help`"
        )
    config = from_dict(cls, values, command)
    if output := getattr(config, "output", None):
        from ulmfit.stages.output_file import check_not_read  # no stage where help is asked for

        check_not_read(Path(output), *paths)
    return config, quiet


def _check_file(cls: type, values: Mapping[str, Any], path: str, command: str) -> None:
    """Check the settings of a file; of a recipe for another command, tell which."""
    try:
        check_part(cls, values, path)
    except ConfigError as error:
        meant = command_of_recipe(path)
        hint = "" if meant in (None, command) else f"; it is a recipe for `ulmfit {meant}`"
        raise ConfigError(f"{error}{hint}") from None


def _given(cls: type, command: str, arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the files of settings and the settings on the command line, and no others, nested."""
    hints = dict(_options(cls))
    single = {name: hint is not bool and not _takes_several(hint) for name, hint in hints.items()}
    options = {"--config": True, **dict.fromkeys(FLAGS, False), **single}
    if arguments and not arguments[0].startswith("-") and _option(LEADING) in options:
        arguments = [_option(LEADING), *arguments]
    arguments = [SHORT[word] if SHORT.get(word) in options else word for word in arguments]
    words = list(_with_values(arguments, options, command))
    named = [_spelled(word).partition("=")[0] for word in words]
    several = [name for name, hint in hints.items() if _takes_several(hint)]
    for option in (*several, *ONE_FILE):
        if named.count(option) > 1:  # of which tyro would keep the last one alone
            wanted = "all its values behind one" if option in several else "one"
            raise ConfigError(f"{command}: {option} is given twice; give {wanted}")
    # Taken out before tyro, which would keep the last one alone.
    files = [word.removeprefix(_CONFIG) for word in words if word.startswith(_CONFIG)]
    typed_dict: Any = TypedDict
    form = typed_dict(cls.__name__, {**_members(cls, None), **COMMON}, total=False)
    parsed: Any = tyro.cli(
        form,
        prog=f"ulmfit {command}",
        description=cls.__doc__,
        args=[word for word in words if not word.startswith(_CONFIG)],
        return_unknown_args=True,
    )
    given, unknown = parsed
    if unknown:
        raise ConfigError(f"{command}: {_unknown(unknown[0], options)}")
    return files, dict(given)


def _members(cls: Any, default: Any) -> dict[str, Any]:
    """Return tyro's type of each setting of `cls`, whose defaults are those of `default`, if any.

    All may be left out: what tyro returns is then what was given.
    """
    hints, meanings = get_type_hints(cls), descriptions(cls)
    typed_dict: Any = TypedDict
    members = {}
    for field in required_first(cls):
        value = getattr(default, field.name) if default is not None else _default(field)
        hint, meaning = hints[field.name], meanings[field.name]
        if is_dataclass(hint):
            nested = typed_dict(field.name, _members(hint, value), total=False)
            members[field.name] = Annotated[nested, tyro.conf.arg(help=meaning)]
        else:
            shown = "(required)" if value is MISSING else f"(default: {_shown(value)})"
            about = tyro.conf.arg(help=meaning, help_behavior_hint=shown)
            members[field.name] = Annotated[_leaf(hint), about]
    return members


def _leaf(hint: Any) -> Any:
    """Return a type by which tyro takes a value of type `hint` as the words it was given in."""
    if hint is bool:
        return bool
    spec: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
        nargs="*" if _takes_several(hint) else 1,
        metavar=_metavar(hint),
        instance_from_str=lambda words: _value(hint, words),
        is_instance=lambda _: True,
        str_from_instance=lambda value: [str(value)],
    )
    return Annotated[Any, spec]


def _value(hint: Any, words: list[str]) -> Any:
    if not _takes_several(hint):
        return words[0]
    if any(get_origin(each) is tuple for each in (hint, *_alternatives(hint))):
        return words
    if words and all("=" in word for word in words):
        return dict(word.rsplit("=", 1) for word in words)
    return words[0] if len(words) == 1 else words


def _takes_several(hint: Any) -> bool:
    """Tell whether values of this type may be several words: a tuple, or a mapping's pairs."""
    return get_origin(hint) in (tuple, dict) or any(_takes_several(t) for t in _alternatives(hint))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else ()


def _metavar(hint: Any) -> str:
    if alternatives := [t for t in _alternatives(hint) if t is not NoneType]:
        return "|".join(map(_metavar, alternatives))
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, inner)) + "}"
    if get_origin(hint) is dict:
        return f"NAME={_metavar(inner[1])}.."
    if get_origin(hint) is tuple:
        return f"{_metavar(inner[0])}.." if inner[-1] is ... else " ".join(map(_metavar, inner))
    return str(hint.__name__).upper()


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        value = " ".join(map(str, value))
    return "none" if value in (None, "") else str(value)


def _required(cls: Any) -> list[str]:
    return [field.name for field in fields(cls) if _default(field) is MISSING]


def _default(field: Any) -> Any:
    made = field.default_factory
    return field.default if made is MISSING else made()


# Options: their names, and the types of their values.


def _options(cls: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, hint in get_type_hints(cls).items():
        if is_dataclass(hint):
            yield from _options(hint, f"{prefix}{name}.")
        else:
            yield _option(prefix + name), hint
            if hint is bool:
                yield _option(f"{prefix}no-{name}"), hint


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _with_values(
    arguments: Sequence[str], options: Mapping[str, bool], command: str
) -> Iterator[str]:
    """Yield the arguments with each single value joined to its option by `=`.

    So a value may begin with a dash. Raises `ConfigError` for an option without its value.
    """
    remaining = iter(arguments)
    for argument in remaining:
        option = _spelled(argument)
        if not options.get(option, False):
            yield argument
            continue
        value = next(remaining, None)
        if value is None or value.partition("=")[0] in options:
            raise ConfigError(f"{command}: {option} needs a value")
        if value.startswith("--"):
            raise ConfigError(
                f"{command}: {option} needs a value; if '{value}' is one, write {option}={value}"
            )
        yield f"{option}={value}"


def _spelled(argument: str) -> str:
    """Return an option as it is listed: dashes may be written as underscores."""
    return "--" + argument[2:].replace("_", "-") if argument.startswith("--") else argument


def _unknown(argument: str, options: Mapping[str, bool]) -> str:
    if not argument.startswith("-"):
        return f"unexpected argument '{argument}'; each value stands behind its option"
    if not argument.startswith("--"):
        return f"unknown option '{argument}'; if it is a value, write it as in --text={argument}"
    name = argument.partition("=")[0]
    nearest = max(options, key=lambda option: _likeness(name, option))
    return f"unknown option '{name}'; the nearest is '{nearest}'"


def _likeness(name: str, option: str) -> float:
    """How like two options are, as they stand or by their last parts."""
    whole = SequenceMatcher(None, name, option).ratio()
    last = SequenceMatcher(None, name.lstrip("-").rpartition(".")[2], option.rpartition(".")[2])
    return max(whole, 0.99 * last.ratio())
