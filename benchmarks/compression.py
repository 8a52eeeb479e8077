"""How well the shipped language model predicts held-out Wikipedia, beside xz and Kneser-Ney.

All in bits per byte of the same text, `wikipedia-en/test.parquet`: the model in each direction,
`xz -9` on the bytes, and a 5-gram model with modified Kneser-Ney smoothing (Heafield et al. 2013)
of the same pieces, estimated on the whole corpus once. The latter is KenLM's: give the folder of
its programs `lmplz` and `query` with `--kenlm`.
"""

from __future__ import annotations

import json
import lzma
import math
import re
import subprocess
from argparse import Namespace
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

from common import RUNS, parse, parser, read_texts, write_result

ORDER = 5
BATCH = 1000


def xz(text: bytes) -> dict[str, float]:
    """Return the bits per byte of `xz -9`."""
    return {"bits_per_byte": 8 * len(lzma.compress(text, preset=9)) / len(text)}


def language_model(name: str, test: Path) -> dict[str, dict[str, float]]:
    """Return what `ulmfit evaluate` measures, by direction."""
    from ulmfit.config.questions import EvaluateConfig
    from ulmfit.stages.evaluate import evaluate

    with NamedTemporaryFile(suffix=".json") as output:
        evaluate(EvaluateConfig(model=name, data=str(test), output=output.name))
        members = json.loads(Path(output.name).read_text())["members"]
    return {member.pop("member"): member for member in members}


def kneser_ney(
    programs: Path, name: str, files: Iterable[Path], tokens: int, texts: list[str]
) -> dict[str, float]:
    """Return the measures of a 5-gram model of the pieces, estimated on `tokens` tokens."""
    from ulmfit.stages.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(name)
    RUNS.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=RUNS) as folder:
        model, written = Path(folder) / "model.arpa", 0
        with (Path(folder) / "train.txt").open("w") as train:
            documents = (text for file in files for text in read_texts(file))
            for ids in _encoded(tokenizer, documents):
                train.write(_line(ids[: tokens - written]))
                written += len(ids)
                if written >= tokens:
                    break
        lmplz = [str(programs / "lmplz"), "-o", str(ORDER), "-S", "40%", "-T", folder]
        with (Path(folder) / "train.txt").open() as train, model.open("w") as arpa:
            subprocess.run(lmplz, stdin=train, stdout=arpa, check=True)
        held_out = Path(folder) / "test.txt"
        held_out.write_text("".join(map(_line, _encoded(tokenizer, texts))))
        query = [str(programs / "query"), "-v", "summary", str(model)]
        with held_out.open() as lines:
            said = subprocess.run(query, stdin=lines, capture_output=True, text=True, check=True)
    found = re.search(r"Perplexity including OOVs:\s*([\d.e+]+)", said.stdout)
    counted = re.search(r"Tokens:\s*(\d+)", said.stdout)
    assert found is not None and counted is not None, said.stdout
    nll = math.log(float(found[1])) * int(counted[1])
    text_bytes = sum(len(text.encode()) for text in texts)
    words = sum(len(text.split()) for text in texts)
    return {
        "bits_per_byte": nll / math.log(2) / text_bytes,
        "word_perplexity": math.exp(nll / words),
        "perplexity": float(found[1]),
        "tokens": min(written, tokens),
    }


def trained_tokens(name: str) -> int:
    """Return how many tokens a direction of the language model was trained on, in all stages."""
    from ulmfit.models.folder import read_config, resolve

    runs = read_config(resolve(name)).run.values()
    return sum(int(run["results"]["forward"]["tokens"]) for run in runs)


def _encoded(tokenizer: Any, texts: Iterable[str]) -> Iterator[Any]:
    remaining = iter(texts)
    while batch := list(islice(remaining, BATCH)):
        yield from tokenizer.encode_batch(batch)


def _line(ids: Any) -> str:
    return " ".join(map(str, ids)) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--model", default="wikipedia-en-small", help="folder or shipped name")
    options.add_argument("--kenlm", type=Path, help="folder of lmplz and query")
    parsed: Namespace = parse(options, arguments)
    folder = parsed.data / "wikipedia-en"
    texts = read_texts(folder / "test.parquet")
    joined = "\n".join(texts).encode()
    results: dict[str, Any] = {"xz -9": xz(joined)}
    if parsed.kenlm is not None:
        files = sorted(folder.glob("train-*.parquet"))
        tokens = trained_tokens(parsed.model)
        results["kneser-ney"] = kneser_ney(parsed.kenlm, parsed.model, files, tokens, texts)
    results |= language_model(parsed.model, folder / "test.parquet")
    for name, measured in results.items():
        print(f"{name:<12}{measured['bits_per_byte']:.4f} bits per byte")
    write_result("compression", {"documents": len(texts), "bytes": len(joined), "of": results})


if __name__ == "__main__":
    main()
