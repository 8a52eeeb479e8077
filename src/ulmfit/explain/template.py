"""Pages from templates that stand beside the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, filters: Mapping[str, Callable[..., Any]], **given: Any) -> str:
    """Return the page; what is given is escaped, and a name that is not given is an error."""
    environment = Environment(
        loader=FileSystemLoader(template.parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= filters
    return environment.get_template(template.name).render(**given)
