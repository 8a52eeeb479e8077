"""Make the example data of `sms-spam/` from the SMS Spam Collection: the same files each time."""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[2] / "shared" / "data" / "sms-spam" / "messages.csv"
SEED = 0
TEST, LABELLED = 1_000, 100

Row = dict[str, str]


def draw(rows: Sequence[Row], count: int, generator: random.Random) -> tuple[list[Row], list[Row]]:
    """Draw `count` rows, each label's share the same as in `rows`; return them and the rest."""
    order = list(range(len(rows)))
    generator.shuffle(order)
    # Sorted by label, evenly spaced rows hold each label in proportion.
    order.sort(key=lambda i: rows[i]["label"])
    chosen = [order[(2 * k + 1) * len(rows) // (2 * count)] for k in range(count)]
    generator.shuffle(chosen)
    taken = set(chosen)
    return [rows[i] for i in chosen], [row for i, row in enumerate(rows) if i not in taken]


def same(text: str) -> str:
    """Return what two messages that count as duplicates have in common."""
    return " ".join(text.split()).casefold()


def write(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write the columns of the rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def prepare(source: Path, folder: Path) -> None:
    """Write `labelled.csv`, `unlabelled.csv` and `test.csv`."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    generator = random.Random(SEED)
    test, rest = draw(rows, TEST, generator)
    tested = {same(row["text"]) for row in test}
    train = [row for row in rest if same(row["text"]) not in tested]
    labelled, unlabelled = draw(train, LABELLED, generator)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "labelled.csv", ("text", "label"), labelled)
    write(folder / "unlabelled.csv", ("text",), unlabelled)
    write(folder / "test.csv", ("text", "label"), test)
    print(f"{len(labelled)} labelled, {len(unlabelled)} unlabelled, {len(test)} test messages")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--source", type=Path, default=SOURCE, help="messages.csv: text, label")
    options.add_argument("--output", type=Path, default=HERE / "sms-spam")
    parsed = options.parse_args()
    prepare(parsed.source, parsed.output)
