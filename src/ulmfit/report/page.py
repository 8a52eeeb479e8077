"""The contents of a report as one HTML page: no script, nothing to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ulmfit.explain.template import render as render_template
from ulmfit.report.charts import Line, line_chart

TEMPLATE = Path(__file__).with_name("report.html.jinja")

DIRECTIONS = ("forward", "backward")

KEY_MEASURES = {
    "single_label": ("accuracy", "macro_f1", "calibration_error"),
    "multi_label": ("micro_f1", "macro_f1", "calibration_error"),
    "number": ("mean_absolute_error", "root_mean_square_error", "r2"),
}


def render(contents: dict[str, Any]) -> str:
    """Return the page of what `report.contents` gathered."""
    given = {"labels": [], "reliability": [], "coverage": [], **contents}
    measures = [row["measure"] for row in contents["scores"]]
    return render_template(
        TEMPLATE,
        {"number": _number, "words": _words, "listed": _listed},
        **given,
        title=f"{contents['model']['name']} on {contents['data']['name']}",
        measures=measures,
        key_measures=KEY_MEASURES[contents["model"]["kind"]],
        sections=_sections(given),
        reliability_chart=_reliability(given["reliability"]),
        coverage_chart=_coverage(given["coverage"]),
        curve_charts=_curves(contents["curves"]),
        shade=_shade,
    )


def _sections(given: dict[str, Any]) -> list[tuple[str, str]]:
    """Return anchor and name of each section that is there."""
    return [
        (anchor, name)
        for anchor, name, there in (
            ("scores", "Scores", True),
            ("comparison", "Beside others", len(given["comparison"]) > 1),
            ("labels", "Labels", given["labels"]),
            ("probabilities", "Probabilities", given["reliability"]),
            ("documents", "Documents", True),
            ("curves", "Learning curves", given["curves"]),
            ("misses", "Largest misses", given["misses"]),
            ("runs", "How it was made", True),
        )
        if there
    ]


def _reliability(bins: Sequence[dict[str, float]]) -> Markup:
    if not bins:
        return Markup()
    found = Line("found", [(each["stated"], each["right"]) for each in bins], marked=True)
    return _chart(
        [Line("as stated", [(0.0, 0.0), (1.0, 1.0)]), found],
        x="probability stated",
        y="share right",
        title="Reliability of the probabilities",
        x_range=(0, 1),
        y_range=(0, 1),
    )


def _coverage(points: Sequence[dict[str, float]]) -> Markup:
    if not points:
        return Markup()
    lines = [
        Line(name, [(each["abstain_below"], each[key]) for each in points], marked=True)
        for name, key in (("right", "accuracy"), ("remaining", "coverage"))
    ]
    return _chart(
        lines,
        x="left to a person below",
        y="share",
        title="What abstaining is worth",
        y_range=(0, 1),
    )


def _curves(curves: Sequence[dict[str, Any]]) -> list[tuple[str, Markup]]:
    """Return a chart for each kind of part of each stage, two lines for each direction."""
    groups: dict[str, list[Line]] = {}
    for curve in curves:
        words = curve["part"].split(", ")  # such as `forward`, or `classifier, forward, 1`
        kind = ", ".join([curve["stage"], *(each for each in words if each not in DIRECTIONS)])
        direction = next((each for each in words if each in DIRECTIONS), kind)
        for key, name in (("training", "training"), ("held_out", "held out")):
            points = [(each["batch"], each["loss"]) for each in curve[key]]
            if points:
                line = Line(f"{direction}, {name}", points, marked=True)
                groups.setdefault(kind, []).append(line)
    return [
        (kind, _chart(lines, x="batch", y="loss", title=kind)) for kind, lines in groups.items()
    ]


def _chart(lines: Sequence[Line], **options: Any) -> Markup:
    return Markup(line_chart(lines, **options))  # all text in it is escaped there


def _shade(count: int, counts: Sequence[int]) -> str:
    """Return how strongly a cell is shaded: by its share of the row."""
    return f"{0.5 * count / max(sum(counts), 1):.2f}"


def _number(value: float | None) -> str:
    if value is None or isnan(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _words(name: str) -> str:
    return name.replace("_", " ").replace(" f1", " F1").replace("r2", "R²")


def _listed(value: Any) -> str:
    """Return labels as people write them."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "no label"
    return _number(value) if isinstance(value, float) else str(value)
