"""Which learning rate: a test of many on the data at hand, with its picture."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import torch

from ulmfit.config.stages import FindRateConfig, TrainConfig
from ulmfit.errors import ConfigError, DataError
from ulmfit.stages.classifier_training import ClassifierTraining
from ulmfit.stages.curves import check_picture
from ulmfit.stages.finetune import load_for_training
from ulmfit.stages.language_modelling import language_model_task
from ulmfit.stages.machine import Machine, resolve_machine
from ulmfit.stages.output_file import whole_file
from ulmfit.stages.run_folder import RunFolder
from ulmfit.stages.train import read_labelled, text_of
from ulmfit.training.loop import Task
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
    with TemporaryDirectory(prefix="ulmfit-", ignore_cleanup_errors=True) as folder, opened as file:
        test = _test(config, Path(folder), quiet)
        if len(test.rates) < FEWEST_POINTS:
            raise DataError(
                f"{config.data}: the loss was finite for {len(test.rates)} steps only; lower "
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


def _test(config: FindRateConfig, folder: Path, quiet: bool) -> RateTest:
    settings = TrainConfig(
        data=config.data,
        unlabelled=config.unlabelled,
        output=str(folder / "model"),
        cache=str(folder / "cache"),
        pretrained=config.pretrained,
        directions=config.direction,
        reading=config.reading,
        language_model=config.language_model,
        classifier=config.classifier,
    )
    stage = config.classifier if config.stage == "classifier" else config.language_model
    with RunFolder(settings, quiet) as run:
        machine = resolve_machine(run, config.classifier.training)
        task = _task(settings, run, machine, config.stage == "classifier")
        return find_rates(
            task,
            stage.training.optimizer,
            lowest=config.lowest,
            highest=config.highest,
            steps=config.steps,
            last_group_alone=config.last_layer_alone,
            precision=machine.precision,
        )


def _task(settings: TrainConfig, run: RunFolder, machine: Machine, classifier: bool) -> Task:
    """Return what stage 3 would train on, or stage 2."""
    data = read_labelled(settings, run)
    (model,) = load_for_training(run, settings, settings=settings.language_model)
    model.network.to(machine.device)
    if classifier:
        stage = ClassifierTraining(run, [model], settings.classifier, machine)
        return stage.task_of(model, replace(data, validation=()))
    text = text_of(settings, data, model.tokenizer, run)
    assert text is not None  # `skip` is no setting of this command's use
    torch.manual_seed(settings.language_model.training.seed)
    return language_model_task(model, settings.language_model, text[0], None)


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
