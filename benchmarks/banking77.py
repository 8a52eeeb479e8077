"""Banking77: customers' messages by what they ask for; 77 intents, ten labelled of each."""

from __future__ import annotations

from argparse import Namespace

from common import Labelled, parse, parser, read_labelled
from experiment import Experiment, add_options, chosen_settings, recipe, run

HELD_OUT = 2_000
"""Messages of train that `--tune` measures on."""

SETTINGS = recipe("few-labels")


def experiment(options: Namespace) -> Experiment:
    """Return the experiment that the options ask for; `--tune` never opens the test file."""
    train = read_labelled(options.data / "banking77" / "train.csv")
    if options.tune:
        measured, labelled = train.split(HELD_OUT, seed=0)
    else:
        measured, labelled = read_labelled(options.data / "banking77" / "test.csv"), train

    def draw(seed: int) -> Labelled:
        return labelled.take_of_each(options.labels, seed)

    return Experiment(
        name=f"banking77-{options.labels}",
        settings=chosen_settings(SETTINGS, options),
        text=labelled.texts,
        held_out=0.05,
        draw=draw,
        measured=measured,
        notes="Stage two reads all messages of train without their labels, once for all draws.",
    )


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--labels", type=int, default=10, help="labelled messages of each intent")
    add_options(options)
    parsed = parse(options, arguments)
    run(experiment(parsed), parsed)


if __name__ == "__main__":
    main()
