"""Which learning rate: a test of many on the data at hand, with its picture."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TextIO

from ulmfit.config.trials import FindRateConfig
from ulmfit.errors import ConfigError, DataError
from ulmfit.stages.curves import check_picture
from ulmfit.stages.output_file import whole_file
from ulmfit.stages.trial import trial
from ulmfit.training.rate_finder import RateTest, find_rates

FEWEST_POINTS = 10


def find_rate(config: FindRateConfig, *, quiet: bool = False) -> str:
    """Test rates for one direction of a stage; draw the losses, and return what they suggest.

    Raises `UlmfitError` for wrong settings, bad data, or a loss that is never finite.
    """
    if config.lowest >= config.highest:
        raise ConfigError(
            f"setting 'lowest': found {config.lowest:g}, but 'highest' is {config.highest:g}"
        )
    picture = None if config.output is None else check_picture(config.output)
    opened = whole_file(picture) if picture else nullcontext()
    with opened as file:
        test = _test(config, quiet)
        if len(test.rates) < FEWEST_POINTS:
            raise DataError(
                f"{config.data}: the loss was finite, and below four times its lowest, for "
                f"{len(test.rates)} steps only; lower "
                "--lowest, or give other data"
            )
        if file is not None:
            _draw(test, config, file)
    lines = [
        f"steepest fall of the loss at  {test.steepest:.1e}",
        f"a tenth of the lowest loss's  {test.tenth_of_lowest:.1e}",
        f"lowest loss {min(test.losses):.4f}, {len(test.rates)} steps up to {test.rates[-1]:.1e}",
    ]
    return "\n".join([*lines, *([str(picture)] if picture else [])])


def _test(config: FindRateConfig, quiet: bool) -> RateTest:
    of_classifier = config.stage == "classifier"
    stage = config.classifier if of_classifier else config.language_model
    with trial(config, quiet) as ready:
        return find_rates(
            ready.classifier() if of_classifier else ready.language_model(),
            stage.training,
            lowest=config.lowest,
            highest=config.highest,
            steps=config.steps,
            last_group_alone=config.last_layer_alone,
            precision=ready.machine.precision,
        )


def _draw(test: RateTest, config: FindRateConfig, file: TextIO) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(test.rates, test.losses)
    for rate, style, name in (
        (test.steepest, "--", "steepest fall"),
        (test.tenth_of_lowest, ":", "a tenth of the lowest loss's"),
    ):
        axes.axvline(rate, linestyle=style, color="C1", label=f"{name}: {rate:.1e}")
    axes.set_xlabel("learning rate of the last layer group")
    axes.set_ylabel("loss, running mean")
    axes.set_title(f"{config.stage.replace('_', ' ')}, {config.direction}", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(file.buffer, format="png", dpi=150)
