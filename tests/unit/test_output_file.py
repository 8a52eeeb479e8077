from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ulmfit.errors import DataError
from ulmfit.stages.output_file import whole_file


def test_the_file_is_there_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with whole_file(path) as file:
        file.write("é\n")
        assert not path.exists()
    assert path.read_bytes() == "é\n".encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError) as caught, whole_file(path) as file:
        file.write("new")
    assert str(caught.value) == (
        f"{path}: cannot be written: {os.strerror(number)}; make room, or choose another --output"
    )
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_writer_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"in\.csv"), whole_file(tmp_path / "out.csv"):
        (tmp_path / "in.csv").read_bytes()
    assert list(tmp_path.iterdir()) == []
