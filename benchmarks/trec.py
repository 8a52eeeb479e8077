"""TREC-6: questions by the kind of their answer, with all labels or with 500 of them."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from common import Labelled, parse, parser, read_labelled
from experiment import Experiment, add_options, chosen_settings, recipe, run

from ulmfit.config.stages import SelfTrainingConfig

HELD_OUT = 545
"""Questions of train that `--tune` measures on: a tenth, as in the paper's ablations."""


SETTINGS = recipe("few-labels")
"""Chosen by trials on held-out questions of train, with 500 labels; errors on the test questions
had been measured with an earlier recipe."""

SELF_TRAINING = SelfTrainingConfig(rounds=2)
"""Of the draws of some labels, on all questions of train; chosen likewise."""


def experiment(options: Namespace) -> Experiment:
    """Return the experiment that the options ask for; `--tune` never opens the test file."""
    train = read_labelled(options.data / "trec" / "train.csv")
    if options.tune:
        measured, train = train.split(HELD_OUT, seed=0)
    else:
        measured = read_labelled(options.data / "trec" / "test.csv")

    settings = SETTINGS
    if options.labels is not None:
        settings = replace(settings, self_training=SELF_TRAINING)

    def draw(seed: int) -> Labelled:
        return train if options.labels is None else train.split(options.labels, seed)[0]

    return Experiment(
        name=f"trec-{options.labels or 'all'}",
        settings=chosen_settings(settings, options),
        text=train.texts,
        held_out=0.05,
        draw=draw,
        measured=measured,
        notes=(
            "Stage two reads all questions of train without their labels, once for all draws; with "
            "--labels, the classifier then labels the others itself and learns from them too."
        ),
    )


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--labels", type=int, help="labelled questions; without it, all of train")
    add_options(options)
    parsed = parse(options, arguments)
    run(experiment(parsed), parsed)


if __name__ == "__main__":
    main()
