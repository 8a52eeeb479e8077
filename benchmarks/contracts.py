"""What is promised of every run and is a test, not a figure: which tests hold it, and how they end.

The slow ones, which kill runs of all three stages at random steps, are among them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

from common import ROOT, parser, write_result

CONTRACTS = {
    "after kill -9 at random steps of each stage, the weights of a run that nothing stopped": (
        "tests/recipes/test_resume.py::test_kill_9_at_random_steps",
        "tests/recipes/test_resume.py::test_kill_9_of_the_command",
        "tests/recipes/test_finetune.py::test_kill_9_at_random_steps",
        "tests/recipes/test_train.py::test_kill_9",
        "tests/recipes/test_train.py::test_kill_9_at_random_steps",
    ),
    "outputs and gradients of the encoder, all dropouts on, within 1e-10 of a plain loop": (
        "tests/unit/test_awd_lstm.py::test_equals_a_plain_loop_with_the_same_masks",
    ),
    "no pickle is read on the whole path": (
        "tests/recipes/test_contracts.py::test_the_whole_path_reads_no_pickle",
    ),
    "a folder with a file missing, truncated or altered is refused by its name": (
        "tests/unit/test_folder.py::test_a_missing_file_is_named",
        "tests/unit/test_folder.py::test_a_truncated_file_is_named",
        "tests/unit/test_folder.py::test_a_file_altered_by_a_bit_is_named",
        "tests/unit/test_folder.py::test_no_byte_of_the_configuration_is_free",
        "tests/recipes/test_command_line.py::test_a_damaged_folder_is_refused_by_its_file",
    ),
    "text of any kind goes through every command, valid Unicode without loss": (
        "tests/recipes/test_any_text.py::test_any_text_goes_through_every_command",
        "tests/unit/test_tokenizer.py",
    ),
}


def run(tests: tuple[str, ...]) -> dict[str, Any]:
    """Run `tests`, slow ones too; return how many passed, failed and were skipped."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        began = time.perf_counter()
        line = [sys.executable, "-m", "pytest", "-q", "-m", "", "--junitxml", str(report), *tests]
        subprocess.run(line, cwd=ROOT, check=False, stdout=sys.stderr)
        seconds = time.perf_counter() - began
        suite = ElementTree.parse(report).getroot()[0]
    counted = {name: int(suite.attrib[name]) for name in ("failures", "errors", "skipped")}
    passed = int(suite.attrib["tests"]) - sum(counted.values())
    return {"tests": tests, "passed": passed, **counted, "seconds": round(seconds, 1)}


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser(__doc__).parse_args(arguments)
    found = {contract: run(tests) for contract, tests in CONTRACTS.items()}
    write_result("contracts", {"contracts": found})
    if any(one["failures"] + one["errors"] for one in found.values()):
        raise SystemExit("a contract is broken")
    if unknown := [contract for contract, one in found.items() if not one["passed"]]:
        raise SystemExit(f"no test ran of: {'; '.join(unknown)}")


if __name__ == "__main__":
    main()
