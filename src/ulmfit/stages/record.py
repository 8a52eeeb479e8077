"""What a run puts on record: settings, data, results, machine."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ulmfit import __version__
from ulmfit.config.settings import to_dict
from ulmfit.data.hub import as_found, is_on_hub
from ulmfit.data.token_store import TokenStore


def run_record(
    config: Any, data: Iterable[str], results: dict[str, Any], resolved: dict[str, Any]
) -> dict[str, Any]:
    """Return the record of a stage, plain JSON values, without any path but the names of files."""
    return {
        "settings": _without_folders(to_dict(config)),
        "resolved": resolved,
        "data": list(data),
        "results": results,
        "machine": describe_machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def with_record(run: Mapping[str, Any], stage: str, record: Any) -> dict[str, Any]:
    """Return the records of `run` and one more; a stage's second is named `STAGE_2`."""
    times = 1
    while (name := stage if times == 1 else f"{stage}_{times}") in run:
        times += 1
    return {**run, name: record}


def describe_store(name: str, paths: Iterable[str], store: TokenStore) -> str:
    """Return a line that says what a token store holds."""
    files = ", ".join(map(_named, paths))
    return (
        f"{name}: {files}: {len(store):,} documents, {len(store.tokens):,} tokens, "
        f"{store.text_bytes:,} bytes"
    )


def describe_machine() -> str:
    """Return processor, cores, GPU, and the versions that decide speed and last bits."""
    processor = platform.processor() or platform.machine()
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        processor = next(
            line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line
        )
    except (OSError, StopIteration):
        pass
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{processor}, {torch.get_num_threads()} threads{gpu}; {platform.system()}, "
        f"Python {platform.python_version()}, PyTorch {torch.__version__}, ulmfit {__version__}"
    )


def _named(path: str) -> str:
    """Return a file's name without its folder; on the hub, with the commit it was taken from."""
    return as_found(path) if is_on_hub(path) else Path(path).name


def _without_folders(settings: dict[str, Any]) -> dict[str, Any]:
    """Return `settings` with every path cut to its last part, and without the ways of calling."""
    paths = {"texts", "validation", "data", "unlabelled", "path"}
    models = {"model", "tokenizer_folder", "pretrained"}
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        if name in ("resume", "overwrite", "cache", "output"):
            continue
        if isinstance(value, dict):
            value = _without_folders(value)
        elif name in paths and isinstance(value, str):
            value = _named(value)
        elif name in paths and isinstance(value, list):
            value = [_named(item) for item in value]
        elif name in models and value is not None and Path(value).exists():
            value = Path(value).name  # otherwise OWNER/NAME on the hub
        kept[name] = value
    return kept
