"""A stage made ready to train on the data at hand, in a working folder that goes away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ulmfit.config.stages import TrainConfig
from ulmfit.config.trials import TrialConfig
from ulmfit.models.language_model import LanguageModel
from ulmfit.stages.classification import ClassificationTask
from ulmfit.stages.classifier_training import ClassifierTraining, LabelledData
from ulmfit.stages.finetune import load_for_training
from ulmfit.stages.language_modelling import Documents, LanguageModelTask, language_model_task
from ulmfit.stages.machine import Machine, resolve_machine
from ulmfit.stages.run_folder import RunFolder
from ulmfit.stages.train import check_machine, read_labelled, text_of
from ulmfit.stages.unlabelled import unlabelled_fingerprint


@dataclass(frozen=True)
class Trial:
    """What `ulmfit train` would begin with, of one direction."""

    settings: TrainConfig
    run: RunFolder
    machine: Machine
    data: LabelledData
    model: LanguageModel

    def language_model(self) -> LanguageModelTask:
        """Return what stage 2 would train on."""
        stage = self.settings.language_model
        training, validation = self.text
        torch.manual_seed(stage.training.seed)
        return language_model_task(self.model, stage, training, validation)

    def classifier(self) -> ClassificationTask:
        """Return what stage 3 would train on."""
        stage = ClassifierTraining(self.run, [self.model], self.settings.classifier, self.machine)
        return stage.task_of(self.model, self.data)

    @cached_property
    def text(self) -> tuple[Documents, Documents | None]:
        """The text of stage 2, and what is held out of it."""
        stage = replace(self.settings.language_model, skip=False)
        settings = replace(self.settings, language_model=stage)
        fingerprint = unlabelled_fingerprint(settings)
        found = text_of(settings, self.data, fingerprint, self.model.tokenizer, self.run)
        assert found is not None  # only `skip` leaves it out
        return found


@contextmanager
def trial(config: TrialConfig, quiet: bool) -> Iterator[Trial]:
    """Make ready what `config` would train.

    Raises `UlmfitError` for wrong settings, bad data, or a damaged model.
    """
    with TemporaryDirectory(prefix="ulmfit-", ignore_cleanup_errors=True) as folder:
        settings = TrainConfig(
            data=config.data,
            unlabelled=config.unlabelled,
            output=str(Path(folder) / "model"),
            cache=str(Path(folder) / "cache"),
            pretrained=config.pretrained,
            directions=config.direction,
            reading=config.reading,
            validation=config.validation,
            language_model=config.language_model,
            classifier=config.classifier,
        )
        check_machine(settings)
        with RunFolder(settings, quiet) as run:
            machine = resolve_machine(run, config.classifier.training)
            data = read_labelled(settings, run)
            (model,) = load_for_training(run, settings, settings=settings.language_model)
            model.network.to(machine.device)
            yield Trial(settings, run, machine, data, model)
