"""The numbers of the README against the files of results that it links to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_every_number_of_the_readmes_table_is_on_file() -> None:
    place = README.partition("<!-- results")[2].partition("<!-- end of results -->")[0]
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in place.splitlines()
        if line.startswith("|")
    ]
    assert len(rows) == 7
    for row in rows:
        for column, cell in zip(header[1:], row[1:], strict=True):
            link = re.fullmatch(r"\[(.*)\]\((benchmarks/results/[\w-]+\.json)\)", cell)
            assert link is not None, cell
            scratch = column == "without pretraining"
            assert ("from-scratch" in link[2]) == scratch
            model = "both" if scratch else column
            result = json.loads((ROOT / link[2]).read_text("utf-8"))
            error = result["summary"]["models"][model]["error"]
            assert link[1] == f"{error['mean']:.1f} ± {error['deviation']:.1f}"
            assert len(result["draws"]) == 5


def measured(name: str, *path: str | int) -> float:
    """The number at a path of a result; of several rounds, the median."""
    found: Any = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))
    for part in path:
        found = found[part]
    return float(found["median"] if isinstance(found, dict) else found)


def over_fastai(name: str, part: str, way: str) -> float:
    return measured(name, "prediction", f"{part}, words", "over", "fastai", way)


def language_models(name: str, shape: str, way: str, peer: str = "fastai") -> float:
    return measured(name, "language-model", shape, "over", peer, way)


def claims() -> Iterator[str]:
    """What the README's prose says of files of results, its numbers taken from them."""

    def f1(model: str, average: str) -> float:
        return measured("goemotions", "models", f"{model}, thresholds tuned", f"{average}_f1")

    yield f"[micro F1 {f1('ulmfit', 'micro'):.3f} and macro F1 {f1('ulmfit', 'macro'):.3f}]"
    yield f"against {f1('tf-idf + lr', 'micro'):.3f} and {f1('tf-idf + lr', 'macro'):.3f} of TF-IDF"

    def calibration(name: str, way: str) -> float:
        return measured(f"calibration-{name}", "models", name, way, "calibration_error")

    yield f"[{calibration('imdb', 'fitted'):.3f} on IMDb]"
    yield f"[{calibration('ag-news', 'fitted'):.3f} on AG's news]"
    yield f"where it is {calibration('ag-news', 'without'):.3f} without the temperature"

    runs = [f"speed-language-model{which}" for which in ("-earlier", "-four-steps", "")]
    for way, peer, said in (
        ("ours, bfloat16", "fastai", "trains {} times as fast in bfloat16"),
        ("ours", "fastai", "{} times in float32"),
        ("ours, bfloat16, 3000 words", "fastai", "{} times with the sampled softmax besides"),
        ("ours, bfloat16", "fastai, autocast", "under autocast {} times"),
    ):
        ratios = [language_models(run, "base", way, peer) for run in runs]
        yield said.format(f"{min(ratios):.1f} to {max(ratios):.1f}")
    quick = partial(measured, "speed", "classifier", "small", "over", "fastai")
    yield (
        f"[{quick('ours, bfloat16'):.1f} times as fast](benchmarks/results/speed.json) "
        f"({quick('ours'):.1f} in float32)"
    )
    amd, xeon = partial(over_fastai, "speed-prediction"), partial(over_fastai, "speed-xeon")
    int8 = "ours, ONNX, int8"
    yield (
        f"[reviews {amd('reviews', 'ours'):.1f} and questions {amd('questions', 'ours'):.1f} times "
        f"as fast, with `--precision bfloat16` {amd('reviews', 'ours, bfloat16'):.1f} and "
        f"{amd('questions', 'ours, bfloat16'):.1f} times; converted to ONNX with `--precision "
        f"int8`, reviews {amd('reviews', int8):.1f}, questions {amd('questions', int8):.1f}, and "
        f"one text alone {amd('one by one', int8):.1f} times]"
    )
    tokens = partial(measured, "speed-tokenizing", "tokenizing", "reviews", "over")
    yield (
        f"[{tokens('fastai, its processes', 'ours'):.0f} times as fast as by fastai's processes on "
        f"both cores, {tokens('fastai', 'ours'):.0f} times as fast as by one]"
    )
    (bits,) = {
        round(measured("precision", "training", way, "bits_per_byte", -1), 3)
        for way in ("float32", "bfloat16")
    }
    yield f"[{bits:.3f} bits per byte in either arithmetic]"
    slow = partial(language_models, "speed-xeon")
    yield (
        f"language models train {slow('base', 'ours'):.1f} times as fast, with the sampled softmax "
        f"{slow('base', 'ours, 3000 words'):.1f} (60,000 words) and "
        f"{slow('small', 'ours, 3000 words'):.1f} times (16,000 pieces), classifiers "
        f"{measured('speed-xeon', 'classifier', 'small', 'over', 'fastai', 'ours'):.2f} times; "
        f"reviews are predicted {xeon('reviews', 'ours'):.1f}, questions "
        f"{xeon('questions', 'ours'):.1f} times as fast, by ONNX with `--precision int8` "
        f"{xeon('reviews', int8):.1f} and {xeon('questions', int8):.1f} times, one text alone "
        f"{xeon('one by one', int8):.1f} times"
    )
    pressed = partial(measured, "compression", "of")
    yield (
        f"{pressed('forward', 'bits_per_byte'):.2f} bits per byte in either direction on "
        f"{measured('compression', 'documents'):,.0f} articles held out, where a 5-gram model of "
        f"the same pieces and text has {pressed('kneser-ney', 'bits_per_byte'):.2f} and `xz -9` "
        f"{pressed('xz -9', 'bits_per_byte'):.2f}"
    )
    store = partial(measured, "corpus", "store")
    yield (
        f"[{store('whole', 'peak_anonymous_mb'):.0f} MB of memory, a tenth of it in "
        f"{store('a tenth', 'peak_anonymous_mb'):.0f}]"
    )


def test_every_number_of_the_readmes_prose_is_on_file() -> None:
    prose = " ".join(README.split())
    missing = [claim for claim in claims() if claim not in prose]
    assert missing == []
