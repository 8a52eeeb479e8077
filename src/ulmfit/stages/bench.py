"""How fast each part of the method is on this machine, beside what products of matrices reach."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ulmfit.config.model import CLASSIFIER_DROPOUT, ClassifierHeadConfig, EncoderConfig
from ulmfit.config.trials import BenchConfig
from ulmfit.models.networks import ClassifierNetwork
from ulmfit.models.reading import encode_documents
from ulmfit.nn.operations import decoder_operations, encoder_operations
from ulmfit.stages.made_up import (
    Ids,
    classifier_training,
    language_model_training,
    made_up_documents,
    made_up_ids,
)
from ulmfit.stages.output_file import named_output, whole_file
from ulmfit.stages.record import describe_machine
from ulmfit.training.allocator import keep_freed_memory
from ulmfit.training.device import Precision, resolve_device, resolve_precision
from ulmfit.training.profiling import StepProfile, bytes_a_second, products_a_second, profile

QUESTION_WORDS = 12
"""Words of a short text, at most."""

READ_TOKENS = 20_000
"""Tokens read in a round, about."""


@dataclass(frozen=True)
class Measured:
    """One part in one round."""

    name: str
    tokens: int
    seconds: float

    operations: int
    """Of a token, counted from the shapes."""

    precision: Precision


def bench(config: BenchConfig, *, quiet: bool = False) -> str:
    """Time every part in turns, for some rounds; return a table of medians.

    Raises `UlmfitError` for a wrong setting, or an output that cannot be written.
    """
    output = None if config.output is None else named_output(config.output, ".json")
    with nullcontext() if output is None else whole_file(output) as file:
        found = _found(config)
        if file is not None:
            json.dump(found, file, indent=1, ensure_ascii=False)
    return "\n".join(_table(found))


def _found(config: BenchConfig) -> dict[str, Any]:
    keep_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    shape = config.encoder(config.vocab_size)
    precisions: set[Precision] = {"float32", precision}
    peaks = {
        each: products_a_second(device, each, shape.hidden_size) for each in sorted(precisions)
    }
    rounds: dict[str, list[Measured]] = defaultdict(list)
    for number in range(config.rounds):
        for measured in _round(config, shape, device, precision, number):
            rounds[measured.name].append(measured)
    return {
        "machine": describe_machine(),
        "shape": [shape.vocab_size, shape.embedding_size, shape.hidden_size, shape.layers],
        "products_gflops": {name: round(peak / 1e9, 1) for name, peak in peaks.items()},
        "memory_gb_a_second": round(bytes_a_second(device) / 1e9, 1),
        "rounds": config.rounds,
        "parts": {name: _summary(found, peaks) for name, found in rounds.items()},
    }


def _round(
    config: BenchConfig,
    shape: EncoderConfig,
    device: torch.device,
    precision: Precision,
    number: int,
) -> Iterator[Measured]:
    """Time every part once."""
    yield from _language_model(config, shape, device, precision)
    yield from _classifier(config, shape, device, precision)
    torch.manual_seed(number)
    network = ClassifierNetwork(shape, CLASSIFIER_DROPOUT, ClassifierHeadConfig(), 2).to(device)
    kinds = {"documents": config.words, "short texts": QUESTION_WORDS}
    texts = {
        name: made_up_documents(max(2, READ_TOKENS // words), words, shape.vocab_size, number)
        for name, words in kinds.items()
    }
    texts["one document"] = made_up_documents(2, config.words, shape.vocab_size, number)[:1]
    for name, documents in texts.items():
        yield _reading(f"reading, {name}", network, documents, "float32")
        if precision != "float32":
            way = f"reading, {name}, {precision}"
            yield _reading(way, network, documents, precision)


def _language_model(
    config: BenchConfig, shape: EncoderConfig, device: torch.device, precision: Precision
) -> Iterator[Measured]:
    ids = made_up_ids(config.batch_size * config.bptt * 40, shape.vocab_size)
    ways = {"language model": 0}
    if config.sampled_words < shape.vocab_size:
        ways[f"language model, softmax over {config.sampled_words:,}"] = config.sampled_words
    for name, sampled in ways.items():
        task, training = language_model_training(
            ids,
            shape,
            device,
            batch_size=config.batch_size,
            bptt=config.bptt,
            sampled_words=sampled,
        )
        (phase,) = profile(task, training, precision, config.steps).phases
        operations = encoder_operations(shape, range(-1, shape.layers))
        operations += decoder_operations(shape, sampled or shape.vocab_size, training=True)
        yield _step(name, phase, operations, precision)


def _classifier(
    config: BenchConfig, shape: EncoderConfig, device: torch.device, precision: Precision
) -> Iterator[Measured]:
    documents = made_up_documents(4 * config.documents, config.words, shape.vocab_size)
    task, training = classifier_training(
        documents, shape, device, batch_size=config.documents, bptt=config.bptt
    )
    for phase in profile(task, training, precision, config.steps).phases:
        learning = [group - 1 for group in phase.trainable if group <= shape.layers]
        groups = f"{len(phase.trainable)} group{'s' * (len(phase.trainable) > 1)}"
        operations = encoder_operations(shape, learning)
        yield _step(f"classifier, {groups}", phase, operations, precision)


def _step(name: str, phase: StepProfile, operations: int, precision: Precision) -> Measured:
    return Measured(name, phase.tokens, sum(phase.seconds.values()), operations, precision)


def _reading(
    name: str,
    network: ClassifierNetwork,
    documents: list[Ids],
    precision: Precision,
) -> Measured:
    """Time from ids to the vectors that the classifier's small head stands on."""
    encode_documents(network.encoder, documents[:1], precision=precision)
    began = time.perf_counter()
    encode_documents(network.encoder, documents, precision=precision)
    seconds = time.perf_counter() - began
    tokens = sum(map(len, documents))
    return Measured(name, tokens, seconds, encoder_operations(network.encoder.config), precision)


def _summary(found: list[Measured], peaks: Mapping[Precision, float]) -> dict[str, Any]:
    speeds = [one.tokens / one.seconds for one in found]
    operations = found[0].operations * statistics.median(speeds)
    return {
        "precision": found[0].precision,
        "tokens": found[0].tokens,
        "milliseconds": round(1e3 * statistics.median(one.seconds for one in found), 2),
        "tokens_a_second": {
            "median": round(statistics.median(speeds), 1),
            "least": round(min(speeds), 1),
            "most": round(max(speeds), 1),
        },
        "gflops": round(operations / 1e9, 2),
        "share_of_products": round(operations / peaks[found[0].precision], 4),
    }


def _table(found: dict[str, Any]) -> list[str]:
    """Return the lines of the table for the terminal."""
    reached = ", ".join(f"{rate:,.0f} GF/s in {n}" for n, rate in found["products_gflops"].items())
    words, embedding, hidden, layers = found["shape"]
    width = max(map(len, found["parts"])) + 2
    lines = [
        found["machine"],
        f"products of matrices reach {reached}, copying {found['memory_gb_a_second']:.0f} GB/s",
        f"{embedding}/{hidden}/{layers}, {words:,} words; medians of {found['rounds']} rounds",
        f"{'':<{width}}{'tokens/s':>9}{'least':>9}{'most':>9}{'ms':>9}{'of products':>13}",
    ]
    for name, part in found["parts"].items():
        speed = part["tokens_a_second"]
        speeds = "".join(f"{speed[which]:>9,.0f}" for which in ("median", "least", "most"))
        lines.append(
            f"{name:<{width}}{speeds}{part['milliseconds']:>9,.0f}{part['share_of_products']:>13.1%}"
        )
    return lines
