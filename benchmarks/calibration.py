"""Can the probabilities be believed? Expected calibration error with 2,000 labels, IMDb and AG.

Of the labelled documents a tenth is held out; on it the best evaluation is chosen and the
temperature fitted. Measured on 5,000 test documents, with the temperature and without.
"""

from __future__ import annotations

import json
import random
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import imdb
import numpy as np
from common import RUNS, Labelled, digest, parse, parser, read_labelled, read_texts, write_labelled
from common import write_result as write
from experiment import Experiment, model_digest, shared_language_model

from ulmfit.config.artefact import Task
from ulmfit.config.data import ValidationConfig
from ulmfit.config.settings import to_dict
from ulmfit.config.stages import SelfTrainingConfig, TrainConfig
from ulmfit.data.answers import tempered
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.stages.train import train
from ulmfit.training.scores import scores_for

LABELS, MEASURED, UNLABELLED = 2_000, 5_000, 10_000

STAGE_THREE = imdb.SETTINGS.classifier
SETTINGS: TrainConfig = replace(
    imdb.SETTINGS,
    validation=ValidationConfig(fraction=0.1),
    classifier=replace(
        STAGE_THREE, label_smoothing=0.0, training=replace(STAGE_THREE.training, epochs=3.0)
    ),
    self_training=SelfTrainingConfig(rounds=0),
)
"""The recipe's stage three with half of its epochs, as there are many labels, after the stage
two of `imdb.py`. Label smoothing would be a calibration of its own."""


def experiment(name: str, options: Namespace) -> Experiment:
    """Return data and settings of one of the two; stage two is that of `imdb.py` for IMDb."""
    if name == "imdb":
        folder = options.data / "imdb"
        texts = random.Random(0).sample(read_texts(folder / "unsup.parquet"), UNLABELLED)
        train_set, test = (read_labelled(folder / f"{n}.parquet") for n in ("train", "test"))
    else:
        folder = options.data / "ag-news"
        train_set = read_labelled(folder / "train-partial.parquet")
        test = read_labelled(folder / "test.parquet")
        texts = random.Random(0).sample(train_set.texts, UNLABELLED)
    measured, _ = test.split(MEASURED, seed=0)

    def draw(seed: int) -> Labelled:
        return train_set.split(LABELS, seed)[0]

    settings = replace(SETTINGS, directions=options.directions)
    return Experiment(f"calibration-{name}", settings, texts, 0.02, draw, measured)


def trained(made: Experiment) -> Path:
    """Return the folder of the classifier, trained if it is not there yet."""
    what = [to_dict(made.settings), model_digest(made.settings.pretrained)]
    folder = RUNS / f"{made.name}-{made.settings.directions}-{digest(what)}"
    if not folder.exists():
        language_model, _ = shared_language_model(made)
        config: TrainConfig = replace(
            made.settings,
            data=str(write_labelled(RUNS / "labelled" / f"{made.name}.jsonl", made.draw(0))),
            output=str(folder),
            pretrained=str(language_model),
            cache=str(RUNS / "cache"),
            resume=Path(f"{folder}.run").exists(),
            language_model=replace(made.settings.language_model, skip=True),
        )
        train(config)
    return folder


def measures(made: Experiment, classifier: TextClassifier) -> dict[str, Any]:
    """Return the scores on the test documents with the temperature fitted, and with none."""
    task: Task = classifier.task
    truth = np.array([task.labels.index(label) for label in made.measured.labels])
    shares = [each.member.weight for each in classifier.members]
    by_member = classifier.member_probabilities(made.measured.texts)
    mean = np.average(by_member, axis=0, weights=shares)
    result: dict[str, Any] = {"temperature": round(task.temperature, 4)}
    for name, temperature in (("fitted", task.temperature), ("without", 1.0)):
        scores = scores_for(replace(task, temperature=temperature))
        scores.add(truth, tempered(task.kind, mean, temperature))
        result[name] = {key: round(value, 4) for key, value in scores.results().items()}
    return result


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--only", choices=["imdb", "ag-news"])
    options.add_argument("--directions", choices=["forward", "backward", "both"], default="both")
    parsed = parse(options, arguments)
    found = {}
    for name in [parsed.only] if parsed.only else ["imdb", "ag-news"]:
        made = experiment(name, parsed)
        classifier = TextClassifier.from_pretrained(trained(made), device="auto")
        found[name] = {**measures(made, classifier), "settings": to_dict(made.settings)}
        print(json.dumps({name: found[name]}, indent=2))
    suffix = f"-{parsed.only}" if parsed.only else ""
    write(f"calibration{suffix}", {"labels": LABELS, "measured": MEASURED, "models": found})


if __name__ == "__main__":
    main()
