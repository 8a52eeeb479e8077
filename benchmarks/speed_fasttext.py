"""What `speed.py` times of fastText: a linear model over words and pairs of words.

It learns from the texts that are given with alternating labels: how fast it answers does not depend
on what it has learnt. Run in an environment of its own, without this project.
"""

import tempfile
import time
from pathlib import Path

import fasttext
from answering import answer

kept = {}


def line(text):
    return " ".join(text.split()) + "\n"


def fitted(texts):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"
        rows = (f"__label__{i % 2} {line(text)}" for i, text in enumerate(texts))
        path.write_text("".join(rows), encoding="utf-8")
        return fasttext.train_supervised(str(path), wordNgrams=2, verbose=0)


def answers(texts):
    # `model.predict` fails under NumPy 2; what it calls does not.
    return kept["model"].f.multilinePredict([line(text) for text in texts], -1, 0.0, "strict")


def predict(asked):
    """Seconds from texts to probabilities."""
    if "model" not in kept:
        kept["model"] = fitted(asked["vocabulary"])
    began = time.perf_counter()
    answers(asked["texts"])
    return {"seconds": time.perf_counter() - began, "tokens": 0}


def one_by_one(asked):
    seconds = []
    for text in asked["texts"]:
        began = time.perf_counter()
        answers([text])
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


if __name__ == "__main__":
    answer({"predict": predict, "one by one": one_by_one}, ("fasttext",))
