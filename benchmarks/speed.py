"""How fast is this beside fastai, and beside what products of matrices reach on this machine?

Both are processes of their own with the same number of threads, asked in turns and never at work at
the same time. Shapes, batches and ids are the same; a pair of rounds gives a ratio. Training is
timed after two steps, prediction from texts to probabilities with tokenizing counted on both sides.

fastai is run in the environment of its own that `fastai_reads.py` makes (`runs/fastai`).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import parse, parser, read_labelled, read_texts, write_result
from fastai_reads import environment
from workers import Worker, spread

from ulmfit.config.model import EncoderConfig, preset
from ulmfit.nn.operations import decoder_operations, encoder_operations

HERE = Path(__file__).parent
WORDS = 60_000
SHAPES = {"base": preset("base", WORDS), "small": preset("small", 16_000)}
SAMPLED = 3_000
TEXTS = ("texts", "vocabulary")
"""What is asked but not kept in the result."""

Sides = dict[str, Worker]
Result = dict[str, Any]


def compare(sides: Sides, asked: Result, rounds: int, others: dict[str, Result]) -> Result:
    """Ask both in turns; return seconds and tokens of each side, and the ratios of the pairs.

    `others` are further ways of ours, asked in the same rounds, by name.
    """
    further = {name: {**asked, **more} for name, more in others.items()}
    ways = {**dict.fromkeys(sides, asked), **further}
    found: dict[str, list[Result]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 else reversed(list(ways)):
            worker = sides["fastai" if name == "fastai" else "ours"]
            found[name].append(worker.ask(ways[name]))
    speeds = {
        name: [_speed(answer, found["ours"][0]) for answer in answers]
        for name, answers in found.items()
    }
    return {
        "asked": {name: value for name, value in asked.items() if name not in TEXTS},
        "a_second": {name: spread(values) for name, values in speeds.items()},
        "over_fastai": {
            name: spread([a / b for a, b in zip(values, speeds["fastai"], strict=True)])
            for name, values in speeds.items()
            if name != "fastai"
        },
    }


def _speed(answer: Result, ours: Result) -> float:
    """Return tokens a second; of texts, those that ours counts, on both sides."""
    seconds, tokens = answer["seconds"], answer.get("tokens") or ours.get("tokens")
    if isinstance(seconds, list):
        return sum(tokens) / sum(seconds) if tokens else len(seconds) / sum(seconds)
    return float(tokens / seconds)


def language_model(sides: Sides, options: Namespace, peak: float) -> Result:
    """Training steps of both shapes, with the softmax over all words and over a sample."""
    found = {}
    for name, shape in SHAPES.items():
        asked = {
            "task": "language model",
            "shape": _plain(shape),
            "batch": 64,
            "bptt": 70,
            "steps": options.steps,
        }
        ways = {f"ours, {SAMPLED} words": {"sampled_words": SAMPLED}}
        result = compare(sides, asked, options.rounds, ways)
        everything = range(-1, shape.layers)
        for way, words in (("ours", shape.vocab_size), (f"ours, {SAMPLED} words", SAMPLED)):
            operations = encoder_operations(shape, everything) + decoder_operations(
                shape, words, training=True
            )
            reached = result["a_second"][way]["median"] * operations
            result.setdefault("share_of_products", {})[way] = round(reached / peak, 3)
        found[name] = result
    return found


def classifier(sides: Sides, options: Namespace, peak: float) -> Result:
    """Training batches at each step of gradual unfreezing, documents as long as IMDb's reviews."""
    reviews = read_texts(options.data / "imdb" / "train.parquet")
    lengths = [min(1000, len(text.split())) for text in random.Random(0).sample(reviews, 400)]
    asked = {
        "task": "classifier",
        "shape": _plain(SHAPES["small"]),
        "batch": 32,
        "lengths": lengths,
        "steps": options.steps,
    }
    return {"small": compare(sides, asked, options.rounds, {})}


def prediction(sides: Sides, options: Namespace, peak: float) -> Result:
    """Texts to probabilities, whole reviews and questions, in bulk and one by one."""
    reviews = read_texts(options.data / "imdb" / "test.parquet")
    questions = read_labelled(options.data / "trec" / "train.csv").texts
    drawn = random.Random(0).sample(reviews, options.texts + 1_000)
    vocabulary, reviews = drawn[:1_000], drawn[1_000:]
    shape = {name: value for name, value in _plain(SHAPES["small"]).items() if name != "vocab_size"}
    given = {"task": "predict", "shape": {**shape, "vocab_size": 1}, "vocabulary": vocabulary}
    found = {
        "reviews": compare(sides, {**given, "texts": reviews}, options.rounds, {}),
        "questions": compare(sides, {**given, "texts": questions[:1_000]}, options.rounds, {}),
    }
    some = [" ".join(text.split()[:200]) for text in reviews if len(text.split()) >= 200][:10]
    found["one by one"] = compare(sides, {"task": "one by one", "texts": some}, options.rounds, {})
    return found


def tokenizing(sides: Sides, options: Namespace, peak: float) -> Result:
    """Texts to ids: byte-level pieces here, rules and spaCy there."""
    reviews = read_texts(options.data / "imdb" / "train.parquet")
    texts = random.Random(0).sample(reviews, options.texts)
    return {"reviews": compare(sides, {"task": "tokenize", "texts": texts}, options.rounds, {})}


def start_up(sides: Sides, options: Namespace, peak: float) -> Result:
    """Seconds of whole processes, in turns: importing PyTorch, the help, a first prediction."""
    commands = {
        "import torch": ["-c", "import torch"],
        "ulmfit --help": ["-m", "ulmfit", "--help"],
        "load the shipped model": ["-m", "ulmfit", "generate", "--model", "wikipedia-en-small"],
    }
    commands["load the shipped model"] += ["--prompt", "A", "--tokens", "1"]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.rounds + 1):
        for name, arguments in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - began)
    return {name: spread(values[1:]) for name, values in seconds.items()}


PARTS: dict[str, Callable[[Sides, Namespace, float], Result]] = {
    "language-model": language_model,
    "classifier": classifier,
    "prediction": prediction,
    "tokenizing": tokenizing,
    "start-up": start_up,
}


def _plain(shape: EncoderConfig) -> Result:
    names = ("vocab_size", "embedding_size", "hidden_size", "layers")
    return {name: getattr(shape, name) for name in names}


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options.add_argument("--rounds", type=int, default=5, help="pairs of runs")
    options.add_argument("--steps", type=int, default=2, help="training steps timed in a round")
    options.add_argument("--texts", type=int, default=500, help="reviews predicted in a round")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--name", default="speed", help="name of the result")
    parsed = parse(options, arguments)
    sides = {
        "ours": Worker(sys.executable, [str(HERE / "speed_ours.py")], parsed.threads),
        "fastai": Worker(environment(), [str(HERE / "speed_fastai.py")], parsed.threads),
    }
    peak = max(
        sides["ours"].ask({"task": "roofline", "features": shape.hidden_size})[
            "operations_a_second"
        ]
        for shape in SHAPES.values()
    )
    result: Result = {
        "threads": parsed.threads,
        "packages": {name: side.versions for name, side in sides.items()},
        "products_gflops": round(peak / 1e9, 1),
    }
    for part in parsed.parts:
        print(part, file=sys.stderr)
        result[part] = PARTS[part](sides, parsed, peak)
    for side in sides.values():
        side.close()
    print(json.dumps(result, indent=2))
    write_result(parsed.name, result)


if __name__ == "__main__":
    main()
