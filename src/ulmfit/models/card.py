"""The model card: what a folder holds, written for people."""

from __future__ import annotations

import json
from typing import Any

from ulmfit.config.artefact import ArtefactConfig, Task

SHOWN_LABELS = 20

USE = {
    "language_model": (
        "from ulmfit import LanguageModel\n\n"
        'model = LanguageModel.from_pretrained("FOLDER")\nprint(model.generate("In 1999"))'
    ),
    "text_classifier": (
        "from ulmfit import TextClassifier\n\n"
        'model = TextClassifier.from_pretrained("FOLDER")\nprint(model.predict(["A text"]))'
    ),
    "onnx_classifier": (
        "from ulmfit import OnnxClassifier\n\n"
        'model = OnnxClassifier.from_pretrained("FOLDER")\nprint(model.predict(["A text"]))'
    ),
    "tokenizer": "ulmfit pretrain --tokenizer-folder FOLDER --texts TEXT --output MODEL",
}


def card(config: ArtefactConfig) -> str:
    """Return the card of a folder with the configuration `config`, in Markdown."""
    kind = config.kind.replace("_", " ")
    lines = [f"# ULMFiT {kind}", "", *_facts(config), "", "## Use", ""]
    language = "sh" if config.kind == "tokenizer" else "python"
    lines += [f"```{language}", USE[config.kind], "```", ""]
    for stage, run in config.run.items():
        lines += [f"## {stage.replace('_', ' ').capitalize()}", ""]
        lines += _results(run.get("results", {}))
        lines += ["Data:", "", *(f"- {line}" for line in run.get("data", ["not recorded"])), ""]
        lines += [f"Machine: {run['machine']}", ""] if "machine" in run else []
        settings = json.dumps(run.get("settings", {}), indent=2, ensure_ascii=False)
        lines += ["Settings:", "", "```json", settings, "```", ""]
    return "\n".join(lines)


def describe_task(task: Task) -> str:
    """Return a line on what a classifier answers."""
    if task.range is not None:
        return f"numbers from {task.range[0]:g} to {task.range[1]:g}"
    more = len(task.labels) - SHOWN_LABELS
    shown = ", ".join(task.labels[:SHOWN_LABELS]) + (f" and {more} more" if more > 0 else "")
    each = "one a document" if task.kind == "single_label" else "any number of them a document"
    return f"{len(task.labels):,} labels, {each}: {shown}"


def stored_as(config: ArtefactConfig) -> str:
    """Return how matrices are stored, those of LSTMs that compute in 8 bits too."""
    settings = config.run.get("onnx", {}).get("settings", {})
    lstms = config.kind == "onnx_classifier" and settings.get("precision") == "int8"
    return f"{config.storage}, those of the LSTMs as int8" if lstms else config.storage


def _facts(config: ArtefactConfig) -> list[str]:
    facts = [f"- format version: {config.format_version}"]
    tokenizer = config.tokenizer
    facts.append(f"- tokenizer: {tokenizer.kind}, rules {tokenizer.rules}")
    if config.encoder is not None:
        e = config.encoder
        facts.append(
            f"- AWD-LSTM: {e.vocab_size:,} ids, embedding {e.embedding_size}, "
            f"hidden {e.hidden_size}, {e.layers} layers; matrices stored as {stored_as(config)}"
        )
    if config.members:
        directions = ", ".join(member.direction for member in config.members)
        facts.append(f"- members: {directions}")
    if config.task is not None:
        facts.append(f"- {describe_task(config.task)}")
    return facts


def _results(results: dict[str, Any]) -> list[str]:
    """Return a table of the results that are single numbers, one column a part."""
    parts = {name: values for name, values in results.items() if isinstance(values, dict)}
    names = list(dict.fromkeys(n for v in parts.values() for n, x in v.items() if is_number(x)))
    if not names:
        return []
    header = ["", *parts]
    rows = [[name, *(_shown(values.get(name)) for values in parts.values())] for name in names]
    lines = [header, ["---"] * len(header), *rows]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]


def is_number(value: Any) -> bool:
    """Tell whether a value is a single number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if is_number(value) else ""
