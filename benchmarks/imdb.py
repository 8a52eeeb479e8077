"""IMDb: reviews for or against, with 500 labels and 10,000 reviews without."""

from __future__ import annotations

import random
from argparse import Namespace
from dataclasses import replace

from common import Labelled, parse, parser, read_labelled, read_texts
from experiment import Experiment, add_options, chosen_settings, recipe, run

from ulmfit.config.stages import RegularizationConfig, SelfTrainingConfig

UNLABELLED = 10_000
MEASURED = 5_000
"""Reviews of the test set, not those of which the first settings were measured: between two trials
their errors on some draws were seen."""

HELD_OUT = 2_000
"""Reviews of train that `--tune` measures on."""

FEW_LABELS = recipe("few-labels", "auto")
STAGE_TWO, STAGE_THREE = FEW_LABELS.language_model, FEW_LABELS.classifier
SETTINGS = replace(
    FEW_LABELS,
    language_model=replace(
        STAGE_TWO,
        dropout_multiplier=0.2,
        regularization=RegularizationConfig(alpha=0.0, beta=0.0),
        training=replace(
            STAGE_TWO.training,
            epochs=4.0,
            batch_size=32,
            optimizer=replace(
                STAGE_TWO.training.optimizer, learning_rate=4e-3, discriminative_factor=1.0
            ),
        ),
    ),
    self_training=SelfTrainingConfig(
        rounds=1, teachers=3, documents=10_000, co_training="words", aligned=True, epochs=0.5
    ),
)
"""Chosen on validation data alone, to fit into an hour and a half of two cores."""


def epochs(labels: int) -> float:
    """Return the passes of stage three: reviews are long, and half the recipe's are enough."""
    return 6.0 if labels > 200 else STAGE_THREE.training.epochs


def experiment(options: Namespace) -> Experiment:
    """Return the experiment that the options ask for; `--tune` never opens the test file."""
    folder = options.data / "imdb"
    unlabelled = read_texts(folder / "unsup.parquet")
    train = read_labelled(folder / "train.parquet")
    if options.tune:
        measured, train = train.split(HELD_OUT, seed=0)
    else:
        _, others = read_labelled(folder / "test.parquet").split(MEASURED, seed=0)
        measured, _ = others.split(MEASURED, seed=0)

    training = replace(SETTINGS.classifier.training, epochs=epochs(options.labels))
    settings = replace(SETTINGS, classifier=replace(SETTINGS.classifier, training=training))

    def draw(seed: int) -> Labelled:
        return train.split(options.labels, seed)[0]

    return Experiment(
        name=f"imdb-{options.labels}",
        settings=chosen_settings(settings, options),
        text=random.Random(0).sample(unlabelled, UNLABELLED),
        held_out=0.02,
        draw=draw,
        measured=measured,
        notes=(
            f"Stage two reads {UNLABELLED:,} reviews of unsup.parquet (seed 0), none of the "
            f"labelled ones, once for all draws; measured on {MEASURED:,} reviews of the test "
            "set, stratified, that were never measured while settings were chosen. seconds.all: "
            "from the pretrained folder to the predictions of one draw, stage two included."
        ),
    )


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--labels", type=int, default=500, help="labelled reviews a draw")
    add_options(options)
    parsed = parse(options, arguments)
    run(experiment(parsed), parsed)


if __name__ == "__main__":
    main()
