"""GoEmotions: 28 emotions, several a comment; thresholds tuned on the validation comments.

Beside it one-vs-rest TF-IDF with logistic regression, its thresholds tuned alike, and both at 0.5.
Every comment of train is labelled; the language model reads them without their labels. With
`--tune` the validation comments are measured, on which the thresholds were fitted.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import RUNS, append_line, digest, parse, parser, write_result
from experiment import UNSET, add_setting_options, chosen_settings, model_digest, recipe

from ulmfit.config.artefact import Task
from ulmfit.config.data import ReadingConfig, ValidationConfig
from ulmfit.config.settings import to_dict
from ulmfit.config.stages import TrainConfig
from ulmfit.data.sources import Document, read_documents
from ulmfit.data.targets import Targets, targets_of
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.models.tfidf import TfidfModel
from ulmfit.stages.train import train
from ulmfit.training.calibration import fit_thresholds
from ulmfit.training.scores import scores_for

READING = ReadingConfig(label_column="labels")
LEAST = 5
"""Comments that must have a label for its threshold to be tuned."""

FEW_LABELS = recipe("few-labels")
SETTINGS = replace(
    FEW_LABELS,
    reading=READING,
    language_model=replace(
        FEW_LABELS.language_model,
        training=replace(FEW_LABELS.language_model.training, epochs=1.0, batch_size=32),
    ),
    classifier=replace(
        FEW_LABELS.classifier,
        dropout_multiplier=0.3,
        label_smoothing=0.0,
        training=replace(
            FEW_LABELS.classifier.training,
            epochs=4.0,
            batch_size=32,
            optimizer=replace(FEW_LABELS.classifier.training.optimizer, discriminative_factor=1.0),
        ),
    ),
)
"""The second that was measured: of the first, the test comments were seen too (LOG). The validation
comments choose the best evaluation."""


def trained(options: Namespace) -> TextClassifier:
    """Return the classifier, trained if it is not there yet."""
    settings = chosen_settings(SETTINGS, options)
    what = [to_dict(settings), model_digest(settings.pretrained)]
    folder = RUNS / f"goemotions-{settings.directions}-{digest(what)}"
    if not folder.exists():
        data = options.data / "goemotions"
        config: TrainConfig = replace(
            settings,
            data=str(data / "train.parquet"),
            validation=ValidationConfig(path=str(data / "valid.parquet")),
            output=str(folder),
            cache=str(RUNS / "cache"),
            resume=folder.with_name(folder.name + ".run").exists(),
        )
        assert UNSET not in (config.data, config.output)
        train(config)
    return TextClassifier.from_pretrained(folder, device="auto")


def read(path: Path) -> list[Document]:
    """Read the comments of a file with their labels."""
    return list(read_documents(path, READING, labelled=True))


def measures(task: Task, truth: Targets, answers: Any) -> dict[str, float]:
    """Return the scores of `answers`, rounded."""
    scores = scores_for(task)
    scores.add(truth, answers)
    return {name: round(value, 4) for name, value in scores.results().items()}


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    add_setting_options(options)
    parsed = parse(options, arguments)
    folder = parsed.data / "goemotions"
    names = ("train", "valid", "valid" if parsed.tune else "test")
    training, valid, measured = (read(folder / f"{name}.parquet") for name in names)
    classifier = trained(parsed)
    task = classifier.task
    truth = targets_of(measured, task)
    texts = [str(document.text) for document in measured]
    answers = classifier.predict_proba(texts)
    at_half = replace(task, thresholds=None)
    result: dict[str, Any] = {
        "ulmfit, thresholds tuned": measures(task, truth, answers),
        "ulmfit, 0.5": measures(at_half, truth, answers),
    }
    plain = replace(at_half, temperature=1.0)
    baseline = TfidfModel(plain).fit(
        [document.text for document in training], targets_of(training, plain)
    )
    on_valid = baseline.answers([document.text for document in valid])
    thresholds = fit_thresholds(targets_of(valid, plain), on_valid, "f1", LEAST)
    found = baseline.answers(texts)
    result |= {
        "tf-idf + lr, thresholds tuned": measures(
            replace(plain, thresholds=thresholds), truth, found
        ),
        "tf-idf + lr, 0.5": measures(plain, truth, found),
    }
    for name, row in result.items():
        print(name, row)
    if parsed.tune:
        line = {"trial": parsed.set, "directions": parsed.directions, "models": result}
        append_line(RUNS / "goemotions-tune.jsonl", line)
    else:
        settings = to_dict(chosen_settings(SETTINGS, parsed))
        write_result("goemotions", {"settings": settings, "models": result})


if __name__ == "__main__":
    main()
