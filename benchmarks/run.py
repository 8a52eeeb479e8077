"""The quick benchmarks, one after the other, and a page of every result on file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, check_data, parser
from page import write_page
from rich.console import Console
from rich.table import Table

QUICK = (
    ("trec.py", "--baseline", "tf-idf"),
    ("trec.py", "--labels", "500", "--baseline", "tf-idf"),
    ("imdb.py", "--baseline", "tf-idf"),
    ("independence.py", "--texts", "100", "--long", "50000", "--name", "independence-quick"),
)


def result_table() -> Table:
    """Return a table of what is in `results/`."""
    table = Table("result", "what", "value", "commit", "date", title="benchmarks/results")
    for path in sorted(RESULTS.glob("*.json")):
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for what, value in _rows(result):
            commit = result["commit"]
            shown = commit[:9] + "+" * ("+" in commit)
            table.add_row(path.stem, what, value, shown, result["date"][:10])
    return table


def _rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for model, measured in result.get("summary", {}).get("models", {}).items():
        error = measured["error"]
        draws = len(result["draws"])
        value = f"{error['mean']:.2f} ± {error['deviation']:.2f} ({draws} draws)"
        rows.append((f"{model}: error, %", value))
    if "independence" in result:
        largest = max(result["independence"]["largest_difference"].values())
        rows.append(("largest difference of a probability", f"{largest:.1e}"))
    if "memory" in result:
        rows.append(("memory, long text less short one", f"{result['memory']['growth_mb']:.0f} MB"))
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--page", action="store_true", help="run nothing, print the page")
    parsed = options.parse_args(arguments)
    if not parsed.page:
        check_data(options, parsed.data)
    for script, *rest in () if parsed.page else QUICK:
        path = Path(__file__).with_name(script)
        subprocess.run([sys.executable, str(path), "--data", str(parsed.data), *rest], check=True)
    Console().print(result_table())
    print(f"drawn in {write_page().relative_to(ROOT)}")


if __name__ == "__main__":
    main()
