"""The numbers of the README against the files of results that it links to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
HOW_MEASURED = (ROOT / "benchmarks" / "README.md").read_text("utf-8")


@cache
def result(name: str) -> Any:
    """What is on file as the result of that name."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))


def measured(name: str, *path: str | int) -> float:
    """The number at a path of a result; of several rounds, the median."""
    found = result(name)
    for part in path:
        found = found[part]
    return float(found["median"] if isinstance(found, dict) else found)


SPEEDS: dict[str, dict[str, tuple[str, ...]]] = {
    "Zen 5": {
        "language-model": (
            "speed-language-model-earlier",
            "speed-language-model-four-steps",
            "speed-language-model",
        ),
        "classifier": (),
        "prediction": ("speed-prediction",),
    },
    "Zen 4": {
        "language-model": ("speed-zen-4",),
        "classifier": ("speed-classifier",),
        "prediction": ("speed-zen-4",),
    },
    "without AMX": {
        "language-model": ("speed-xeon",),
        "classifier": (),
        "prediction": ("speed-xeon",),
    },
    "with AMX": {
        "language-model": ("speed-amx",),
        "classifier": (),
        "prediction": (),
    },
}
"""The files of each machine's runs, in the order of the README's columns."""

COMPARED = (
    *(
        ("language-model", shape, way, peer)
        for shape in ("base", "small")
        for way, peer in (
            ("ours", "fastai"),
            ("ours, bfloat16", "fastai"),
            ("ours, bfloat16", "fastai, autocast"),
            ("ours, 3000 words", "fastai"),
            ("ours, bfloat16, 3000 words", "fastai"),
        )
    ),
    ("classifier", "small", "ours", "fastai"),
    ("classifier", "small", "ours, bfloat16", "fastai"),
    ("classifier", "small", "ours, bfloat16", "fastai, autocast"),
    *(
        ("prediction", f"{texts}, words", way, "fastai")
        for texts in ("reviews", "questions", "one by one")
        for way in ("ours", "ours, bfloat16", "ours, ONNX, int8")
    ),
    *(
        ("prediction", f"{texts}, pieces", way, "minilm")
        for texts in ("reviews", "questions", "one by one")
        for way in ("ours", "ours, bfloat16", "ours, ONNX, int8")
    ),
)
"""What the rows of the table of speeds compare: part, shape or texts, way and peer."""


def table(text: str, mark: str) -> list[list[str]]:
    """The rows of cells of the table between two comments of `text`, its header first."""
    place = text.partition(f"<!-- {mark}")[2].partition(f"<!-- end of {mark} -->")[0]
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in place.splitlines()
        if line.startswith("|")
    ]
    return [header, *rows]


def speed_cell(files: Sequence[str], part: str, what: str, way: str, peer: str) -> str:
    """How many times as fast `way` is, from the least to the most of the files that tell it."""
    over: list[Any] = [result(name)[part][what]["over"].get(peer, {}) for name in files]
    ratios = sorted(found[way]["median"] for found in over if way in found)
    ends = dict.fromkeys(f"{ratio:.1f}" for ratio in (*ratios[:1], *ratios[-1:]))
    return " to ".join(ends) or "–"


def test_every_number_of_the_readmes_table_is_on_file() -> None:
    header, *rows = table(README, "results")
    assert len(rows) == 7
    for row in rows:
        for column, cell in zip(header[1:], row[1:], strict=True):
            if (column, row[0][:4], cell) == ("minilm + lr", "NSMC", "–"):  # it reads English
                continue
            link = re.fullmatch(r"\[(.*)\]\((benchmarks/results/[\w-]+\.json)\)", cell)
            assert link is not None, cell
            suffixes = {"without pretraining": "-from-scratch", "minilm + lr": "-minilm"}
            for other, suffix in suffixes.items():
                assert (suffix in link[2]) == (column == other)
            model = "both" if column == "without pretraining" else column
            found = result(Path(link[2]).stem)
            error = found["summary"]["models"][model]["error"]
            assert link[1] == f"{error['mean']:.1f} ± {error['deviation']:.1f}"
            assert len(found["draws"]) == 5


def test_every_number_of_the_table_of_speeds_is_on_file() -> None:
    header, *rows = table(HOW_MEASURED, "speeds")
    assert all(name in cell for name, cell in zip(SPEEDS, header[1:], strict=True))
    for (part, *compared), (label, *cells) in zip(COMPARED, rows, strict=True):
        told = [speed_cell(files[part], part, *compared) for files in SPEEDS.values()]
        assert cells == told, label


def speeds(part: str, what: str, *ways: str, peer: str = "fastai") -> str:
    """From the slowest machine to the fastest, how many times as fast one of `ways` is."""
    cells = [speed_cell(f[part], part, what, way, peer) for f in SPEEDS.values() for way in ways]
    found = sorted(float(end) for cell in cells if cell != "–" for end in cell.split(" to "))
    return f"{found[0]:.1f} to {found[-1]:.1f}"


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

    language_model = partial(speeds, "language-model", "small")
    sampled = language_model("ours, 3000 words", "ours, bfloat16, 3000 words")
    yield f"as the recipes have it, {sampled} times as fast as fastai 2.8 in float32"
    yield f"a classifier trains {speeds('classifier', 'small', 'ours', 'ours, bfloat16')} times"
    exact, int8 = ("ours",), ("ours, ONNX, int8",)

    def predicted(texts: str, way: tuple[str, ...], peer: str = "minilm") -> str:
        cut = "words" if peer == "fastai" else "pieces"
        return speeds("prediction", f"{texts}, {cut}", *way, peer=peer)

    yield (
        f"in float32 {predicted('reviews', exact, 'fastai')} times as fast as by fastai and "
        f"{predicted('reviews', exact)} times as fast as by MiniLM, in ONNX with 8-bit products "
        f"{predicted('reviews', int8, 'fastai')} and {predicted('reviews', int8)} times"
    )
    yield (
        f"is answered {predicted('one by one', exact)} times as fast as by MiniLM, in ONNX "
        f"{predicted('one by one', int8)} times"
    )
    over = [
        measured(file, "prediction", texts, "over", "tf-idf", "ours")
        for machine in SPEEDS.values()
        for file in machine["prediction"]
        for texts in ("reviews, pieces", "questions, pieces")
    ]
    yield f"answer in bulk {1 / max(over):.0f} to {1 / min(over):.0f} times as fast as"
    same_words = measured("fastai-text", "fastai_over_ours")
    yield f"[the same words as fastai's](docs/fastai.md), {same_words:.1f} times"
    tokens = partial(measured, "speed-zen-4", "tokenizing", "reviews", "over")
    yield (
        f"[{tokens('fastai, its processes', 'ours'):.0f} times as fast as fastai's words by its "
        f"processes on both cores, {tokens('fastai', 'ours'):.0f} times as fast as by one]"
    )
    (bits,) = {
        round(measured("precision", "training", way, "bits_per_byte", -1), 3)
        for way in ("float32", "bfloat16")
    }
    yield f"[{bits:.3f} bits per byte in either arithmetic]"
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
