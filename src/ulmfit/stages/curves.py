"""Learning curves: the log of a run, or of several, as a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ulmfit.config.questions import CurvesConfig
from ulmfit.errors import ConfigError, DataError
from ulmfit.stages.output_file import named_output, whole_file

MEASURES = {"bits_per_byte": "bits per byte", "error": "error"}
"""What is drawn beside the loss: of a language model, of a classifier."""

STYLES = ("-", "--", ":", "-.")
"""Of the lines, so that they can be told apart without colour."""


@dataclass
class Curve:
    """The losses and measures of a part of a run, such as the forward language model."""

    name: str
    trained: list[tuple[int, float]] = field(default_factory=list)
    """Batch, and the running mean of the training loss."""

    evaluated: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """Batch, and the measures on held-out data."""

    @property
    def kind(self) -> str:
        """What is learned: `language_model` or `classifier`."""
        return self.name.rpartition(": ")[2].partition(".")[0]


def curves(config: CurvesConfig, *, quiet: bool = False) -> Path:
    """Draw the logs that `config` names and return the path of the picture.

    Raises `ConfigError` if the picture's name does not end in `.png` or matplotlib is missing,
    `DataError` if a log cannot be read or holds nothing to draw.
    """
    output = check_picture(config.output)
    logs = [Path(log) for log in config.logs]
    found = [curve for log in logs for curve in read_log(log, named=len(logs) > 1)]
    draw(found, output)
    return output


def check_picture(output: str) -> Path:
    """Return the path of a picture; raises `ConfigError` if it cannot be drawn under that name."""
    picture = named_output(output, ".png")
    if find_spec("matplotlib") is None:
        raise ConfigError("curves need matplotlib: pip install matplotlib")
    return picture


def draw_run(log: Path, output: Path) -> None:
    """Draw the log of a finished run, if matplotlib is there and there is something to draw.

    Raises `DataError` if the log cannot be read, `OSError` if the picture cannot be written.
    """
    if find_spec("matplotlib") is not None and (found := _curves_of(log, "")):
        draw(found, output)


def read_log(path: Path, named: bool = False) -> list[Curve]:
    """Return the curves of a run's log; `named`: with the log's name before the part's.

    Raises `DataError` if it cannot be read, or if nothing was trained in it yet.
    """
    if not (found := _curves_of(path, f"{_run_name(path)}: " * named)):
        raise DataError(f"{path}: nothing to draw yet; wait for the first steps")
    return found


def _curves_of(path: Path, prefix: str) -> list[Curve]:
    try:
        return _curves(_events(path), prefix)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: not the log of a run; give OUTPUT.log.jsonl") from None


def _run_name(log: Path) -> str:
    """Return the name of a run, finished (NAME.log.jsonl) or not (NAME.run/log.jsonl)."""
    within = log.parent.name
    if log.name == "log.jsonl" and within.endswith(".run"):
        return within.removesuffix(".run")
    return log.name.removesuffix(".log.jsonl")


def draw(found: Sequence[Curve], output: Path) -> None:
    """Write a picture: for each kind of part a row, its losses and its measure by batch."""
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(curve.kind for curve in found))
    figure = Figure(figsize=(10, 3.6 * len(kinds)), layout="constrained")
    for row, kind in zip(figure.subplots(len(kinds), 2, squeeze=False), kinds, strict=True):
        for index, curve in enumerate(curve for curve in found if curve.kind == kind):
            _draw_curve(row, curve, f"C{index % 10}", STYLES[index % len(STYLES)])
        for axes in row:
            axes.set_xlabel("batch")
            axes.grid(alpha=0.3)
            if axes.has_data():
                axes.legend(fontsize="small")
    with whole_file(output) as file:
        figure.savefig(file.buffer, format="png", dpi=150)


def _draw_curve(row: Any, curve: Curve, color: str, style: str) -> None:
    losses, measures = row
    losses.set_ylabel("loss, nats")
    if curve.trained:
        losses.plot(*zip(*curve.trained, strict=True), style, color=color, label=curve.name)
    for name in {"loss", *MEASURES}:
        points = [(batch, each[name]) for batch, each in curve.evaluated if name in each]
        if points:
            label = f"{curve.name}, held out" if name == "loss" else curve.name
            axes = losses if name == "loss" else measures
            axes.plot(*zip(*points, strict=True), style, color=color, marker="o", label=label)
            axes.set_ylabel(axes.get_ylabel() or MEASURES[name])


def _events(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _curves(events: Iterable[dict[str, Any]], prefix: str) -> list[Curve]:
    """Return a curve for each part that has points; a value that was not finite is left out."""
    found: dict[str, Curve] = {}
    for event in events:
        if event["event"] == "started":  # once more, if it ended before its first checkpoint
            found.pop(event["part"], None)
        if event["event"] not in ("step", "evaluation"):
            continue
        curve = found.setdefault(event["part"], Curve(prefix + event["part"]))
        measures = {
            name: event[name] for name in ("loss", *MEASURES) if event.get(name) is not None
        }
        if event["event"] == "evaluation":
            curve.evaluated.append((event["batch"], measures))
        elif "loss" in measures:
            curve.trained.append((event["batch"], measures["loss"]))
    return list(found.values())
