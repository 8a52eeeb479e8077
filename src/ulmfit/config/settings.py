"""How settings are declared, read and checked: once, for every way of giving them.

A configuration is a frozen dataclass decorated with `settings`; its fields carry their
range in the type and their meaning in the docstring below them. The command line, the
Python call, a configuration file and the reference page are all made from it.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ulmfit.errors import ConfigError

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that refuses unknown or out-of-range values."""
    rules = ConfigDict(extra="forbid", allow_inf_nan=False)
    return dataclass(frozen=True, kw_only=True, config=rules)(cls)  # type: ignore[return-value]


def to_dict(config: Any) -> dict[str, Any]:
    """Return the settings of `config` as plain JSON values, nested as the classes are."""
    dumped: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return dumped


def from_dict(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    """Build a `cls` from plain values; what they leave out, at any depth, keeps its default.

    `source` says where the values come from (a file, a call) and opens the error message.

    Raises `ConfigError` that names the first setting at fault, what was found and, for an
    unknown name, the nearest known one.
    """
    try:
        return TypeAdapter(cls).validate_python(_over_defaults(cls, values))
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(error, cls)}") from None


def load_file(cls: type[T], path: str | Path) -> T:
    """Read a `cls` from a `.json` or `.toml` file.

    Raises `ConfigError` if the file cannot be read, is neither format, or holds a wrong setting.
    """
    return from_dict(cls, read_values(path), str(path))


def read_values(path: str | Path) -> dict[str, Any]:
    """Read the settings in a `.json` or `.toml` file, unchecked. Raises `ConfigError`."""
    path = Path(path)
    parsers = {".json": json.loads, ".toml": tomllib.loads}
    if path.suffix not in parsers:
        raise ConfigError(f"{path}: a configuration file ends in .json or .toml")
    try:
        values = parsers[path.suffix](path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected settings by name, found {type(values).__name__}")
    return values


def explain(error: ValidationError, cls: type) -> str:
    """Say in one line which setting is wrong and what would be right."""
    first = error.errors()[0]
    place = tuple(first["loc"])
    name = ".".join(str(part) for part in place)
    if first["type"] == "unexpected_keyword_argument":
        known = _known_names(cls, place[:-1])
        nearest = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.0)
        return f"unknown setting '{name}'; the nearest known one is '{nearest[0]}'"
    if first["type"] in ("missing", "missing_argument"):
        return f"setting '{name}' is required"
    return f"setting '{name}': found {first['input']!r}; {first['msg'].lower()}"


def _over_defaults(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `values` over the nested defaults of `cls`, which differ from those of their classes."""
    nested = {f.name: f.default_factory() for f in fields(cls) if f.default_factory is not MISSING}
    return {name: _over(nested.get(name), value) for name, value in values.items()}


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
