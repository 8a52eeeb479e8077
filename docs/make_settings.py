"""Write `settings.md`: every setting of every command, from the one place where it is declared."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from ulmfit.arguments import _metavar
from ulmfit.cli import COMMANDS, settings_of
from ulmfit.config.settings import descriptions, required_first

PAGE = Path(__file__).with_name("settings.md")
HEAD = """# Settings

Made by `docs/make_settings.py` from `src/ulmfit/config`; not written by hand. A setting `a.b_c` is
the option `--a.b-c`, the key `b_c` of the table `a` in a configuration file, and the field `b_c` of
the object `a` in Python.

In Python, nested settings may be given as dictionaries, and what these leave out is as the tables
say: `TrainConfig(data="labelled.csv", output="my-model", classifier={"training": {"epochs": 20}})`.
An object in their place replaces all of them: `TrainingConfig(epochs=20)` has that class's own
defaults, not those of the classifier's training.
"""


def page() -> str:
    """Return the page in Markdown."""
    return "\n".join([HEAD, *(_section(name, settings_of(name)) for name in COMMANDS)])


def _section(command: str, cls: type) -> str:
    title = f"## `ulmfit {command}`: `{cls.__name__}`"
    table = ["| setting | value | default | meaning |", "| --- | --- | --- | --- |", *_rows(cls)]
    return "\n".join([title, "", str(cls.__doc__), "", *table, ""])


def _rows(cls: Any, given: Any = None, prefix: str = "") -> Iterator[str]:
    """Yield a row for each setting of `cls`, whose defaults are those of `given`, if any."""
    hints, meanings = get_type_hints(cls), descriptions(cls)
    for field in required_first(cls):
        name = prefix + field.name
        made = field.default_factory
        value = field.default if made is MISSING else made()
        value = value if given is None else getattr(given, field.name)
        if is_dataclass(hints[field.name]):
            yield from _rows(hints[field.name], value, f"{name}.")
        else:
            kind = "yes or no" if hints[field.name] is bool else f"`{_metavar(hints[field.name])}`"
            cells = [f"`{name}`", kind, _shown(value), meanings[field.name]]
            yield "| " + " | ".join(map(_in_table, cells)) + " |"


def _in_table(cell: str) -> str:
    """Return a cell without a bar in its code: not every Markdown takes a backslash there."""
    cell = re.sub(
        r"`([^`]*\|[^`]*)`",
        lambda code: f"<code>{html.escape(code[1], quote=False)}</code>".replace("|", "&#124;"),
        cell,
    )
    return cell.replace("|", "\\|")


def _shown(value: Any) -> str:
    if value is MISSING:
        return "required"
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{' '.join(map(str, value)) if isinstance(value, tuple) else value}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
