"""How fast is this beside its peers, and beside what products of matrices reach on this machine?

Each side is a process of its own with the same number of threads; they are asked in turns and never
at work at the same time. A pair of rounds gives a ratio. Beside fastai shapes, batches and ids are
the same; MiniLM, fastText and TF-IDF are asked for the same answers. Training is timed after two
steps, prediction from texts to probabilities with tokenizing counted on every side. Texts that are
predicted differ from round to round, as they do in use: what a side keeps for lengths that it has
seen helps none. Classifiers train on the same documents in every round, which fastai shuffles anew.

The peers run in environments of their own (`environments.py`), ours in ONNX in a process apart.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common import parse, parser, read_labelled, read_texts, write_result
from environments import fastai_environment, fasttext_environment, minilm_environment
from workers import Worker, spread

from ulmfit.config.model import EncoderConfig, preset
from ulmfit.nn.operations import decoder_operations, encoder_operations
from ulmfit.training.device import resolve_precision

HERE = Path(__file__).parent
WORDS = 60_000
SHAPES = {"base": preset("base", WORDS), "small": preset("small", 16_000)}
SAMPLED = 3_000
READING = encoder_operations(SHAPES["small"], ())
"""Operations of a token that is read."""

OURS, ONNX = "ours", "ours, ONNX"
SIDES: dict[str, tuple[Callable[[], Path], str]] = {
    OURS: (lambda: Path(sys.executable), "speed_ours.py"),
    ONNX: (lambda: Path(sys.executable), "speed_onnx.py"),
    "fastai": (fastai_environment, "speed_fastai.py"),
    "minilm": (minilm_environment, "speed_minilm.py"),
    "fasttext": (fasttext_environment, "speed_fasttext.py"),
}
"""The Python and the program of each side."""

Sides = dict[str, Worker]
Result = dict[str, Any]

Ways = dict[str, tuple[str, Result]]
"""Further ways by name: the side that is asked, and what it is asked besides."""

DEFAULT = resolve_precision("auto", torch.device("cpu"))
"""What training computes in here, unless told otherwise."""

AUTOCAST: Ways = {
    "ours, bfloat16": (OURS, {"precision": "bfloat16"}),
    "fastai, autocast": ("fastai", {"precision": "bfloat16"}),
}
FASTER: Ways = AUTOCAST if DEFAULT == "bfloat16" else {}
"""In bfloat16, where that is the default."""

OWN: Ways = {OURS: (OURS, {})} | {name: way for name, way in FASTER.items() if way[0] == OURS}
"""Ours in float32 and, where that is the default, in bfloat16."""


def start(threads: int, names: Iterable[str] = SIDES) -> Sides:
    """Start sides; a peer that cannot be installed here is told and left out."""
    sides = {}
    for name in names:
        python, script = SIDES[name]
        try:
            sides[name] = Worker(python(), [str(HERE / script)], threads)
        except subprocess.CalledProcessError as error:
            print(f"without {name}: {error}", file=sys.stderr)
    return sides


def end(sides: Sides) -> None:
    """Let the processes of all sides end."""
    for side in sides.values():
        side.close()


def compare(
    sides: Sides,
    asked: Result,
    rounds: int,
    others: Ways,
    operations: Mapping[str, int] | None = None,
    texts: Sequence[Sequence[str]] = (),
) -> Result:
    """Ask all sides in turns; return tokens a second of each, and our ratio to each in the pairs.

    `others` are further ways, asked in the same rounds, by name; `texts` those of each round, where
    texts are asked for. A side that counts no tokens is given ours: then its tokens a second
    compare as its texts a second. Of ways whose `operations` a token are given, also the share of
    what products of matrices reach, timed in every round: processors change their clock.
    """
    ways: Ways = {name: (name, {}) for name in sides}
    ways |= {name: way for name, way in others.items() if way[0] in sides}
    found: dict[str, list[Result]] = {name: [] for name in ways}
    operations = operations or {}
    measured = {name: ways[name][1].get("precision", "float32") for name in operations}
    peaks: dict[str, list[float]] = {precision: [] for precision in measured.values()}
    for number in range(rounds):
        for precision, reached in peaks.items():
            reached.append(products(sides[OURS], precision))
        given = {**asked, "texts": texts[number]} if texts else asked
        for name in list(ways) if number % 2 else reversed(list(ways)):
            side, more = ways[name]
            found[name].append(sides[side].ask({**given, **more}))
    speeds = {
        name: [_speed(*pair) for pair in zip(answers, found[OURS], strict=True)]
        for name, answers in found.items()
    }
    own = [name for name in ways if name.startswith(OURS)]
    by_step = {name: _by_step(answers) for name, answers in found.items()}
    shares = {
        name: [
            speed * operations[name] / peak
            for speed, peak in zip(speeds[name], peaks[precision], strict=True)
        ]
        for name, precision in measured.items()
    }
    return {
        "asked": {name: value for name, value in asked.items() if name != "vocabulary"},
        "a_second": {name: spread(values) for name, values in speeds.items()},
        "a_second_by_step": {name: steps for name, steps in by_step.items() if steps},
        "over": {
            peer: {
                name: spread([a / b for a, b in zip(speeds[name], speeds[peer], strict=True)])
                for name in own
            }
            for peer in ways
            if peer not in own
        },
        "peak_mb": {name: found[name][-1]["peak_mb"] for name in sides},
        "products_gflops": {name: spread([one / 1e9 for one in peaks[name]]) for name in peaks},
        "share_of_products": {name: spread(values) for name, values in shares.items()},
    }


def products(side: Worker, precision: str) -> float:
    """Return the operations a second that products reach in the shapes of either model."""
    asked = {"task": "roofline", "precision": precision}
    return max(
        float(side.ask({**asked, "features": shape.hidden_size})["operations_a_second"])
        for shape in SHAPES.values()
    )


def _only(sides: Sides, *peers: str) -> Sides:
    return {name: side for name, side in sides.items() if name in (OURS, *peers)}


def _speed(answer: Result, ours: Result) -> float:
    """Return tokens a second; of texts, those that ours counts, on every side."""
    seconds, tokens = answer["seconds"], answer.get("tokens") or ours.get("tokens")
    if isinstance(seconds, list):
        return sum(tokens) / sum(seconds) if tokens else len(seconds) / sum(seconds)
    return float(tokens / seconds)


def _by_step(answers: Sequence[Result]) -> list[float]:
    """Return the median tokens a second at each step of unfreezing, where they were timed apart."""
    if not isinstance(answers[0].get("tokens"), list):
        return []
    rounds = [
        [tokens / seconds for tokens, seconds in zip(each["tokens"], each["seconds"], strict=True)]
        for each in answers
    ]
    return [spread(step)["median"] for step in zip(*rounds, strict=True)]


def language_model(sides: Sides, options: Namespace) -> Result:
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
        sampled: Ways = {
            f"{way}, {SAMPLED} words": (OURS, {**more, "sampled_words": SAMPLED})
            for way, (_, more) in OWN.items()
        }
        below = encoder_operations(shape, range(-1, shape.layers))
        operations = {
            way: below
            + decoder_operations(shape, more.get("sampled_words", shape.vocab_size), training=True)
            for way, (_, more) in (OWN | sampled).items()
        }
        found[name] = compare(
            _only(sides, "fastai"), asked, options.rounds, FASTER | sampled, operations
        )
    return found


def classifier(sides: Sides, options: Namespace) -> Result:
    """A whole pass at each step of gradual unfreezing, documents as long as IMDb's reviews.

    Every side reads the same documents, in batches of its own choice.
    """
    reviews = read_texts(options.data / "imdb" / "train.parquet")
    batch, batches = 32, 8
    texts = random.Random(0).sample(reviews, batch * batches)
    asked = {
        "task": "classifier",
        "shape": _plain(SHAPES["small"]),
        "batch": batch,
        "lengths": [min(1000, len(text.split())) for text in texts],
        "steps": batches,
    }
    return {"small": compare(_only(sides, "fastai"), asked, options.rounds, FASTER)}


def prediction(sides: Sides, options: Namespace) -> Result:
    """Texts to probabilities, whole reviews and questions, in bulk and one by one.

    Beside fastai with its words and our shape; beside the others as `small` comes, with pieces.
    """
    rounds = options.rounds
    drawn = read_texts(options.data / "imdb" / "test.parquet")
    random.Random(0).shuffle(drawn)
    vocabulary, reviews = drawn[:1_000], drawn[1_000:]
    questions = read_labelled(options.data / "trec" / "train.csv").texts
    some = [" ".join(words[:200]) for text in reviews if len(words := text.split()) >= 200]
    texts = {
        "reviews": _by_round(reviews, rounds, options.texts),
        "questions": _by_round(questions, rounds, 1_000),
        "one by one": _by_round(some, rounds, 10),
    }
    found = {}
    for tokens, peers in (("words", ("fastai",)), ("pieces", ("minilm", "fasttext"))):
        given = {"vocabulary": vocabulary, "shape": _plain(SHAPES["small"]), "model": tokens}
        ways = FASTER | {f"{ONNX}, int8": (ONNX, {"precision": "int8"})}
        if tokens == "pieces":
            ways["tf-idf"] = (OURS, {"model": "tf-idf"})
            ways[f"{OURS}, both directions"] = (OURS, {"directions": 2})
        for name, by_round in texts.items():
            task = "one by one" if name == "one by one" else "predict"
            found[f"{name}, {tokens}"] = compare(
                _only(sides, ONNX, *peers),
                {"task": task, **given},
                rounds,
                ways,
                dict.fromkeys(OWN, READING) if (name, tokens) == ("reviews", "pieces") else {},
                by_round,
            )
    return found


def tokenizing(sides: Sides, options: Namespace) -> Result:
    """Whole texts to ids: byte-level pieces here, rules and spaCy there."""
    reviews = read_texts(options.data / "imdb" / "train.parquet")
    random.Random(0).shuffle(reviews)
    texts = _by_round(reviews, options.rounds, 4 * options.texts)
    peers, parallel = _only(sides, "fastai", "minilm"), {"processes": options.threads}
    ways: Ways = {"fastai, its processes": ("fastai", parallel)}
    return {"reviews": compare(peers, {"task": "tokenize"}, options.rounds, ways, texts=texts)}


def start_up(sides: Sides, options: Namespace) -> Result:
    """Seconds of whole processes, in turns: importing PyTorch, the help, a first token written."""
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


PARTS: dict[str, Callable[[Sides, Namespace], Result]] = {
    "language-model": language_model,
    "classifier": classifier,
    "prediction": prediction,
    "tokenizing": tokenizing,
    "start-up": start_up,
}


def _by_round(texts: Sequence[str], rounds: int, most: int) -> list[Sequence[str]]:
    """Return texts for each of `rounds`, none twice; `most` of them, or what there is."""
    count = min(most, len(texts) // rounds)
    return [texts[number * count : (number + 1) * count] for number in range(rounds)]


def _plain(shape: EncoderConfig) -> Result:
    names = ("vocab_size", "embedding_size", "hidden_size", "layers")
    return {name: getattr(shape, name) for name in names}


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options.add_argument("--rounds", type=int, default=5, help="pairs of runs")
    options.add_argument("--steps", type=int, default=2, help="steps of language models in a round")
    options.add_argument("--texts", type=int, default=500, help="reviews predicted in a round")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--name", default="speed", help="name of the result")
    parsed = parse(options, arguments)
    packages: dict[str, Any] = {}
    result: Result = {"threads": parsed.threads, "packages": packages}
    for part in parsed.parts:
        print(part, file=sys.stderr)
        sides = start(parsed.threads)  # anew: none holds the memory of another part
        packages |= {name: side.versions for name, side in sides.items()}
        result[part] = PARTS[part](sides, parsed)
        end(sides)
    print(json.dumps(result, indent=2))
    write_result(parsed.name, result)


if __name__ == "__main__":
    main()
