"""Do explanations name the words that matter? The deletion test, and how long one takes.

Of each review the words that speak most for the decided label are left out, a tenth of them, and
the same number of words at random; the explanation is worth something where the first moves the
probability more than the second (Samek et al. 2017).
"""

from __future__ import annotations

import json
import random
import time
from math import ceil
from typing import Any

import numpy as np
from common import mean_and_deviation, parse, parser, read_texts, write_result

from ulmfit.explain.explanation import Explanation, Method, explain
from ulmfit.models.text_classifier import TextClassifier

SHARE = 0.1
"""Of the words left out."""

RANDOM_DRAWS = 3
METHODS: tuple[Method, ...] = ("integrated_gradients", "occlusion")
LENGTHS = (100, 1_000, 5_000)
"""Words of the texts that are timed."""


def without(explanation: Explanation, left_out: set[int]) -> str:
    """Return the text without the words at these places."""
    kept = [word.text for i, word in enumerate(explanation.words) if i not in left_out]
    return " ".join(kept)


def deletion(classifier: TextClassifier, texts: list[str], method: Method) -> dict[str, Any]:
    """Return how far the probability falls without the top words, and without random ones."""
    drawn = random.Random(0)
    top_falls, random_falls, gaps = [], [], []
    for text in texts:
        found = explain(classifier, text, method=method)
        label = classifier.labels.index(found.labels[0])
        count = ceil(SHARE * len(found.words))
        order = np.argsort(-found.contributions[:, 0])
        variants = [without(found, set(order[:count].tolist()))]
        variants += [
            without(found, set(drawn.sample(range(len(found.words)), count)))
            for _ in range(RANDOM_DRAWS)
        ]
        answers = classifier.predict_proba([" ".join(w.text for w in found.words), *variants])
        falls = answers[0, label] - answers[1:, label]
        top_falls.append(float(falls[0]))
        random_falls.append(float(falls[1:].mean()))
        if found.start is not None:
            change = float(found.answers[0] - found.start[0])
            total = float(found.contributions[:, 0].sum())
            gaps.append(abs(total - change) / max(abs(change), 0.01))
    better = np.array(top_falls) > np.array(random_falls)
    result: dict[str, Any] = {
        "fall_without_top_words": mean_and_deviation(top_falls),
        "fall_without_random_words": mean_and_deviation(random_falls),
        "share_of_texts_where_top_falls_further": round(float(better.mean()), 4),
    }
    if gaps:
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
    options.add_argument("--model", required=True, help="folder of a classifier of reviews")
    options.add_argument("--texts", type=int, default=500, help="how many reviews")
    options.add_argument("--only", choices=["deletion", "seconds"])
    parsed = parse(options, arguments)
    classifier = TextClassifier.from_pretrained(parsed.model)
    reviews = read_texts(parsed.data / "imdb" / "test.parquet")
    texts = random.Random(1).sample(reviews, parsed.texts)
    result: dict[str, Any] = {"texts": len(texts), "share": SHARE}
    for method in METHODS:
        measured: dict[str, Any] = {}
        if parsed.only != "seconds":
            measured |= deletion(classifier, texts, method)
        if parsed.only != "deletion":
            measured["seconds_by_words"] = seconds(classifier, " ".join(texts).split(), method)
        result[method] = measured
        print(json.dumps({method: measured}, indent=2))
    write_result("explanations", result)


if __name__ == "__main__":
    main()
