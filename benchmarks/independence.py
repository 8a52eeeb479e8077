"""Does a prediction depend on its neighbours, and does memory grow with a text's length?

1. Real reviews, the empty string and a very long text among them: each alone, against all in
   batches, against all in another order and in small batches. The largest difference of a
   probability.
2. Peak memory of a fresh process that predicts one text of many tokens, against a short one.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from common import parse, parser, read_texts, write_result

if TYPE_CHECKING:
    from ulmfit.models.text_classifier import TextClassifier

LONG, SMALL_BUDGET = 50_000, 2_048
SAMPLE = 200
SHORT_TEXT, LONG_TEXT = 10_000, 1_000_000
LARGEST_DIFFERENCE = 1e-5
LARGEST_GROWTH_MB = 200.0


def random_classifier(texts: list[str]) -> TextClassifier:
    """Return a classifier of the `small` shape, both directions, with random weights.

    Batch norm gets the statistics of real texts, as training would give it, and the linear layers
    are enlarged, so that the probabilities differ from text to text.
    """
    import torch

    from ulmfit.config.artefact import Member, Task
    from ulmfit.config.model import CLASSIFIER_DROPOUT, ClassifierHeadConfig, Direction, preset
    from ulmfit.config.text import TokenizerConfig
    from ulmfit.data.documents import in_order
    from ulmfit.models.networks import ClassifierNetwork
    from ulmfit.models.reading import encode_documents
    from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
    from ulmfit.text.tokenizer import Tokenizer

    torch.manual_seed(0)
    tokenizer = Tokenizer.train(texts, TokenizerConfig())
    encoder, head = preset("small", tokenizer.vocab_size), ClassifierHeadConfig()
    directions: tuple[Direction, Direction] = ("forward", "backward")
    members = []
    for direction in directions:
        network = ClassifierNetwork(encoder, CLASSIFIER_DROPOUT, head, outputs=2)
        member = Member(direction=direction, prefix=direction)
        ids = in_order(tokenizer.encode_batch(texts[:SAMPLE]), member)
        pooled = torch.from_numpy(encode_documents(network.encoder, ids))
        blocks: list[Any] = list(network.head.blocks)
        for block in blocks:
            norm, _, linear = block
            torch.nn.init.normal_(linear.weight, std=0.2)
            norm.running_mean, norm.running_var = pooled.mean(0), pooled.var(0)
            pooled = linear(norm.eval()(pooled)).relu().detach()
        members.append(ClassifierMember(member, network))
    return TextClassifier(members, tokenizer, Task(labels=("neg", "pos")), head=head)


def text_of(tokens: int, texts: list[str], classifier: TextClassifier) -> str:
    """Return real text joined until it has about `tokens` tokens."""
    parts: list[str] = []
    count = 0
    while count < tokens:
        text = texts[len(parts) % len(texts)]
        parts.append(text)
        count += len(classifier.tokenizer.encode(text)) - 1
    return " ".join(parts)


def measure_independence(classifier: TextClassifier, texts: list[str]) -> dict[str, Any]:
    """Compare the probabilities of each text alone with those among the others."""
    reviews = list(texts)
    texts = [*reviews[1:-1], "", text_of(LONG, reviews, classifier)]
    random.Random(0).shuffle(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    batched = classifier.predict_proba(texts)
    shuffled = np.empty_like(batched)
    shuffled[order] = classifier.predict_proba([texts[i] for i in order], token_budget=SMALL_BUDGET)
    alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
    tokens = [len(ids) for ids in classifier.tokenizer.encode_batch(texts)]
    differences = {
        "alone_to_batched": float(np.abs(alone - batched).max()),
        "shuffled_small_batches_to_batched": float(np.abs(shuffled - batched).max()),
    }
    return {
        "texts": len(texts),
        "shortest_tokens": min(tokens),
        "longest_tokens": max(tokens),
        "largest_difference": differences,
        "bound": LARGEST_DIFFERENCE,
        "within": max(differences.values()) <= LARGEST_DIFFERENCE,
        "deviation_of_probabilities": float(batched.std(axis=0).mean()),
    }


def measure_memory(model: Path, text_file: Path) -> dict[str, Any]:
    """Predict the text in a fresh process and return its peak memory and seconds."""
    command = [sys.executable, __file__, "--worker", str(model), str(text_file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def worker(model: str, text_file: str) -> None:
    """Predict the one text and print tokens, peak memory and seconds as JSON."""
    from ulmfit.models.text_classifier import TextClassifier

    classifier = TextClassifier.from_pretrained(model)
    text = Path(text_file).read_text(encoding="utf-8")
    began = time.perf_counter()
    classifier.predict_proba([text])
    seconds, peak = time.perf_counter() - began, peak_memory_mb()
    tokens = len(classifier.tokenizer.encode(text))
    print(json.dumps({"tokens": tokens, "peak_mb": round(peak, 1), "seconds": round(seconds, 1)}))


def peak_memory_mb() -> float:
    """Return the largest resident memory this process has had, in 2^20 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage's figure begins with that of the parent process
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure(options: Namespace, model: Path, classifier: TextClassifier) -> dict[str, Any]:
    """Return what was asked for of both measurements."""
    reviews = read_texts(options.data / "imdb" / "test.parquet")
    chosen = random.Random(0).sample(reviews, options.texts)
    result: dict[str, Any] = {"model": options.model or "random weights, small, both directions"}
    if options.only != "memory":
        result["independence"] = measure_independence(classifier, chosen)
    if options.only != "independence":
        with TemporaryDirectory() as folder:
            peaks = {}
            for name, tokens in (("short", options.short), ("long", options.long)):
                path = Path(folder) / f"{name}.txt"
                path.write_text(text_of(tokens, chosen, classifier), encoding="utf-8")
                peaks[name] = measure_memory(model, path)
        growth = round(peaks["long"]["peak_mb"] - peaks["short"]["peak_mb"], 1)
        bound = {"bound_mb": LARGEST_GROWTH_MB, "within": growth <= LARGEST_GROWTH_MB}
        result["memory"] = {**peaks, "growth_mb": growth, **bound}
    return result


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--worker"]:
        worker(*given[1:])
        return
    options = parser(__doc__)
    options.add_argument("--model", help="folder of a classifier; default: random weights")
    options.add_argument("--texts", type=int, default=1_000, help="how many texts")
    options.add_argument("--short", type=int, default=SHORT_TEXT, help="tokens of the short text")
    options.add_argument("--long", type=int, default=LONG_TEXT, help="tokens of the long text")
    options.add_argument("--only", choices=["independence", "memory"])
    options.add_argument("--name", default="independence", help="name of the result")
    parsed = parse(options, given)

    from ulmfit.models.text_classifier import TextClassifier

    with TemporaryDirectory() as folder:
        model = Path(parsed.model or Path(folder) / "random")
        if parsed.model:
            classifier = TextClassifier.from_pretrained(model)
        else:
            sample = read_texts(parsed.data / "imdb" / "test.parquet")[:5_000]
            classifier = random_classifier(sample)
            classifier.save_pretrained(model)
        result = measure(parsed, model, classifier)
    print(json.dumps(result, indent=2))
    write_result(parsed.name, result)


if __name__ == "__main__":
    main()
