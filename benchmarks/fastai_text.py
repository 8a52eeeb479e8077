"""How fast are fastai's rules and words here, against fastai itself, and are the words the same?

Each side is a process of its own, both on the same core, never at work at the same time. In turns
they get the same reviews, other ones in each round, and return the words and the seconds of
processor time that these took. The first round is not counted: it reads in what both keep.

fastai is run in the environment of its own of `environments.py`.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Sequence
from typing import Any

from common import parse, parser, read_texts, write_result
from environments import fastai_environment
from workers import Worker, spread

SHOWN = 20
"""Texts with other words that are listed, at most."""

OURS = """
from ulmfit.text.fastai_rules import RULE_SETS
from ulmfit.text.rules import apply_rules
from ulmfit.text.spacy_words import spacy_words
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.unicode import replace_surrogates

rules, splitter = RULE_SETS["fastai-2"], spacy_words()

def words_of(text):
    return list(splitter.words(apply_rules(rules, replace_surrogates(text)), Tokenizer.window))

def split(texts):
    return [["xxbos", *words_of(text)] for text in texts]
"""

THEIRS = """
from fastai.text.core import TokenizeWithRules, WordTokenizer

tokenize = TokenizeWithRules(tok=WordTokenizer())

def split(texts):
    return list(map(list, tokenize(texts)))
"""

WORKER = """
import json, sys, time
from importlib.metadata import PackageNotFoundError, version

def found(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None

print(json.dumps({name: found(name) for name in ("fastai", "spacy")}), flush=True)
for line in sys.stdin:
    texts = json.loads(line)
    began = time.process_time()
    words = split(texts)
    seconds = time.process_time() - began
    print(json.dumps({"seconds": seconds, "words": words}), flush=True)
"""


def compare(texts: Sequence[str], rounds: int, ours: Worker, theirs: Worker) -> dict[str, Any]:
    """Split `texts` in `rounds` and one more; return seconds, their ratio, and what differs."""
    size = len(texts) // (rounds + 1)
    seconds: dict[str, list[float]] = {"ours": [], "fastai": []}
    other: list[dict[str, Any]] = []
    for number in range(rounds + 1):
        part = texts[number * size : (number + 1) * size]
        both = [("ours", ours), ("fastai", theirs)]
        words = {}
        for name, side in both if number % 2 else reversed(both):
            answer = side.ask(part)
            took, words[name] = answer["seconds"], answer["words"]
            if number:
                seconds[name].append(took)
        for text, own, their in zip(part, words["ours"], words["fastai"], strict=True):
            if own != their:
                other.append(difference(text, own, their))
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["fastai"], strict=True)]
    return {
        "texts": {"each_round": size, "rounds": rounds, "compared": size * (rounds + 1)},
        "cpu_seconds": {name: spread(values) for name, values in seconds.items()},
        "fastai_over_ours": spread(ratios),
        "same_words": {"texts": size * (rounds + 1) - len(other), "others": other[:SHOWN]},
    }


def difference(text: str, own: list[str], their: list[str]) -> dict[str, Any]:
    """Return the first place at which the words of a text differ."""
    pairs = zip([*own, None], [*their, None], strict=False)
    place = next(i for i, (a, b) in enumerate(pairs) if a != b)
    return {"text": text[:80], "ours": own[place : place + 5], "fastai": their[place : place + 5]}


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--texts", type=int, default=1_000, help="reviews in each round")
    options.add_argument("--rounds", type=int, default=9, help="rounds that are counted")
    options.add_argument("--name", default="fastai-text", help="name of the result")
    parsed = parse(options, arguments)
    reviews = read_texts(parsed.data / "imdb" / "test.parquet")
    wanted = parsed.texts * (parsed.rounds + 1)
    if not 0 < wanted <= len(reviews) or parsed.rounds < 1:
        options.error(f"--texts, --rounds: {wanted} reviews wanted, there are {len(reviews)}")
    texts = random.Random(0).sample(reviews, wanted)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sides = [
        Worker(python, ["-c", program + WORKER], threads=1)
        for python, program in ((sys.executable, OURS), (fastai_environment(), THEIRS))
    ]
    result = compare(texts, parsed.rounds, *sides)
    result["packages"] = {"ours": sides[0].versions, "fastai": sides[1].versions}
    for side in sides:
        side.close()
    print(json.dumps(result, indent=2, ensure_ascii=False))
    write_result(parsed.name, result)


if __name__ == "__main__":
    main()
