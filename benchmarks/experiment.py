"""An experiment: stage two once, then a classifier and the baseline on each draw of labels.

A finished draw is a JSON line in `results/draws/NAME.jsonl` until all of them are done, and then
stands in the result; it is not run again. An interrupted one goes on from its checkpoint. The
fine-tuned language model of each direction is a folder named by all that decides it, and is shared
by every draw, and every experiment, with the same text and settings.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from baselines import (
    Predicted,
    sentence_vectors_logistic_regression,
    tfidf_logistic_regression,
)
from common import (
    RESULTS,
    RUNS,
    Labelled,
    append_line,
    commit,
    digest,
    draws_on_file,
    machine,
    mean_and_deviation,
    read_lines,
    write_labelled,
    write_result,
    write_texts,
)
from filelock import FileLock

from ulmfit.config.model import Direction
from ulmfit.config.settings import from_dict, read_values, to_dict
from ulmfit.config.stages import FinetuneConfig, TrainConfig, directions_of

SEEDS = (0, 1, 2, 3, 4)
"""The draws of a result; with fewer it is not written."""

DRAWS = RESULTS / "draws"
"""Where draws stand of which the others are still to be run."""

BASELINES = {"tf-idf": "tf-idf + lr", "minilm": "minilm + lr"}
"""Logistic regression by the option that asks for it, as the models are called in a result."""

LATER = ("quotes",)
"""Settings of reading that are younger than draws on file: unset, they change no draw's key."""

UNSET = "(set by the benchmark)"
"""What stands for the files in the settings of an experiment."""


@dataclass(frozen=True)
class Experiment:
    """What is measured: data, draws and settings."""

    name: str
    settings: TrainConfig
    """Of stages two and three; the files and the seed of stage three are set for each draw."""

    text: list[str]
    """What the language model is fine-tuned on, the same for every draw."""

    held_out: float
    """Share of `text` on which the fine-tuned language model is measured."""

    draw: Callable[[int], Labelled]
    """From a seed to the labelled documents."""

    measured: Labelled
    """Test documents or, while settings are chosen, validation documents."""

    baseline: Callable[[Labelled, list[str]], Predicted] = tfidf_logistic_regression
    """Learns from labelled documents and predicts the labels of texts."""

    notes: str = ""


def add_setting_options(options: ArgumentParser) -> None:
    """Add what `chosen_settings` reads."""
    options.add_argument("--pretrained", help="folder or name of the language model to start from")
    options.add_argument("--directions", choices=["forward", "backward", "both"])
    options.add_argument(
        "--from-scratch", action="store_true", help="without pretraining: weights drawn anew"
    )
    options.add_argument(
        "--tune",
        action="store_true",
        help="measure on documents held out of train; the test file is not opened",
    )
    options.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="with --tune: try other settings, such as classifier.training.epochs=6",
    )


def add_options(options: ArgumentParser) -> None:
    """Add what every experiment can be asked."""
    add_setting_options(options)
    options.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="draws to run")
    options.add_argument(
        "--stage-two",
        action="store_true",
        help="fine-tune the language model and stop; with --directions, half of it",
    )
    options.add_argument(
        "--baseline", choices=list(BASELINES), help="run a baseline alone, no training"
    )


def recipe(name: str, precision: str = "float32") -> TrainConfig:
    """Return the settings of a shipped recipe for `ulmfit train`; `auto` is its own precision."""
    settings = from_dict(TrainConfig, {**read_values(name), "data": UNSET, "output": UNSET}, name)
    return with_training(settings, precision=precision)


def with_training(settings: TrainConfig, **values: Any) -> TrainConfig:
    """Return `settings` with other values of the loop, in stages two and three."""

    def changed(stage: Any) -> Any:
        return replace(stage, training=replace(stage.training, **values))

    return replace(
        settings,
        language_model=changed(settings.language_model),
        classifier=changed(settings.classifier),
    )


def chosen_settings(settings: TrainConfig, options: Namespace) -> TrainConfig:
    """Return `settings` with the model, the directions and the trial values asked for."""
    if options.set and not options.tune:
        raise SystemExit("--set: settings are chosen on validation data; give --tune with it")
    values: dict[str, Any] = to_dict(settings)
    values["from_scratch"] = options.from_scratch
    given = {name: getattr(options, name) for name in ("pretrained", "directions")}
    values.update({name: value for name, value in given.items() if value is not None})
    for assignment in options.set:
        name, _, value = assignment.partition("=")
        *path, last = name.split(".")
        place = values
        for part in path:
            place = place.setdefault(part, {})
        place[last] = _parsed(value)
    return from_dict(TrainConfig, values, "--set")


def run(experiment: Experiment, options: Namespace) -> None:
    """Run the draws that are not done yet, and write and print their summary."""
    if options.stage_two:
        print(shared_language_model(experiment))
        return
    kinds = [kind for kind in ("from_scratch", "tune") if getattr(options, kind)]
    kinds += [options.baseline] if options.baseline else []
    name = "-".join([experiment.name, *kinds]).replace("_", "-")
    done_file = (RUNS if options.tune else DRAWS) / f"{name}.jsonl"
    what = _identity(experiment, options.baseline)
    rows = []
    for seed in options.seeds:
        labelled = experiment.draw(seed)
        key = digest([what, seed, labelled])
        done = [*read_lines(done_file), *draws_on_file(name)]
        row = next((line for line in done if line["key"] == key), None)
        if row is None:
            print(f"{name}, seed {seed}", file=sys.stderr)
            row = {"key": key, "seed": seed, "commit": commit(), "machine": machine()}
            row |= _measure(experiment, labelled, seed, key, options.baseline)
            row |= {"trial": options.set} if options.set else {}
            append_line(done_file, row)
        rows.append(row)
    summary = summarize(rows)
    print_summary(name, summary, rows)
    if not options.tune and set(SEEDS) <= {row["seed"] for row in rows}:
        write_result(name, {"notes": experiment.notes, **what, "summary": summary, "draws": rows})
        done_file.unlink(missing_ok=True)


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation over the draws of each model's measures and of the seconds."""
    measures = {
        model: {
            measure: mean_and_deviation(row["models"][model][measure] for row in rows)
            for measure in rows[0]["models"][model]
        }
        for model in rows[0]["models"]
    }
    seconds = {
        part: mean_and_deviation(row["seconds"][part] for row in rows)
        for part in rows[0]["seconds"]
    }
    return {"models": measures, "seconds": seconds}


def print_summary(name: str, summary: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print mean and deviation of each model, and of the seconds."""
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "error, %", "macro F1", title=f"{name}, seeds {_seeds(rows)}")
    for model, measured in summary["models"].items():
        table.add_row(model, _shown(measured["error"]), _shown(measured["macro_f1"]))
    console = Console()
    console.print(table)
    times = ", ".join(f"{part} {_shown(value)}" for part, value in summary["seconds"].items())
    console.print(f"seconds: {times}")


def _measure(
    experiment: Experiment, labelled: Labelled, seed: int, key: str, baseline: str | None
) -> dict[str, Any]:
    """Train on one draw, predict, and return errors and seconds."""
    models: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    if baseline is None:
        models, seconds = _ours(experiment, labelled, seed, key)
    name, learned = BASELINES[baseline or "tf-idf"], experiment.baseline
    if baseline == "minilm":
        learned = sentence_vectors_logistic_regression
    predicted = learned(labelled, experiment.measured.texts)
    models[name] = _measures(experiment.measured.labels, predicted.labels)
    seconds[name] = round(predicted.seconds, 2)
    return {"labels": len(labelled.texts), "models": models, "seconds": seconds}


def _ours(
    experiment: Experiment, labelled: Labelled, seed: int, key: str
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Return the measures of each direction and of both, and the seconds of each part."""
    from ulmfit.models.text_classifier import TextClassifier
    from ulmfit.stages.train import train

    language_model, seconds = shared_language_model(experiment)
    folder = RUNS / f"{experiment.name}-{key}"
    config = _draw_settings(experiment, labelled, seed, folder, language_model)
    began = time.perf_counter()
    if not folder.exists():
        train(config)
    trained = time.perf_counter()
    classifier = TextClassifier.from_pretrained(folder, device="auto")
    by_member = classifier.member_probabilities(experiment.measured.texts)
    seconds |= {
        "classifier": round(max(trained - began, _trained(classifier.run["train"])), 1),
        "prediction": round(time.perf_counter() - trained, 1),
    }
    seconds = {**seconds, "all": round(sum(seconds.values()), 1)}
    shares = [member.member.weight for member in classifier.members]
    found: dict[str, Any] = {}
    for member, probabilities in zip(classifier.members, by_member, strict=True):
        found[member.member.direction] = probabilities
    if len(by_member) > 1:
        found["both"] = np.average(by_member, axis=0, weights=shares)
    names = classifier.labels
    models = {
        name: _measures(experiment.measured.labels, [names[i] for i in probabilities.argmax(1)])
        for name, probabilities in found.items()
    }
    shutil.rmtree(folder)
    return models, seconds


def shared_language_model(experiment: Experiment) -> tuple[Path, dict[str, float]]:
    """Return the folder of the fine-tuned language models, and the seconds stage two took.

    Each direction is made once; a second process that wants the same one waits for it.
    """
    from ulmfit.models.language_model import LanguageModel, save_language_models

    settings = experiment.settings
    if settings.language_model.skip:
        return Path(settings.pretrained), {}
    text = experiment.text
    texts = RUNS / "text" / f"{digest(text)}.jsonl"
    if not texts.exists():
        write_texts(texts, text)
    folders = [_finetuned(experiment, texts, way) for way in directions_of(settings.directions)]
    seconds = sum(_seconds_of(folder) for folder in folders)
    if len(folders) == 1:
        return folders[0], {"language model": seconds}
    joined = RUNS / f"language-model-{digest([folder.name for folder in folders])}"
    with FileLock(joined.with_name(joined.name + ".making")):
        if not joined.exists():
            save_language_models([LanguageModel.from_pretrained(f) for f in folders], joined)
    return joined, {"language model": seconds}


def _finetuned(experiment: Experiment, texts: Path, direction: Direction) -> Path:
    """Return the folder of the language model of one direction, made if it is not there."""
    from ulmfit.stages.finetune import finetune

    stage = experiment.settings.language_model
    names = [field.name for field in fields(stage) if field.name != "skip"]
    config = FinetuneConfig(
        output=UNSET,
        pretrained=experiment.settings.pretrained,
        from_scratch=experiment.settings.from_scratch,
        texts=(str(texts),),
        validation_fraction=experiment.held_out,
        directions=direction,
        cache=str(RUNS / "cache"),
        **{name: getattr(stage, name) for name in names},
    )
    what = [_plain(config), model_digest(config.pretrained), texts.stem]
    folder = RUNS / f"language-model-{direction}-{digest(what)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".making")):
        if not folder.exists():
            resumed, began = _interrupted(folder), time.perf_counter()
            finetune(replace(config, output=str(folder), resume=resumed))
            seconds = time.perf_counter() - began
            if not resumed:
                _seconds_file(folder).write_text(json.dumps(round(seconds, 1)))
    return folder


def _draw_settings(
    experiment: Experiment, labelled: Labelled, seed: int, folder: Path, language_model: Path
) -> TrainConfig:
    """Return the settings of stage three for one draw."""
    settings = experiment.settings
    data = write_labelled(RUNS / "labelled" / f"{folder.name}.jsonl", labelled)
    texts = RUNS / "text" / f"{digest(experiment.text)}.jsonl"
    training = replace(settings.classifier.training, seed=seed)
    return replace(
        settings,
        data=str(data),
        unlabelled=(str(texts),) if settings.self_training.rounds else (),
        output=str(folder),
        pretrained=str(language_model),
        from_scratch=settings.from_scratch and settings.language_model.skip,
        resume=_interrupted(folder),
        cache=str(RUNS / "cache"),
        language_model=replace(settings.language_model, skip=True),
        classifier=replace(settings.classifier, training=training),
    )


def model_digest(name: str) -> str:
    """Return a hash of the model called `name`: its configuration, which holds the others'."""
    from ulmfit.models.folder import resolve

    return hashlib.sha256((resolve(name) / "config.json").read_bytes()).hexdigest()


def _identity(experiment: Experiment, baseline: str | None) -> dict[str, Any]:
    """Return all that decides what a draw gives, but its seed."""
    data = {"text": digest(experiment.text), "measured": digest(experiment.measured)}
    if baseline is not None:
        return {"data": data, "baseline": baseline}
    settings = experiment.settings
    name = settings.pretrained
    pretrained = {"name": Path(name).name, "sha256": model_digest(name)}
    return {"data": data, "settings": _plain(settings), "pretrained": pretrained}


def _plain(config: TrainConfig | FinetuneConfig) -> dict[str, Any]:
    """Return the settings that decide what is made, without files and ways of calling."""
    files = ("data", "output", "texts", "unlabelled", "pretrained", "cache", "resume", "overwrite")
    plain = {name: value for name, value in to_dict(config).items() if name not in files}
    plain["reading"] = {
        name: value
        for name, value in plain["reading"].items()
        if value is not None or name not in LATER
    }
    return plain


def _measures(labels: list[str], predicted: list[str]) -> dict[str, float]:
    """Return the test error in per cent and the macro F1."""
    from ulmfit.training.metrics import error, macro_f1

    names = {name: i for i, name in enumerate(sorted({*labels, *predicted}))}
    true, said = (np.array([names[label] for label in side]) for side in (labels, predicted))
    return {"error": round(100 * error(true, said), 3), "macro_f1": round(macro_f1(true, said), 4)}


def _trained(record: Mapping[str, Any]) -> float:
    """Return the seconds that the parts of a run say they trained, before a resumption too."""
    return float(sum(part.get("seconds", 0.0) for part in record["results"].values()))


def _interrupted(folder: Path) -> bool:
    """Tell whether a run that is to make `folder` was stopped before its end."""
    return folder.with_name(folder.name + ".run").exists()


def _seconds_of(language_model: Path) -> float:
    """Return how long stage two took; of an interrupted run, the training alone."""
    from ulmfit.models.folder import read_config

    if _seconds_file(language_model).exists():
        return float(json.loads(_seconds_file(language_model).read_text()))
    return _trained(read_config(language_model).run["finetune"])


def _seconds_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".seconds")


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _shown(value: dict[str, float]) -> str:
    return f"{value['mean']:.4g} ± {value['deviation']:.2g}"


def _seeds(rows: list[dict[str, Any]]) -> str:
    return ", ".join(str(row["seed"]) for row in rows)
