from __future__ import annotations

from pathlib import Path

import pytest
from tests.fake_hub import COMMIT, ServeHub, run_with_hub

from ulmfit.config.data import ReadingConfig
from ulmfit.data.hub import hub_files
from ulmfit.data.sources import read_documents
from ulmfit.errors import DataError

FILES = {
    "raw/train-0.txt": b" = One = \nfirst line\n = Two = \n",
    "raw/train-1.txt": b" = Three = \nlast line\n",
    "raw/test.txt": b"x\n",
    "evil.py": b"raise SystemExit",
}
PRINT = """
import sys
from ulmfit.config.data import ReadingConfig
from ulmfit.data.hub import as_found
from ulmfit.data.sources import read_many
from ulmfit.errors import DataError
try:
    for document in read_many(sys.argv[1:], ReadingConfig(document_start=" = "), labelled=False):
        print(repr(document.text))
    print(as_found(sys.argv[1]))
except DataError as error:
    print("refused", error)
"""


def read(name: str, serve_hub: ServeHub, home: Path) -> tuple[list[str], list[str]]:
    """Return what a process that reads the documents prints, and what it asked the hub for."""
    endpoint, asked = serve_hub({"datasets/me/texts": FILES})
    done = run_with_hub(endpoint, home, "-c", PRINT, name)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), asked


@pytest.mark.parametrize("revision", ["", "@v1", f"@{COMMIT}"])
def test_documents_of_a_pattern_at_a_revision(
    revision: str, serve_hub: ServeHub, tmp_path: Path
) -> None:
    name = f"hf://datasets/me/texts{revision}/raw/train-*.txt"
    printed, asked = read(name, serve_hub, tmp_path)
    documents = [" = One = \nfirst line", " = Two = ", " = Three = \nlast line"]
    assert printed == [
        *map(repr, documents),
        f"hf://datasets/me/texts@{COMMIT}/raw/train-*.txt",
    ]
    assert not any("evil" in line or "test.txt" in line for line in asked)


def test_a_pattern_over_folders_is_recorded_with_its_commit(
    serve_hub: ServeHub, tmp_path: Path
) -> None:
    printed, _ = read("hf://datasets/me/texts/**/train-*.txt", serve_hub, tmp_path)
    assert printed[-1] == f"hf://datasets/me/texts@{COMMIT}/**/train-*.txt"


def test_a_pattern_is_matched_as_it_was_downloaded(serve_hub: ServeHub, tmp_path: Path) -> None:
    """A star stands for folders too, in the hub's own library."""
    printed, _ = read("hf://datasets/me/texts@refs%2Fv1/t*.txt", serve_hub, tmp_path)
    assert "not to be had from the hub" in printed[0]  # of such a branch
    printed, _ = read("hf://datasets/me/texts/*-1.txt", serve_hub, tmp_path)
    assert printed[0] == repr(" = Three = \nlast line")


def test_a_file_that_was_altered_is_refused(serve_hub: ServeHub, tmp_path: Path) -> None:
    name = "hf://datasets/me/texts/raw/test.txt"
    assert read(name, serve_hub, tmp_path)[0][0] == repr("x")
    (blob,) = (tmp_path / "hub" / "datasets--me--texts" / "blobs").iterdir()
    blob.write_bytes(b"y\n")
    (printed,), _ = read(name, serve_hub, tmp_path)
    assert printed.startswith(f"refused {name}: test.txt does not match its SHA-256; remove ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf://datasets/me/none/x.txt", "not to be had from the hub"),
        ("hf://datasets/me/texts@v2/raw/test.txt", "not to be had from the hub"),
        ("hf://datasets/me/texts/raw/*.csv", "has no file of this name or pattern"),
    ],
)
def test_what_the_hub_does_not_have_is_named(
    name: str, message: str, serve_hub: ServeHub, tmp_path: Path
) -> None:
    (printed,), _ = read(name, serve_hub, tmp_path)
    assert printed.startswith(f"refused {name}: ") and message in printed


@pytest.mark.parametrize(
    "name",
    [
        "hf://me/model",
        "hf://datasets/me/texts",
        "hf://datasets/x",
        "hf://datasets/me/texts//x.txt",
        "hf://datasets/me/texts/raw/",
    ],
)
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="write hf://datasets/OWNER/NAME/PATH"):
        hub_files(name)
    with pytest.raises(DataError, match="write hf://datasets/OWNER/NAME/PATH"):
        list(read_documents(name, ReadingConfig(), labelled=True))
