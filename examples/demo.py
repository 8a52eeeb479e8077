"""A text classifier from 100 labels and some thousand unlabelled messages, in a few minutes.

Fine-tunes the shipped English language model on the messages of `data/sms-spam`, makes a
classifier of it, forward and backward, and measures it beside a linear baseline that learns from
the same labels; then classifies a few sentences, and any that you type.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "examples" / "data" / "sms-spam"
OUTPUT = ROOT / "demo-model"

# The budget: two cores should need less than six minutes.
LANGUAGE_MODEL_EPOCHS = 1.0
CLASSIFIER_EPOCHS = 12.0

SENTENCES = (
    "Are we still meeting for lunch tomorrow?",
    "WINNER!! You have been selected for a free holiday. Call 09061701461 now to claim.",
    "I'll be ten minutes late, start without me",
    "URGENT! Your mobile number has won a £2000 prize. Reply YES to receive it.",
    "Can you pick up some milk on your way home?",
)


class Measured(NamedTuple):
    """A line of the table."""

    name: str
    error: float
    macro_f1: float
    seconds: float | None


def read(path: Path) -> tuple[list[str], list[str]]:
    """Return the texts and labels of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def linear_baseline(texts: list[str], labels: list[str], test: list[str]) -> tuple[Any, float]:
    """Return what TF-IDF and logistic regression learn to say of `test`, and the seconds.

    Spam is rare: without balanced classes the baseline calls nearly everything ham.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    began = time.perf_counter()
    model: Any = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=30.0, class_weight="balanced", max_iter=1000),
    )
    predicted = model.fit(texts, labels).predict(test)
    return predicted, time.perf_counter() - began


def train_classifier(options: argparse.Namespace) -> Path:
    """Fine-tune the language model and train the classifier in both directions."""
    from ulmfit.config.stages import ClassifierStage, LanguageModelStage, TrainConfig
    from ulmfit.config.training import OptimizerConfig, TrainingConfig
    from ulmfit.stages.train import train

    config = TrainConfig(
        data=str(DATA / "labelled.csv"),
        unlabelled=(str(DATA / "unlabelled.csv"),),
        output=str(OUTPUT),
        overwrite=True,
        pretrained=options.pretrained,
        language_model=LanguageModelStage(
            training=TrainingConfig(epochs=options.language_model_epochs, batch_size=16)
        ),
        classifier=ClassifierStage(
            training=TrainingConfig(
                epochs=options.classifier_epochs,
                batch_size=16,
                optimizer=OptimizerConfig(learning_rate=1e-2),
                unfreezing="gradual",
            ),
            class_weights="balanced",
        ),
    )
    return train(config)


def measure(name: str, labels: Sequence[str], found: Any, seconds: float | None) -> Measured:
    """Return the error, in per cent, and the macro F1 of the labels `found`."""
    from sklearn.metrics import accuracy_score, f1_score

    error = 100 * (1 - float(accuracy_score(labels, found)))
    return Measured(name, error, float(f1_score(labels, found, average="macro")), seconds)


def show(rows: Sequence[Measured], console: Console) -> None:
    """Print the table."""
    table = Table(title="1,000 test messages, 100 labels to learn from")
    table.add_column("model")
    for column in ("test error, %", "macro F1", "seconds"):
        table.add_column(column, justify="right")
    for row in rows:
        seconds = "" if row.seconds is None else f"{row.seconds:,.1f}"
        table.add_row(row.name, f"{row.error:.1f}", f"{row.macro_f1:.3f}", seconds)
    console.print(table)


def classify(classifier: Any, texts: Sequence[str], console: Console) -> None:
    """Print the likeliest label of each text with its probability."""
    for text, probabilities in zip(texts, classifier.predict_proba(texts), strict=True):
        best = int(probabilities.argmax())
        line = f"{classifier.labels[best]:>5} {probabilities[best]:4.0%}  {text}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def invite(classifier: Any, console: Console) -> None:
    """Classify what is typed until an empty line."""
    console.print("\nType a message of your own; an empty line ends.")
    try:
        while text := input("> ").strip():
            classify(classifier, [text], console)
    except (EOFError, KeyboardInterrupt):
        console.print()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pretrained", default="wikipedia-en-small")
    parser.add_argument("--language-model-epochs", type=float, default=LANGUAGE_MODEL_EPOCHS)
    parser.add_argument("--classifier-epochs", type=float, default=CLASSIFIER_EPOCHS)
    options = parser.parse_args(arguments)
    console = Console()

    texts, labels = read(DATA / "labelled.csv")
    test_texts, test_labels = read(DATA / "test.csv")
    predicted, seconds = linear_baseline(texts, labels, test_texts)
    baseline = measure("TF-IDF + logistic regression", test_labels, predicted, seconds)

    from ulmfit.errors import UlmfitError
    from ulmfit.models.text_classifier import TextClassifier

    began = time.perf_counter()
    try:
        classifier = TextClassifier.from_pretrained(train_classifier(options))
    except UlmfitError as error:
        sys.exit(str(error))
    rows = []
    by_member = classifier.member_probabilities(test_texts)
    for each, probabilities in zip(classifier.members, by_member, strict=True):
        found = [classifier.labels[i] for i in probabilities.argmax(1)]
        direction = each.member.direction
        parts = classifier.run["train"]["results"].items()
        taken = sum(part.get("seconds", 0.0) for name, part in parts if name.endswith(direction))
        rows.append(measure(f"ulmfit, {direction}", test_labels, found, taken))
    found = classifier.predict(test_texts)
    rows.append(measure("ulmfit, both", test_labels, found, time.perf_counter() - began))
    show([*rows, baseline], console)
    console.print(f"The model is the folder {OUTPUT.name}/.\n", highlight=False)
    classify(classifier, SENTENCES, console)
    if sys.stdin.isatty():
        invite(classifier, console)


if __name__ == "__main__":
    main()
