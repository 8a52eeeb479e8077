"""What does bfloat16 cost? Bits per byte after the same training, and answers to test reviews.

Training: `small` from nothing on the same 5 million tokens in the same order, in float32 and in
bfloat16, as the shipped model was begun; bits per byte on held-out articles. Prediction: a forward
classifier of 2,000 reviews, without a stage two of its own, in float32, in bfloat16, and with its
weights stored in 8 bits. A command that was killed is given again and goes on from there; with
`--only` a part is made beside another and measured later.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from common import RUNS, digest, parse, parser, read_labelled, read_texts, write_result, write_texts
from experiment import model_digest
from explanations import folder_of_reviews

from ulmfit.config.settings import to_dict
from ulmfit.config.stages import PretrainConfig
from ulmfit.config.training import OptimizerConfig, TrainingConfig
from ulmfit.models.folder import read_config, resolve
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.stages.pretrain import pretrain
from ulmfit.stages.tokenizer import load_tokenizer
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.training.device import Precision

TOKENS, HELD_OUT, REVIEWS = 5_000_000, 300, 5_000
SHIPPED = "wikipedia-en-small"
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def first_articles(data: Path, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the first articles, `TOKENS` of them in all, about."""
    tokens = 0
    for text in read_texts(data / "wikipedia-en" / "train-00000-of-00004.parquet"):
        if tokens >= TOKENS:
            return
        tokens += len(tokenizer.encode(text))
        yield text


def pretrained(options: Namespace, precision: Precision) -> Path:
    """Return the folder of the language model, trained if it is not there yet."""
    texts, held_out = RUNS / "articles.jsonl", RUNS / "held-out-articles.jsonl"
    if not texts.exists():
        articles = read_texts(options.data / "wikipedia-en" / "valid.parquet")
        write_texts(held_out, islice(articles, HELD_OUT))
        write_texts(texts, first_articles(options.data, load_tokenizer(SHIPPED)))
    training = TrainingConfig(
        epochs=1.0,
        batch_size=16,
        evaluate_every=0.25,
        precision=precision,
        threads=options.threads,
        optimizer=OptimizerConfig(learning_rate=3e-3, betas=(0.9, 0.99), discriminative_factor=1.0),
    )
    config = PretrainConfig(
        texts=(str(texts),),
        validation=str(held_out),
        tokenizer_folder=str(resolve(SHIPPED)),
        output="",
        cache=str(RUNS / "cache"),
        directions="forward",
        sampled_words=3_000,
        training=training,
    )
    folder = RUNS / f"precision-{precision}-{digest([to_dict(config), model_digest(SHIPPED)])}"
    if folder.exists():
        return folder
    return pretrain(replace(config, output=str(folder), resume=Path(f"{folder}.run").exists()))


def of_training(options: Namespace) -> dict[str, Any]:
    """Return bits per byte by precision, after each quarter."""
    found: dict[str, Any] = {}
    for precision in PRECISIONS:
        run = read_config(pretrained(options, precision)).run["pretrain"]
        results = run["results"]["forward"]
        found[precision] = {
            "tokens": results["tokens"],
            "bits_per_byte": [round(each["bits_per_byte"], 4) for each in results["history"]],
        }
    ends = {precision: found[precision]["bits_per_byte"][-1] for precision in PRECISIONS}
    return found | {"bfloat16_over_float32": round(ends["bfloat16"] / ends["float32"], 5)}


def of_prediction(options: Namespace) -> dict[str, Any]:
    """Return the error on test reviews each way, and how far the answers are from float32's."""
    folder = folder_of_reviews(options.data)
    reviews, _ = read_labelled(options.data / "imdb" / "test.parquet").split(REVIEWS, seed=0)
    exact = TextClassifier.from_pretrained(folder)
    small = RUNS / "precision-int8"
    exact.save_pretrained(small, storage="int8", overwrite=True)
    ways = {
        "float32": exact,
        "bfloat16": TextClassifier.from_pretrained(folder, precision="bfloat16"),
        "8-bit weights": TextClassifier.from_pretrained(small),
    }
    expected = exact.predict_proba(reviews.texts)
    truth = np.array([exact.labels.index(label) for label in reviews.labels])
    found = {}
    for name, classifier in ways.items():
        answers = classifier.predict_proba(reviews.texts)
        apart = np.abs(answers - expected).max(1)
        found[name] = {
            "error": round(100 * float((answers.argmax(1) != truth).mean()), 2),
            "decided_otherwise": int((answers.argmax(1) != expected.argmax(1)).sum()),
            "largest_deviation": round(float(apart.max()), 5),
            "mean_deviation": round(float(apart.mean()), 5),
        }
    some = reviews.texts[:500]
    together = ways["bfloat16"].predict_proba(some)
    alone = np.concatenate([ways["bfloat16"].predict_proba([text]) for text in some])
    found["bfloat16"]["moved_by_neighbours"] = round(float(np.abs(together - alone).max()), 5)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--only", choices=[*PRECISIONS, "prediction"])
    options.add_argument("--threads", type=int, default=1, help="of each training")
    parsed = parse(options, arguments)
    if parsed.only == "prediction":
        folder_of_reviews(parsed.data)
    elif parsed.only:
        pretrained(parsed, parsed.only)
    else:
        found = {"training": of_training(parsed), "prediction": of_prediction(parsed)}
        print(json.dumps(found, indent=2))
        write_result("precision", {"tokens": TOKENS, "reviews": REVIEWS, **found})


if __name__ == "__main__":
    main()
