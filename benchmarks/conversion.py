"""How long the conversion of published weights takes at full size, and how much memory.

Random weights in the true shapes: fast.ai's WikiText-103 model (60,000 words, 400/1152/3, in the
layout of version 1, which has the recurrent matrices twice) and that of 2018 (238,462 words,
400/1150/3). Each is converted by the command, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import mean_and_deviation, parser, write_result

SHAPES = {"fastai 1": (60_000, 400, 1152), "2018": (238_462, 400, 1150)}
MOST_SECONDS, MOST_MEMORY = 30.0, 2.5
"""The second: peak memory, in sizes of the file."""

PROGRAM = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def write_weights(folder: Path, layout: str) -> tuple[Path, Path]:
    """Write random weights in a layout of fastai's, and their vocabulary."""
    import torch

    words, embedding, hidden = SHAPES[layout]
    torch.manual_seed(0)
    matrix = torch.randn(words, embedding)
    weights = {"0.encoder.weight": matrix, "0.encoder_dp.emb.weight": matrix}
    sizes = [(embedding, hidden), (hidden, hidden), (hidden, embedding)]
    for layer, (inputs, size) in enumerate(sizes):
        weights |= _lstm(f"0.rnns.{layer}", inputs, size, layout)
    weights["1.decoder.weight"] = matrix
    if layout == "2018":
        weights["0.encoder_with_dropout.embed.weight"] = weights.pop("0.encoder_dp.emb.weight")
    else:
        weights["1.decoder.bias"] = torch.randn(words)
    path, vocabulary = folder / f"{layout.replace(' ', '-')}-fwd.pth", folder / "itos.json"
    # Legacy: what the published files are, and what torch.save wrote before version 1.6.
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    names = ["xxunk", "xxpad", *(f"word{i}" for i in range(words - 2))]
    vocabulary.write_text(json.dumps(names), encoding="utf-8")
    return path, vocabulary


def _lstm(prefix: str, inputs: int, size: int, layout: str) -> dict[str, Any]:
    import torch

    raw = torch.randn(4 * size, size)
    weights = {
        "module.weight_ih_l0": torch.randn(4 * size, inputs),
        "module.bias_ih_l0": torch.randn(4 * size),
        "module.bias_hh_l0": torch.randn(4 * size),
    }
    if layout == "2018":
        weights["module.weight_hh_l0_raw"] = raw
    else:
        weights |= {"weight_hh_l0_raw": raw, "module.weight_hh_l0": raw.clone()}
    return {f"{prefix}.{name}": tensor for name, tensor in weights.items()}


def convert(source: Path, vocabulary: Path, output: Path) -> dict[str, float]:
    """Convert in a new process; return seconds, and peak memory in MB."""
    line = [sys.executable, "-m", "ulmfit", "convert", source, "--vocab", vocabulary]
    line += ["--splitter", "pattern", "--output", output]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, line)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_mb": int(done.stdout.split()[-1]) * 1024 / 1e6}


def measure(layout: str, runs: int) -> dict[str, Any]:
    """Return the seconds and the memory of `runs` conversions of a layout."""
    with TemporaryDirectory() as folder:
        source, vocabulary = write_weights(Path(folder), layout)
        found = [convert(source, vocabulary, Path(folder) / f"model-{i}") for i in range(runs)]
        file_mb = source.stat().st_size / 1e6
    peak = max(one["peak_mb"] for one in found)
    return {
        "shape": SHAPES[layout],
        "file_mb": round(file_mb, 1),
        "seconds": mean_and_deviation(one["seconds"] for one in found),
        "peak_mb": round(peak, 1),
        "peak_in_files": round(peak / file_mb, 2),
        "within_the_bars": all(one["seconds"] <= MOST_SECONDS for one in found)
        and peak <= MOST_MEMORY * file_mb,
    }


def run(options: Namespace) -> None:
    """Measure, write and print."""
    result = {layout: measure(layout, options.runs) for layout in SHAPES}
    bars = {"seconds": MOST_SECONDS, "peak_in_files": MOST_MEMORY}
    write_result("conversion", {"bars": bars, "runs": options.runs, "layouts": result})
    print(json.dumps(result, indent=1))


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=3, help="conversions of each layout")
    run(options.parse_args(arguments))


if __name__ == "__main__":
    main()
