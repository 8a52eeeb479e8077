"""What the benchmarks share: labelled text, and results that say how they were made."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import ulmfit

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RUNS = ROOT / "runs" / "benchmarks"
DATA = ROOT.parent / "shared" / "data"

PACKAGES = ("torch", "numpy", "scikit-learn", "tokenizers", "safetensors", "pyarrow")


class Labelled(NamedTuple):
    """Texts and their labels, in the same order."""

    texts: list[str]
    labels: list[str]

    def take(self, indices: Iterable[int]) -> Labelled:
        """Return the documents at `indices`, in that order."""
        chosen = list(indices)
        return Labelled([self.texts[i] for i in chosen], [self.labels[i] for i in chosen])

    def split(self, size: int, seed: int) -> tuple[Labelled, Labelled]:
        """Draw `size` documents, stratified by label; return them and the rest."""
        from sklearn.model_selection import train_test_split

        chosen, rest = train_test_split(
            np.arange(len(self.texts)), train_size=size, stratify=self.labels, random_state=seed
        )
        return self.take(chosen), self.take(np.sort(rest))

    def take_of_each(self, size: int, seed: int) -> Labelled:
        """Draw `size` documents of each label, or all of a label that has fewer."""
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(self.texts)).tolist()
        by_label: dict[str, list[int]] = {label: [] for label in self.labels}
        for i in order:
            by_label[self.labels[i]].append(i)
        return self.take(i for chosen in by_label.values() for i in chosen[:size])


def read_labelled(path: Path) -> Labelled:
    """Read the columns `text` and `label` of a CSV or Parquet file."""
    from ulmfit.config.data import ReadingConfig
    from ulmfit.data.sources import read_documents

    documents = list(read_documents(path, ReadingConfig(), labelled=True))
    return Labelled([str(d.text) for d in documents], [str(d.label) for d in documents])


def read_texts(path: Path) -> list[str]:
    """Read the column `text` of a CSV or Parquet file."""
    from ulmfit.config.data import ReadingConfig
    from ulmfit.data.sources import read_documents

    return [str(d.text) for d in read_documents(path, ReadingConfig(), labelled=False)]


def write_labelled(path: Path, documents: Labelled) -> Path:
    """Write labelled documents as JSON lines, atomically."""
    rows = zip(documents.texts, documents.labels, strict=True)
    return _write_lines(path, ({"text": text, "label": label} for text, label in rows))


def write_texts(path: Path, texts: Iterable[str]) -> Path:
    """Write texts as JSON lines, atomically."""
    return _write_lines(path, ({"text": text} for text in texts))


def digest(value: Any) -> str:
    """Return a short hash of plain JSON values: the same values, the same name in any run."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def provenance() -> dict[str, Any]:
    """Return the command, machine, versions, date and commit of this run."""
    return {
        "command": " ".join(["python", *map(_shown, sys.argv)]),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **_versions()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
    }


def machine() -> dict[str, Any]:
    """Return processor, cores, PyTorch's threads and memory."""
    import psutil
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    told = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    flags = set(told.get("flags", "").split())
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "family, model": [told.get("cpu family"), told.get("model")],
        "bfloat16": sorted(flags & {"avx512_bf16", "amx_bf16"}),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
    }


def commit() -> str:
    """Return the commit checked out, with `+changes` where tracked files but results differ."""
    try:
        but_results = (":/", ":(top,exclude)benchmarks/results")
        changed = _git("status", "--porcelain", "-uno", "--", *but_results)
        return _git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_result(name: str, values: dict[str, Any]) -> Path:
    """Write `values` with their provenance to `results/NAME.json`, atomically."""
    path = RESULTS / f"{name}.json"
    text = json.dumps({"benchmark": name, **provenance(), **values}, indent=2, ensure_ascii=False)
    _replace(path, text + "\n")
    print(f"wrote {_shown(str(path))}", file=sys.stderr)
    return path


def draws_on_file(name: str) -> list[dict[str, Any]]:
    """Return the draws of `results/NAME.json`, if there is one."""
    path = RESULTS / f"{name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return list(found.get("draws", []))


def append_line(path: Path, values: dict[str, Any]) -> None:
    """Append `values` as one JSON line, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last line that a killed command left unfinished is passed over."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line.endswith("}")]


def mean_and_deviation(values: Iterable[float]) -> dict[str, float]:
    """Return the mean and the sample standard deviation, which is 0 of a single value."""
    array = np.array(list(values), dtype=np.float64)
    deviation = array.std(ddof=1) if len(array) > 1 else 0.0
    return {"mean": round(float(array.mean()), 3), "deviation": round(float(deviation), 3)}


def parser(description: str | None) -> ArgumentParser:
    """Return a parser with the option that every benchmark has."""
    result = ArgumentParser(description=description)
    result.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    return result


def parse(options: ArgumentParser, arguments: list[str] | None) -> Namespace:
    """Parse `arguments` and check that the data is there."""
    parsed = options.parse_args(arguments)
    check_data(options, parsed.data)
    return parsed


def check_data(options: ArgumentParser, data: Path) -> None:
    """End the program if the folder of the data sets is not there."""
    if not data.is_dir():
        options.error(f"--data: {data}: no such folder; give the folder of the data sets")


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found | {"ulmfit": ulmfit.__version__}


def _shown(word: str) -> str:
    """Return a word of the command, a path of this machine as seen from the project."""
    return os.path.relpath(word, ROOT) if os.path.isabs(word) or word == sys.argv[0] else word


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _write_lines(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    _replace(path, "".join(json.dumps(row) + "\n" for row in rows))
    return path


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
