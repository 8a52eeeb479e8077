"""The command that tells why: one document, explained in the terminal or in a file."""

from __future__ import annotations

import json

from rich.console import Console

from ulmfit.config.questions import ExplainConfig
from ulmfit.data.sources import read_documents
from ulmfit.errors import ConfigError, DataError
from ulmfit.explain.explanation import Explanation
from ulmfit.explain.explanation import explain as explanation_of
from ulmfit.explain.page import html_page, terminal_lines
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.stages.output_file import check_not_read, named_output, whole_file
from ulmfit.stages.warning import warn_of, warn_of_columns
from ulmfit.text.printable import printable
from ulmfit.text.types import Text, columns_of, text_of_columns
from ulmfit.text.unicode import UnicodeCheck
from ulmfit.training.device import resolve_device


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command end as others do whose reader has gone; rich would end the process."""
        raise


def explain(config: ExplainConfig, *, quiet: bool = False) -> str | None:
    """Explain a document; show it, or write it to `config.output` and return that.

    Raises `UlmfitError` for a wrong setting, a row that is not there, or a damaged model.
    """
    output = None if config.output is None else named_output(config.output, ".html", ".json")
    check_not_read(output, config.data)
    unicode = UnicodeCheck(config.reading.strict)
    text = _text(config, unicode)
    warn_of(unicode, quiet)
    classifier = TextClassifier.from_pretrained(config.model, device=resolve_device(config.device))
    warn_of_columns(classifier, len(columns_of(text)), quiet)
    found = explanation_of(classifier, text, method=config.method, labels=config.labels or None)
    if output is None:
        console = _Console(highlight=False, emoji=False)
        for line in terminal_lines(found):
            line.plain = printable(line.plain)
            console.print(line, soft_wrap=True)
        return None
    with whole_file(output) as file:
        file.write(_written(found, output.suffix))
    return str(output)


def _text(config: ExplainConfig, unicode: UnicodeCheck) -> Text:
    """Return the document asked for."""
    if bool(config.text) == (config.data is not None):
        raise ConfigError("settings 'text' and 'data': give one of them")
    if config.text:
        return text_of_columns(unicode.clean(column, "--text") for column in config.text)
    last = 0
    documents = read_documents(config.data, config.reading, labelled=False, unicode=unicode)
    for number, document in enumerate(documents, start=1):
        row = document.row
        last = row if isinstance(row, int) else number  # a folder has no rows
        if last == config.row:
            return document.text
    raise DataError(f"{config.data}: no document in row {config.row}; the last is {last}")


def _written(explanation: Explanation, suffix: str) -> str:
    if suffix == ".html":
        return html_page(explanation)
    return json.dumps(explanation.to_dict(), ensure_ascii=False, indent=1) + "\n"
