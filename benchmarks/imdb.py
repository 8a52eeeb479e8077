"""IMDb: reviews for or against, with 500 labels and 10,000 reviews without."""

from __future__ import annotations

import random
from argparse import Namespace
from dataclasses import replace

from common import Labelled, parse, parser, read_labelled, read_texts
from experiment import Experiment, add_options, chosen_settings, recipe, run

from ulmfit.config.stages import SelfTrainingConfig

UNLABELLED = 10_000
MEASURED = 5_000
"""Reviews of the test set, not those of which the first settings were measured: between two trials
their errors on some draws were seen."""

HELD_OUT = 2_000
"""Reviews of train that `--tune` measures on."""

SETTINGS = replace(
    recipe("few-labels-long", "auto"),
    self_training=SelfTrainingConfig(
        rounds=1, teachers=3, documents=10_000, co_training="words", aligned=True, epochs=0.5
    ),
)
"""Chosen by trials on held-out reviews, to fit into an hour and a half of two fast cores."""

FEWEST = 200
"""With so few labels stage three is that of the recipe `few-labels`: the same, but longer."""


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

    settings = SETTINGS
    if options.labels <= FEWEST:
        settings = replace(settings, classifier=recipe("few-labels", "auto").classifier)

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
