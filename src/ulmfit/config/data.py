"""Settings of reading documents and of cutting them into batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ulmfit.config.settings import settings

Name = Annotated[str, Field(min_length=1)]
"""Of a file, a folder or a model. Empty, as a shell writes a variable that is not set, it would be
the current folder."""


@settings
class ReadingConfig:
    """Where text and labels stand in the files given."""

    text_columns: Annotated[tuple[str, ...], Field(min_length=1)] = ("text",)
    """Columns that hold the text; several are joined, each behind its own field mark."""

    label_column: str = "label"
    """Column that holds the label; labels are kept as strings. A list of them (JSON, Parquet)
    stands for a document with several labels, or none."""

    label_columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """In place of `label_column`, for documents with several labels: a column for each label, 1
    where it is there and 0 where it is not."""

    label_separator: Annotated[str, Field(min_length=1)] | None = None
    """In place of lists, for documents with several labels: what stands between them in a cell,
    such as `|`. An empty cell: no label."""

    missing_label: Literal["unlabelled"] | None = None
    """What a row of labelled data is whose label is empty. `unlabelled`: text without a label,
    which training reads as such and measuring leaves out. Without it, an error that names the row.
    Not for `label_columns` and `label_separator`: there an empty cell is a document with no label.
    """

    weight_column: str | None = None
    """Column that holds a labelled document's weight in training, a number of 0 or more; the mean
    of all counts as 1. Without it, all weigh the same."""

    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "text", "folder"] = "auto"
    """`auto`: by the file's name, `.gz` stripped first. `text`: a document a line.
    `folder`: a sub-folder a class, a document a file."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Of CSV: what stands between the cells of a row, such as `;`. Without it, what a first
    line `sep=;` says, or a comma; in TSV, a tab."""

    quotes: Literal["double", "text"] | None = None
    """Of CSV and TSV, what double quotes around a cell are: `double` quotes, in which it may hold
    anything, or `text` like the rest. Without it, the former; but a cell of a TSV that then holds a
    tab and a line break is refused, for it may be rows."""

    encoding: str = "utf-8"
    """Of text files. A byte that does not decode is an error that names its row."""

    document_start: str | None = None
    """Of text cut into rows, such as WikiText: a regular expression that the first row of a
    document matches from its beginning; the rows that follow are joined to it, a line each. For
    files of one text column, without labels. Without it, every row is a document."""

    strict: bool = False
    """Refuse text that is not valid Unicode (lone surrogates) instead of replacing it by U+FFFD."""


@settings
class ValidationConfig:
    """Which labelled documents are held out of training."""

    fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share held out, the same of each label. Paper, section 5: 0.1."""

    path: Name | None = None
    """A file of validation documents; none are then held out of the training file."""

    column: str | None = None
    """Column whose true values (1, true, yes, valid, validation) mark the validation rows."""


@settings
class LanesConfig:
    """Language modelling: contiguous lanes, the state carried over (Merity et al. 2017)."""

    bptt: Annotated[int, Field(ge=2)] = 70
    """Tokens between two cuts of the gradient. Paper: 70."""

    variable_bptt: bool = True
    """Draw each window's length: 95 % N(bptt, 5), 5 % N(bptt/2, 5), and scale the rate by the
    length drawn over `bptt` (Merity et al. 2017, section 4.1)."""
