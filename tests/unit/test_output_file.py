from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ulmfit.errors import ConfigError, DataError
from ulmfit.stages.output_file import check_not_read, whole_file


def test_the_file_is_there_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with whole_file(path) as file:
        file.write("é\n")
        assert not path.exists()
    assert path.read_bytes() == "é\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    target, link, pipe = (tmp_path / name for name in ("target.csv", "link.csv", "pipe"))
    target.write_text("old")
    link.symlink_to(target.name)
    with whole_file(link) as file:
        file.write("new")
    assert link.is_symlink() and target.read_text() == "new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(pipe) as file:
        file.write("through")
    assert os.read(reader, 99) == b"through" and pipe.is_fifo()
    os.close(reader)


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("in.json")
    check_not_read(tmp_path / "out.json", str(tmp_path / "in.json"), None, "-", "hf://datasets/a/b")
    for name in ("in.json", "link.json"):
        with pytest.raises(ConfigError, match=r"'output': .* would be written over .*in\.json"):
            check_not_read(tmp_path / name, None, str(tmp_path / "in.json"))


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
