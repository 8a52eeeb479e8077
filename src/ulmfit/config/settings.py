"""How settings are declared, read and checked: once, for every way of giving them.

A configuration is a frozen dataclass decorated with `settings`; its fields carry their
range in the type and their meaning in the docstring below them. The command line, the
Python call, a configuration file and the reference page are all made from it.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from ulmfit.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
"""Folder of the shipped files of settings; the first line of each names its command."""

_MISSING = ("missing", "missing_argument")
EXPECTED = {
    "tuple_type": "input should be a list, its values in brackets",
    "dataclass_type": "input should be settings by name",
    "dict_type": "input should be values by name",
    "string_too_short": "input should not be empty",
}
"""What pydantic's messages say in the words of Python, in the words of a file of settings."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that refuses unknown or out-of-range values.

    A mapping in the place of nested settings is laid over their default in `cls`, which may differ
    from the defaults of their own class.
    """
    rules = ConfigDict(extra="forbid", allow_inf_nan=False)
    lay_over = model_validator(mode="before")(classmethod(_over_defaults))  # type: ignore[arg-type]
    cls._lay_over = lay_over  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True, config=rules)(cls)  # type: ignore[return-value]


def to_dict(config: Any) -> dict[str, Any]:
    """Return the settings of `config` as plain JSON values, nested as the classes are."""
    dumped: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return dumped


def default_values(cls: Any) -> dict[str, Any]:
    """Return the settings of `cls` that have a default as plain JSON values, nested."""
    given = {
        f.name: f.default if f.default_factory is MISSING else f.default_factory()
        for f in fields(cls)
        if f.default is not MISSING or f.default_factory is not MISSING
    }
    plain: dict[str, Any] = TypeAdapter(dict[str, Any]).dump_python(given, mode="json")
    return plain


def from_dict(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    """Build a `cls` from plain values; what they leave out, at any depth, keeps its default.

    `source` says where the values come from (a file, a call) and opens the error message.

    Raises `ConfigError` that names the first setting at fault, what was found and, for an
    unknown name, the nearest known one.
    """
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(error.errors(), cls)}") from None


def check_part(cls: type, values: Mapping[str, Any], source: str) -> None:
    """Check `values` as `from_dict` does, but let required settings be missing."""
    try:
        TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        faults = [f for f in error.errors() if f["type"] not in _MISSING or len(f["loc"]) > 1]
        if faults:
            raise ConfigError(f"{source}: {explain(faults, cls)}") from None


def load_file(cls: type[T], path: str | Path) -> T:
    """Read a `cls` from a `.json` or `.toml` file.

    Raises `ConfigError` if the file cannot be read, is neither format, or holds a wrong setting.
    """
    return from_dict(cls, read_values(path), str(path))


def read_values(path: str | Path) -> dict[str, Any]:
    """Read the settings in a `.json` or `.toml` file, or a shipped recipe of that name, unchecked.

    Raises `ConfigError` if there is no such file or recipe, or if it is neither format.
    """
    path = _recipe(str(path)) or Path(path)
    parsers = {".json": json.loads, ".toml": tomllib.loads}
    if path.suffix not in parsers:
        raise ConfigError(
            f"{path}: a configuration file ends in .json or .toml; the shipped recipes are "
            f"{', '.join(recipes())}"
        )
    try:
        values = parsers[path.suffix](path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected settings by name, found {type(values).__name__}")
    return values


def recipes() -> tuple[str, ...]:
    """Return the names of the shipped files of settings, sorted."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.toml")))


def command_of_recipe(name: str) -> str | None:
    """Return the command that a shipped recipe is for; None if there is no recipe `name`."""
    path = _recipe(name)
    if path is None:
        return None
    first_line = path.read_text(encoding="utf-8").partition("\n")[0]
    return first_line.removeprefix("# ulmfit ").partition(":")[0]


def _recipe(name: str) -> Path | None:
    return RECIPES / f"{name}.toml" if name in recipes() else None


def overlaid(cls: Any, under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings `under` with those of `over` in their place, nested as `cls` is."""
    hints = get_type_hints(cls)
    merged = dict(under)
    for name, value in over.items():
        nested = name in under and is_dataclass(hints[name])
        merged[name] = overlaid(hints[name], under[name], value) if nested else value
    return merged


def explain(faults: Sequence[ErrorDetails], cls: type) -> str:
    """Say in one line which setting is the first at fault and what would be right."""
    first = faults[0]
    place = first["loc"]
    name = ".".join(str(part) for part in place)
    if first["type"] == "unexpected_keyword_argument":
        known = _known_names(cls, place[:-1])
        nearest = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.0)
        return f"unknown setting '{name}'; the nearest known one is '{nearest[0]}'"
    if first["type"] in _MISSING:
        return f"setting '{name}' is required"
    # A setting of two types has a fault for each.
    own = [fault for fault in faults if _setting(fault) == _setting(first)]
    reasons = dict.fromkeys(EXPECTED.get(fault["type"], fault["msg"].lower()) for fault in own)
    reason = " or ".join(reasons).replace(" or input should be ", " or ")
    return f"setting '{_setting(first)}': found {first['input']!r}; {reason}"


def _setting(fault: ErrorDetails) -> str:
    """Name of the setting, without the type that pydantic tried, such as `constrained-int`."""
    parts = map(str, fault["loc"])
    return ".".join(part for part in parts if part.isidentifier() or part.isdigit())


def required_first(cls: Any) -> list[Field[Any]]:
    """Return the settings of `cls` in the order in which they are shown to people."""
    return sorted(fields(cls), key=lambda f: (f.default, f.default_factory) != (MISSING, MISSING))


def descriptions(cls: type) -> dict[str, str]:
    """Return the meaning of each setting of `cls`, inherited ones too: its docstring."""
    found: dict[str, str] = {}
    for base in filter(is_dataclass, reversed(cls.__mro__)):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    return found


def _over_defaults(cls: Any, given: Any) -> Any:
    """Lay what is given, by name or as a mapping, over the nested defaults of `cls`."""
    if isinstance(given, ArgsKwargs):
        return ArgsKwargs(given.args, _over_defaults(cls, given.kwargs or {}))
    if not isinstance(given, Mapping):
        return given
    nested = {f.name: f.default_factory for f in fields(cls) if f.default_factory is not MISSING}
    return {
        name: _over(nested[name](), value) if name in nested else value
        for name, value in given.items()
    }


def _over(default: Any, given: Any) -> Any:
    """Lay the settings `given` over the configuration `default`; any other value replaces it."""
    if not (is_dataclass(default) and isinstance(given, Mapping)):
        return given
    known = {f.name: getattr(default, f.name) for f in fields(default)}
    return {**known, **{name: _over(known.get(name), value) for name, value in given.items()}}


def _known_names(cls: type, place: tuple[int | str, ...]) -> list[str]:
    """Names of the settings of the class found by following `place` down from `cls`."""
    schema = TypeAdapter(cls).json_schema()
    node: dict[str, Any] = schema
    for part in place:
        node = node.get("properties", {}).get(str(part), {})
        reference = node.get("$ref") or next(
            (option["$ref"] for option in node.get("anyOf", []) if "$ref" in option), None
        )
        if reference:
            node = schema["$defs"][reference.rsplit("/", 1)[-1]]
    return list(node.get("properties", {})) or ["(none)"]
