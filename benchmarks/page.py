"""All results on file as one page of HTML: errors, speeds and ratios as bars, growth as lines.

    python benchmarks/page.py

Writes `results/index.html`, which has no scripts and needs nothing beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from common import RESULTS

from ulmfit.report.charts import Line, line_chart

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; max-width: 60rem; margin: 0 auto;
       padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid #ddd;
     padding-top: 1rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.note { color: #555; font-size: .9rem; }
.bars { display: grid; grid-template-columns: minmax(7rem, 12rem) 1fr minmax(6rem, 13rem);
        gap: .2rem .8rem; align-items: center; font-variant-numeric: tabular-nums; }
.bar { background: #2f6bbe; height: .9rem; min-width: 1px; } .track { background: #eee; }
.chart { width: 100%; max-width: 44rem; height: auto; font: 13px system-ui, sans-serif; }
.chart .grid { stroke: #e4e4e4; }
"""


class Bar(NamedTuple):
    """A named value with its spread."""

    name: str
    value: float
    low: float
    high: float


def bars(title: str, unit: str, rows: list[Bar]) -> str:
    """Return rows as bars from 0 to the largest."""
    most = max((row.value for row in rows), default=0.0) or 1.0
    cells = "".join(
        f"<span>{escape(row.name)}</span>"
        f'<span class="track"><div class="bar" style="width:{100 * row.value / most:.1f}%"></div>'
        f"</span><span>{_number(row.value)} ({_number(row.low)} to {_number(row.high)})</span>"
        for row in rows
    )
    return f'<h3>{escape(title)}, {escape(unit)}</h3><div class="bars">{cells}</div>'


def errors(result: dict[str, Any]) -> Iterator[str]:
    """Draw the error of each model, mean and deviation over the draws."""
    models = result.get("summary", {}).get("models", {})
    rows = [
        Bar(
            name,
            error["mean"],
            error["mean"] - error["deviation"],
            error["mean"] + error["deviation"],
        )
        for name, measured in models.items()
        if (error := measured.get("error"))
    ]
    if rows:
        yield bars(f"error over {len(result['draws'])} draws", "% (a deviation down and up)", rows)


def speeds(found: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Draw what `speed.py` found at any depth: tokens a second of each side, ratios over each."""
    if not isinstance(found, dict):
        return
    if "a_second" in found:
        title, one_by_one = " / ".join(path), found["asked"]["task"] == "one by one"
        unit = "texts a second" if one_by_one else "tokens a second"
        yield bars(title, unit, _spreads(found["a_second"]))
        for peer, ratios in found.get("over", {}).items():
            yield bars(f"{title}, over {peer}", "times", _spreads(ratios))
        return
    for name, inner in found.items():
        yield from speeds(inner, (*path, name))


def growth(result: dict[str, Any]) -> Iterator[str]:
    """Draw what `scaling.py` found."""
    for sweep, points in result.get("sweeps", {}).items():
        speed = [(float(p["value"]), p["tokens_a_second"]["median"]) for p in points]
        memory = [(float(p["value"]), p["peak_mb"]) for p in points]
        for name, line in (("tokens a second", speed), ("peak memory, MB", memory)):
            title = f"{name} against {sweep}"
            yield line_chart([Line(name, line, marked=True)], x=sweep, y=name, title=title)


def page(folder: Path) -> str:
    """Return the page of the results in `folder`."""
    parts = []
    for path in sorted(folder.glob("*.json")):
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        drawn = [*errors(result), *speeds(result), *growth(result)]
        if drawn:
            said = f"{result['command']}; {result['date'][:10]}, commit {result['commit'][:9]}"
            machine = result["machine"]
            on = machine.get("gpu") or f"{machine['processor']}, {machine['threads']} threads"
            parts += [
                f"<h2>{path.stem}</h2>",
                f'<p class="note">{escape(f"{said}; {on}")}</p>',
                *drawn,
            ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Benchmarks of ulmfit</title><style>{STYLE}</style>"
        f"<h1>Benchmarks of ulmfit</h1>{''.join(parts)}</html>\n"
    )


def write_page() -> Path:
    """Write `results/index.html` and return its path."""
    path = RESULTS / "index.html"
    path.write_text(page(RESULTS), encoding="utf-8")
    return path


def _spreads(found: dict[str, dict[str, float]]) -> list[Bar]:
    return [Bar(name, s["median"], s["least"], s["most"]) for name, s in found.items()]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    write_page()
