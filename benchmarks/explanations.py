"""Do explanations name the words that matter? The deletion test, and how long one takes.

Of each review the words that speak most for the decided label are left out, a tenth of them, and
the same number of words at random; the explanation is worth something where the first moves the
probability more than the second (Samek et al. 2017). Without `--model`, a classifier is trained
first: forward, 2,000 labelled reviews, from the shipped language model as it is. A command that was
killed is given again and goes on from there.
"""

from __future__ import annotations

import json
import random
import time
from argparse import Namespace
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import calibration
import numpy as np
from common import (
    RUNS,
    append_line,
    digest,
    mean_and_deviation,
    parse,
    parser,
    read_lines,
    read_texts,
    write_result,
)
from experiment import model_digest

from ulmfit.explain.explanation import Explanation, Method, explain
from ulmfit.models.text_classifier import TextClassifier

SHARE = 0.1
"""Of the words left out."""

RANDOM_DRAWS = 3

Rows = list[dict[str, float]]
"""Of each text: the fall without its `top` words and `random` ones, and perhaps the `gap`."""

METHODS: tuple[Method, ...] = ("integrated_gradients", "occlusion")
LENGTHS = (100, 1_000, 5_000)
"""Words of the texts that are timed."""


def folder_of_reviews(data: Path) -> Path:
    """Return the folder of the classifier of `calibration.py` without a stage two of its own."""
    made = calibration.experiment("imdb", Namespace(data=data, directions="forward"))
    stage_two = replace(made.settings.language_model, skip=True)
    settings = replace(made.settings, language_model=stage_two)
    return calibration.trained(replace(made, name="explanations", settings=settings))


def without(explanation: Explanation, left_out: set[int]) -> str:
    """Return the text without the words at these places."""
    kept = [word.text for i, word in enumerate(explanation.words) if i not in left_out]
    return " ".join(kept)


def moved(classifier: TextClassifier, text: str, method: Method) -> dict[str, float]:
    """Return how far the probability falls without the top words, and without random ones."""
    found = explain(classifier, text, method=method)
    label = classifier.labels.index(found.labels[0])
    drawn = random.Random(text)
    count = ceil(SHARE * len(found.words))
    top = np.argsort(-found.contributions[:, 0])[:count].tolist()
    left_out = [drawn.sample(range(len(found.words)), count) for _ in range(RANDOM_DRAWS)]
    variants = [without(found, set(places)) for places in ([], top, *left_out)]
    answers = classifier.predict_proba(variants)[:, label]
    falls = answers[0] - answers[1:]
    row = {"top": float(falls[0]), "random": float(falls[1:].mean())}
    if found.start is not None:
        change = float(found.answers[0] - found.start[0])
        total = float(found.contributions[:, 0].sum())
        row["gap"] = abs(total - change) / max(abs(change), 0.01)
    return row


def deletion(classifier: TextClassifier, model: str, texts: list[str], method: Method) -> Rows:
    """Return the row of each text; a finished one stands in a file of `runs/benchmarks`."""
    done_file = RUNS / "explanations.jsonl"
    done = {line["key"]: line["row"] for line in read_lines(done_file)}
    rows: Rows = []
    for text in texts:
        key = digest([model, method, SHARE, text])
        if key not in done:
            done[key] = moved(classifier, text, method)
            append_line(done_file, {"key": key, "row": done[key]})
        rows.append(done[key])
    return rows


def summary(rows: Rows) -> dict[str, Any]:
    """Return means and deviations, and on how many texts the top words moved more."""
    better = np.array([row["top"] > row["random"] for row in rows])
    result: dict[str, Any] = {
        "fall_without_top_words": mean_and_deviation(row["top"] for row in rows),
        "fall_without_random_words": mean_and_deviation(row["random"] for row in rows),
        "share_of_texts_where_top_falls_further": round(float(better.mean()), 4),
    }
    if gaps := [row["gap"] for row in rows if "gap" in row]:
        result["largest_gap"] = round(max(gaps), 4)
        result["share_of_gaps_within_5_percent"] = round(float(np.mean(np.array(gaps) <= 0.05)), 4)
    return result


def seconds(classifier: TextClassifier, words: list[str], method: Method) -> dict[str, float]:
    """Return how long a text of each of `LENGTHS` words takes to explain."""
    taken = {}
    for length in LENGTHS:
        text = " ".join((words * ceil(length / len(words)))[:length])
        began = time.perf_counter()
        explain(classifier, text, method=method)
        taken[str(length)] = round(time.perf_counter() - began, 1)
    return taken


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--model", type=Path, help="folder of a classifier of reviews")
    options.add_argument("--texts", type=int, default=500, help="how many reviews")
    options.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    options.add_argument("--only", choices=["deletion", "seconds"])
    parsed = parse(options, arguments)
    folder = parsed.model or folder_of_reviews(parsed.data)
    classifier = TextClassifier.from_pretrained(folder, device="auto")
    reviews = read_texts(parsed.data / "imdb" / "test.parquet")
    texts = random.Random(1).sample(reviews, parsed.texts)
    result: dict[str, Any] = {"texts": len(texts), "share": SHARE}
    model = model_digest(str(folder))
    for method in parsed.methods:
        measured: dict[str, Any] = {}
        if parsed.only != "seconds":
            measured |= summary(deletion(classifier, model, texts, method))
        if parsed.only != "deletion":
            measured["seconds_by_words"] = seconds(classifier, " ".join(texts).split(), method)
        result[method] = measured
        print(json.dumps({method: measured}, indent=2))
    if parsed.only is None and set(parsed.methods) == set(METHODS):
        write_result("explanations", result)


if __name__ == "__main__":
    main()
