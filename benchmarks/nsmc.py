"""NSMC: Korean reviews of films for or against, with 1,000 labels and the others without.

The language model is pretrained with one command and nothing set:

    ulmfit pretrain --texts ../shared/data/wikipedia-ko/train.parquet --output runs/wikipedia-ko
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from functools import partial

from baselines import tfidf_logistic_regression
from common import ROOT, Labelled, parse, parser, read_labelled
from experiment import Experiment, add_options, chosen_settings, recipe, run

HELD_OUT = 5_000
"""Reviews of train that `--tune` measures on."""

SETTINGS = replace(recipe("few-labels", "auto"), pretrained=str(ROOT / "runs" / "wikipedia-ko"))
"""The recipe as it stands: nothing was chosen for Korean, and precision is the machine's."""


def experiment(options: Namespace) -> Experiment:
    """Return the experiment that the options ask for; `--tune` never opens the test file."""
    train = read_labelled(options.data / "nsmc" / "train.parquet")
    if options.tune:
        measured, labelled = train.split(HELD_OUT, seed=0)
    else:
        measured, labelled = read_labelled(options.data / "nsmc" / "test.parquet"), train

    def draw(seed: int) -> Labelled:
        return labelled.split(options.labels, seed)[0]

    return Experiment(
        name=f"nsmc-{options.labels}",
        settings=chosen_settings(SETTINGS, options),
        text=labelled.texts,
        held_out=0.02,
        draw=draw,
        measured=measured,
        baseline=partial(tfidf_logistic_regression, characters=True),
        notes=(
            "Stage two reads all reviews of train without their labels, once for all draws. The "
            "test set is the official one; train is drawn anew from the publisher's reviews."
        ),
    )


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--labels", type=int, default=1_000, help="labelled reviews a draw")
    add_options(options)
    parsed = parse(options, arguments)
    run(experiment(parsed), parsed)


if __name__ == "__main__":
    main()
