"""An explanation for people: in the terminal, and as one HTML page with the words shaded."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text as Line

from ulmfit.explain.explanation import Explanation
from ulmfit.text.types import columns_of

SHOWN_WORDS = 8
"""Of the words that speak most for, and against."""

FOR, AGAINST = "47, 107, 190", "200, 90, 20"
"""Red, green and blue; told apart by a line below the word too: solid, dotted."""

STYLE = f"""
body {{ font: 16px/1.7 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 46rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.3rem; }} h2 {{ font-size: 1.05rem; margin-top: 2rem; }}
.for {{ border-bottom: 2px solid rgb({FOR}); }}
.against {{ border-bottom: 2px dotted rgb({AGAINST}); }}
.text {{ white-space: pre-wrap; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .15rem .8rem .15rem 0; text-align: left; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
svg {{ width: 100%; height: 6rem; }} figcaption, .note {{ color: #555; font-size: .9rem; }}
"""


def html_page(explanation: Explanation) -> str:
    """Return a page of its own: no script, nothing to fetch."""
    body = "\n".join(_sections(explanation))
    title = f"Why {escape(_decided(explanation))}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def shaded_text(explanation: Explanation, label: int) -> str:
    """Return the text as HTML, each word shaded by what it contributes to one of the labels."""
    values = explanation.contributions[:, label]
    strongest = max(float(np.abs(values).max(initial=0.0)), 1e-12)
    parts = []
    for number, column in enumerate(columns_of(explanation.text)):
        done, pieces = 0, []
        for word, value in zip(explanation.words, values, strict=True):
            if word.column == number:
                pieces.append(escape(column[done : word.start]))
                pieces.append(_shaded(word.text, float(value), float(value) / strongest))
                done = word.end
        pieces.append(escape(column[done:]))
        parts.append(f'<p class="text">{"".join(pieces)}</p>')
    return "\n".join(parts)


def terminal_lines(explanation: Explanation) -> Iterator[Line]:
    """Yield what is decided, the words that speak most for and against, and the text."""
    yield Line(f"{_decided(explanation)}  ({explanation.method.replace('_', ' ')})", "bold")
    for place, label in enumerate(explanation.labels):
        values = explanation.contributions[:, place]
        yield Line()
        yield Line(_sum(explanation, place))
        for title, order in (("for", np.argsort(-values)), ("against", np.argsort(values))):
            chosen = [i for i in order[:SHOWN_WORDS] if (values[i] > 0) == (title == "for")]
            words = "  ".join(f"{explanation.words[i].text} {values[i]:+.3f}" for i in chosen)
            yield Line(f"{title + ' ' + label + ':':<24}{words}")
        yield Line()
        yield _shaded_line(explanation, values)


def _sections(explanation: Explanation) -> Iterator[str]:
    for place, label in enumerate(explanation.labels):
        yield f"<h2>{escape(label)}</h2>"
        yield f'<p class="note">{escape(_sum(explanation, place))}</p>'
        yield shaded_text(explanation, place)
        yield _strongest_table(explanation, place)
        for member, rows in explanation.running.items():
            yield _running_figure(member, rows[:, place], explanation, label)
    yield (
        '<p class="note">Shaded and underlined: what speaks for the label; shaded and dotted: what '
        "speaks against it; the stronger the shade, the more.</p>"
    )


def _sum(explanation: Explanation, place: int) -> str:
    """Say what the contributions add up to."""
    label, found = explanation.labels[place], float(explanation.answers[place])
    if explanation.start is None:
        return f"{label}: {found:.3f}; without a word, less by its number"
    start = float(explanation.start[place])
    total = float(explanation.contributions[:, place].sum())
    return f"{label}: {found:.3f} = {start:.3f} without any word, {total:+.3f} by the words"


def _decided(explanation: Explanation) -> str:
    decision = explanation.decision
    if isinstance(decision, tuple):
        return ", ".join(decision) or "no label"
    return f"{decision:.4g}" if isinstance(decision, float) else str(decision)


def _shaded(text: str, value: float, strength: float) -> str:
    if abs(strength) < 0.05:
        return escape(text)
    colour, kind = (FOR, "for") if value > 0 else (AGAINST, "against")
    return (
        f'<span class="{kind}" style="background: rgba({colour}, {0.5 * abs(strength):.2f})" '
        f'title="{value:+.4f}">{escape(text)}</span>'
    )


def _shaded_line(explanation: Explanation, values: NDArray[np.float64]) -> Line:
    """Return the text with what speaks for a label bold, and what speaks against it underlined."""
    strongest = max(float(np.abs(values).max(initial=0.0)), 1e-12)
    line = Line()
    for number, column in enumerate(columns_of(explanation.text)):
        done = 0
        for word, value in zip(explanation.words, values / strongest, strict=True):
            if word.column != number:
                continue
            line.append(column[done : word.start])
            line.append(word.text, _style(float(value)))
            done = word.end
        line.append(column[done:] + "\n")
    return line


def _style(strength: float) -> Style:
    if strength > 0.15:
        return Style(color="blue", bold=True)
    return Style(color="yellow", underline=True) if strength < -0.15 else Style()


def _strongest_table(explanation: Explanation, place: int) -> str:
    values = explanation.contributions[:, place]
    order = np.argsort(-np.abs(values), kind="stable")[:SHOWN_WORDS]
    rows = "".join(
        f'<tr><td>{escape(explanation.words[i].text)}</td><td class="number">{values[i]:+.4f}'
        "</td></tr>"
        for i in order
    )
    return f"<table><tr><th>word</th><th>contribution</th></tr>{rows}</table>"


def _running_figure(
    member: str, values: NDArray[np.float64], explanation: Explanation, label: str
) -> str:
    """Return a line of the answer after each word; the words stand from left to right."""
    if len(values) < 2:
        return ""
    low, high = explanation.task.range or (0.0, 1.0)
    across = np.linspace(0, 600, len(values))
    up = 100 - 100 * (values - low) / (high - low)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, up, strict=True))
    forward = member.startswith("forward")
    begins = "from the first word on" if forward else "from the last word back"
    return (
        f'<figure><svg viewBox="0 -4 600 108" preserveAspectRatio="none" role="img" '
        f'aria-label="the answer as the text is read"><path d="M0,50H600" stroke="#ccc" '
        f'fill="none"/><polyline points="{points}" fill="none" stroke="rgb({FOR})" '
        f'stroke-width="2" vector-effect="non-scaling-stroke"/></svg><figcaption>{escape(label)} '
        f"as the {escape(member)} member reads, {begins}: "
        f"{low:g} at the bottom, {high:g} at the top</figcaption></figure>"
    )
