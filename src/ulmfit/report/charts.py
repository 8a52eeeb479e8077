"""Lines in a picture that is part of the page: SVG, told apart without colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 68, 150, 12, 44
COLOURS = ("#2f6bbe", "#c85a14", "#2e7d32", "#7b1fa2", "#6d4c41", "#00838f")
DASHES = ("", "7 4", "2 3", "9 3 2 3", "4 2", "1 4")
TICKS = 5


@dataclass(frozen=True)
class Line:
    """Points to join, named at their end."""

    name: str
    points: Sequence[tuple[float, float]]
    marked: bool = False
    """With a dot at each point."""


def line_chart(
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    title: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> str:
    """Return an SVG picture of the lines; without ranges, they are those of the points."""
    xs, ys = zip(*(point for line in lines for point in line.points), strict=True)
    x_low, x_high = x_range or _widened(min(xs), max(xs))
    y_low, y_high = y_range or _widened(min(ys), max(ys))

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - x_low) / (x_high - x_low)

    def down(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (y_high - value) / (y_high - y_low)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" '
        'class="chart">',
        f"<title>{escape(title)}</title>",
    ]
    for value in np.linspace(y_low, y_high, TICKS):
        parts.append(
            f'<path d="M{LEFT},{down(value):.1f}H{WIDTH - RIGHT}" class="grid"/>'
            f'<text x="{LEFT - 6}" y="{down(value) + 4:.1f}" text-anchor="end">{_number(value)}'
            "</text>"
        )
    for value in np.linspace(x_low, x_high, TICKS):
        parts.append(
            f'<text x="{across(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{_number(value)}</text>"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>')
    parts.append(
        f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {HEIGHT / 2})">{escape(y)}</text>'
    )
    ends = _apart([down(line.points[-1][1]) for line in lines])
    for index, (line, end) in enumerate(zip(lines, ends, strict=True)):
        colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        points = [(across(a), down(b)) for a, b in line.points]
        joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/>'
        )
        if line.marked:
            parts += [
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in points
            ]
        parts.append(
            f'<text x="{points[-1][0] + 8:.1f}" y="{end + 4:.1f}" fill="{colour}">'
            f"{escape(line.name)}</text>"
        )
    return "".join([*parts, "</svg>"])


def _apart(heights: Sequence[float], least: float = 15.0) -> list[float]:
    """Return heights moved down as little as keeps names from lying on one another."""
    moved = list(heights)
    before = -np.inf
    for place in np.argsort(heights, kind="stable"):
        moved[place] = before = max(heights[place], before + least)
    return moved


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
