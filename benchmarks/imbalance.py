"""One message in a hundred is spam: class weights, the focal loss, and nothing, on the same draws.

Made from SMS Spam: 1,000 labelled messages of which 10 are spam, five draws; measured on 2,500
others of which 25 are spam, and on the same ham with all other spam. The language model reads all
messages without their labels, once for all.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    RUNS,
    Labelled,
    append_line,
    digest,
    mean_and_deviation,
    parse,
    parser,
    read_labelled,
    read_lines,
    write_labelled,
    write_result,
    write_texts,
)
from experiment import model_digest

from ulmfit.config.artefact import Task
from ulmfit.config.settings import from_dict
from ulmfit.config.stages import FinetuneConfig, TrainConfig
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.stages.finetune import finetune
from ulmfit.stages.train import train
from ulmfit.training.scores import scores_for

SEEDS = (0, 1, 2, 3, 4)
RARE, LABELLED, MEASURED = 100, 1_000, 2_500
"""One in so many is spam; labelled messages; messages measured on."""

WAYS: dict[str, dict[str, Any]] = {
    "unweighted": {},
    "balanced": {"class_weights": "balanced"},
    "focal, gamma 2": {"focal_gamma": 2.0},
}
STAGE_TWO = {
    "sampled_words": 3000,
    "training": {"epochs": 2.0, "batch_size": 16, "threads": 1},
}
TRAINING = {"epochs": 8.0, "batch_size": 32, "threads": 1}
DONE = RUNS / "imbalance.jsonl"


def draw(messages: Labelled, seed: int) -> tuple[Labelled, Labelled, Labelled]:
    """Return labelled messages, rare spam to measure on, and the same with all other spam."""
    generator = np.random.default_rng(seed)
    spam, ham = (
        generator.permutation([i for i, label in enumerate(messages.labels) if label == name])
        for name in ("spam", "ham")
    )
    rare, rare_measured = LABELLED // RARE, MEASURED // RARE
    common, common_measured = LABELLED - rare, MEASURED - rare_measured
    measured_ham = ham[common : common + common_measured]
    return (
        messages.take([*spam[:rare], *ham[:common]]),
        messages.take([*spam[rare : rare + rare_measured], *measured_ham]),
        messages.take([*spam[rare:], *measured_ham]),
    )


def pretrained() -> str:
    """Return a hash of the model that all begins with."""
    return model_digest("wikipedia-en-small")


def language_model(messages: Labelled, options: Namespace) -> Path:
    """Return the folder of the language model that has read all messages; made once."""
    folder = RUNS / f"language-model-sms-{options.direction}-{digest([STAGE_TWO, pretrained()])}"
    if not folder.exists():
        values = {
            **STAGE_TWO,
            "texts": [str(write_texts(RUNS / "text" / "sms.jsonl", messages.texts))],
            "output": str(folder),
            "cache": str(RUNS / "cache"),
            "directions": options.direction,
            "resume": folder.with_name(folder.name + ".run").exists(),
        }
        finetune(from_dict(FinetuneConfig, values, "imbalance"))
    return folder


def macro_f1(classifier: TextClassifier, measured: Labelled) -> float:
    """Return the macro F1 on messages."""
    task: Task = classifier.task
    scores = scores_for(task)
    truth = np.array([task.labels.index(label) for label in measured.labels])
    scores.add(truth, classifier.predict_proba(measured.texts))
    return round(scores.results()["macro_f1"], 4)


def run(messages: Labelled, seed: int, way: str, options: Namespace) -> dict[str, Any]:
    """Train on one draw in one way and measure."""
    labelled, rare, common = draw(messages, seed)
    folder = RUNS / f"imbalance-{digest([way, seed, TRAINING])}"
    values = {
        "data": str(write_labelled(RUNS / "labelled" / f"{folder.name}.jsonl", labelled)),
        "output": str(folder),
        "overwrite": True,
        "pretrained": str(language_model(messages, options)),
        "directions": options.direction,
        "cache": str(RUNS / "cache"),
        "language_model": {"skip": True},
        "classifier": {**WAYS[way], "training": {**TRAINING, "seed": seed}},
    }
    train(from_dict(TrainConfig, values, "imbalance"))
    classifier = TextClassifier.from_pretrained(folder)
    return {
        "macro_f1": macro_f1(classifier, rare),
        "macro_f1_with_all_other_spam": macro_f1(classifier, common),
    }


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options.add_argument("--direction", choices=["forward", "backward"], default="forward")
    parsed = parse(options, arguments)
    messages = read_labelled(parsed.data / "sms-spam" / "messages.csv")
    rows, settings = [], digest([WAYS, STAGE_TWO, TRAINING, pretrained()])
    for seed in parsed.seeds:
        for way in WAYS:
            key = {"seed": seed, "way": way, "direction": parsed.direction, "settings": settings}
            found = next((r for r in read_lines(DONE) if key.items() <= r.items()), None)
            if found is None:
                found = {**key, **run(messages, seed, way, parsed)}
                append_line(DONE, found)
            rows.append(found)
    summary = {
        way: {
            measure: mean_and_deviation(row[measure] for row in rows if row["way"] == way)
            for measure in ("macro_f1", "macro_f1_with_all_other_spam")
        }
        for way in WAYS
    }
    print(json.dumps(summary, indent=2))
    write_result("imbalance", {"direction": parsed.direction, "ways": summary, "rows": rows})


if __name__ == "__main__":
    main()
