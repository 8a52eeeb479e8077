"""Where the time of a training goes on the machine and data at hand, and what to change."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import torch

from ulmfit.config.training import TrainingConfig
from ulmfit.config.trials import ProfileConfig
from ulmfit.nn.operations import decoder_operations, encoder_operations
from ulmfit.stages.output_file import check_not_read, named_output, whole_file
from ulmfit.stages.record import describe_machine
from ulmfit.stages.trial import Trial, trial
from ulmfit.training.loop import Task
from ulmfit.training.profiling import PARTS, Profile, StepProfile, products_a_second, profile

MUCH = {"data": 0.05, "head": 0.35, "optimizer": 0.15}
"""From which share of a step on a part is worth a change."""

SAMPLED_WORDS = 3000
"""What is proposed for a decoder that takes long; measured in `benchmarks/LOG.md`."""


def profile_training(config: ProfileConfig, *, quiet: bool = False) -> str:
    """Time some steps of both stages; return a table of the parts, and what could be changed.

    Raises `UlmfitError` for wrong settings, bad data, or a damaged model.
    """
    output = None if config.output is None else named_output(config.output, ".json")
    check_not_read(output, config.data, *config.unlabelled)
    with nullcontext() if output is None else whole_file(output) as file:
        with trial(config, quiet) as ready:
            found = _measured(ready, config.steps)
        if file is not None:
            json.dump(found, file, indent=1, ensure_ascii=False)
    return "\n".join([*_table(found), *(f"- {line}" for line in found["advice"])])


def _measured(ready: Trial, steps: int) -> dict[str, Any]:
    precision, device = ready.machine.precision, ready.machine.device
    peak = products_a_second(device, precision, ready.model.config.hidden_size)
    settings = ready.settings
    classifier = ready.classifier()  # takes the language model's weights before they are spoilt
    stages: dict[str, tuple[Task, TrainingConfig]] = {
        "language model": (ready.language_model(), settings.language_model.training),
        "classifier": (classifier, settings.classifier.training),
    }
    rows, evaluations = [], {}
    for name, (task, training) in stages.items():
        of_stage = profile(task, training, precision, steps)
        rows += [_row(ready, name, phase, peak) for phase in of_stage.phases]
        evaluations[name] = _evaluation(of_stage)
    return {
        "machine": describe_machine(),
        "precision": precision,
        "products_gflops": round(peak / 1e9, 1),
        "steps": rows,
        "evaluation": evaluations,
        "advice": _advice(ready, rows, evaluations),
    }


def _row(ready: Trial, stage: str, phase: StepProfile, peak: float) -> dict[str, Any]:
    operations = _operations(ready, stage, phase.trainable) * phase.tokens_per_second
    return {
        "stage": stage,
        "trainable": len(phase.trainable),
        "tokens_per_second": round(phase.tokens_per_second, 1),
        "shares": {part: round(phase.share(part), 4) for part in PARTS},
        "gflops": round(operations / 1e9, 2),
        "share_of_products": round(operations / peak, 4),
    }


def _operations(ready: Trial, stage: str, trainable: tuple[int, ...]) -> int:
    """Return the operations of a training step for a token; the small head is left out."""
    config = ready.model.config
    if stage == "classifier":  # groups: embedding, layers, head
        return encoder_operations(config, [g - 1 for g in trainable if g <= config.layers])
    words = ready.settings.language_model.sampled_words or config.vocab_size
    learning = [-1 if g == config.layers else g for g in trainable]  # groups: layers, embedding
    return encoder_operations(config, learning) + decoder_operations(config, words, training=True)


def _evaluation(of_stage: Profile) -> dict[str, float]:
    """Return what an evaluation takes, and which share of the training its evaluations are."""
    last = of_stage.phases[-1]
    step = sum(last.seconds.values()) / last.steps
    epoch = step * of_stage.steps_of_epoch
    evaluating = of_stage.evaluation_seconds * of_stage.evaluations_of_epoch
    return {
        "seconds": round(of_stage.evaluation_seconds, 3),
        "share": round(evaluating / (epoch + evaluating), 4),
    }


def _advice(
    ready: Trial, rows: list[dict[str, Any]], evaluations: dict[str, dict[str, float]]
) -> list[str]:
    """Return what would make the training quicker here, by what took long."""
    settings, advice = ready.settings, []
    whole = {row["stage"]: row["shares"] for row in rows}  # of a stage, its last phase
    language_model = whole["language model"]
    sampled = settings.language_model.sampled_words
    if language_model["head"] > MUCH["head"] and not 0 < sampled <= SAMPLED_WORDS:
        advice.append(
            f"the decoder takes {language_model['head']:.0%} of a step of stage 2: try "
            f"--language-model.sampled-words {SAMPLED_WORDS}"
        )
    stages = {"language model": "language-model", "classifier": "classifier"}
    for stage, option in stages.items():
        if whole[stage]["optimizer"] > MUCH["optimizer"]:
            advice.append(
                f"the optimiser takes {whole[stage]['optimizer']:.0%} of a step ({stage}): a "
                f"larger --{option}.training.batch-size takes fewer steps"
            )
        if whole[stage]["data"] > MUCH["data"]:
            advice.append(
                f"{whole[stage]['data']:.0%} of a step is waiting for data ({stage}): is the "
                "folder for temporary files, or --cache, on a slow or a network disk?"
            )
        if evaluations[stage]["share"] > MUCH["data"]:
            advice.append(
                f"evaluations take {evaluations[stage]['share']:.0%} of the time ({stage}): fewer, "
                f"by --{option}.training.evaluate-every, or less data held out"
            )
    if ready.machine.device.type == "cpu" and torch.cuda.is_available():
        advice.append("there is a GPU: --classifier.training.device cuda")
    return advice or ["nothing stands out: the time goes into the products of the network itself"]


def _table(found: dict[str, Any]) -> list[str]:
    """Return the lines of the table for the terminal."""
    lines = [f"products of matrices reach {found['products_gflops']:.0f} GF/s here"]
    heading = "".join(f"{part:>11}" for part in PARTS)
    lines.append(f"{'':<28}{'tokens/s':>9}{heading}{'of products':>13}")
    for row in found["steps"]:
        groups = f"{row['stage']}, {row['trainable']} group{'s' * (row['trainable'] > 1)}"
        shares = "".join(f"{row['shares'][part]:>11.1%}" for part in PARTS)
        share = row["share_of_products"]
        lines.append(f"{groups:<28}{row['tokens_per_second']:>9,.0f}{shares}{share:>13.1%}")
    for stage, evaluation in found["evaluation"].items():
        lines.append(
            f"{stage}, an evaluation: {evaluation['seconds']:.2f} s, "
            f"{evaluation['share']:.1%} of the time"
        )
    return lines
