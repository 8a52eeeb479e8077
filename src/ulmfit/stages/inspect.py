"""What a model folder holds, told without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ulmfit.config.artefact import ArtefactConfig
from ulmfit.config.questions import InspectConfig
from ulmfit.models.card import describe_task, is_number, stored_as
from ulmfit.models.folder import CARD, CONFIG, WEIGHTS, read_config, resolve


def inspect(config: InspectConfig, *, quiet: bool = False) -> str:
    """Check the folder whole and return a summary of it. Raises `ArtefactError` if it is not."""
    folder = resolve(config.model)
    artefact = read_config(folder)
    rows = [*_shapes(artefact), *_members(artefact, folder), *_task(artefact)]
    rows += [*_files(artefact, folder), *_runs(artefact)]
    kind = artefact.kind.replace("_", " ")
    title = f"{folder}: {kind}, format version {artefact.format_version}, whole"
    return "\n".join([title, "", *(f"{name:<12}{text}".rstrip() for name, text in rows)])


def _shapes(artefact: ArtefactConfig) -> Iterator[tuple[str, str]]:
    tokenizer, encoder, head = artefact.tokenizer, artefact.encoder, artefact.head
    ids = f"at most {tokenizer.vocab_size:,}" if encoder is None else f"{encoder.vocab_size:,}"
    yield "tokenizer", f"{tokenizer.kind}, {ids} ids, rules {tokenizer.rules}"
    if encoder is not None:
        yield (
            "encoder",
            f"AWD-LSTM, embedding {encoder.embedding_size}, hidden {encoder.hidden_size}, "
            f"{encoder.layers} layers; trained in chunks of {artefact.bptt} tokens",
        )
    if head is not None:
        hidden = " ".join(map(str, head.hidden_sizes)) or "none"
        yield "head", f"concat pooling, hidden layers of {hidden}"


def _members(artefact: ArtefactConfig, folder: Path) -> Iterator[tuple[str, str]]:
    for index, member in enumerate(artefact.members):
        if artefact.kind == "onnx_classifier":
            size = f"computed by {member.prefix}.onnx"
        else:
            size = f"{_parameters(folder / WEIGHTS, member.prefix):,} parameters"
        about = f"{member.direction}, {size}, weight {member.weight:g}"
        yield "members" if index == 0 else "", f"{about}, begin mark {member.begin_mark}"
    if artefact.members:
        yield "storage", stored_as(artefact)


def _parameters(weights: Path, prefix: str) -> int:
    """Count a member's stored numbers, the scales of 8-bit matrices left out."""
    with safe_open(weights, framework="numpy") as tensors:
        names = {name for name in tensors.keys() if name.startswith(f"{prefix}.")}  # noqa: SIM118
        kept = {n for n in names if n == n.removesuffix(".scale") or n[:-6] not in names}
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in kept)


def _task(artefact: ArtefactConfig) -> Iterator[tuple[str, str]]:
    if artefact.task is not None:
        yield "task", describe_task(artefact.task)


def _files(artefact: ArtefactConfig, folder: Path) -> Iterator[tuple[str, str]]:
    total = 0
    for index, name in enumerate([CONFIG, *sorted(artefact.files), CARD]):
        path = folder / name
        if path.exists():
            total += path.stat().st_size
            yield "files" if index == 0 else "", f"{name:<20}{path.stat().st_size:>14,} bytes"
    yield "", f"{'together':<20}{total:>14,} bytes"


def _runs(artefact: ArtefactConfig) -> Iterator[tuple[str, str]]:
    for stage, run in artefact.run.items():
        if not isinstance(run, dict):
            continue
        yield stage, f"{run.get('date', '')}  {run.get('machine', '')}".strip()
        for line in run.get("data", []):
            yield "", str(line)
        for part, values in run.get("results", {}).items():
            yield "", f"{part}: {_numbers(values)}"


def _numbers(values: Any) -> str:
    pairs = values.items() if isinstance(values, dict) else ()
    return ", ".join(f"{name} {value:.6g}" for name, value in pairs if is_number(value))
