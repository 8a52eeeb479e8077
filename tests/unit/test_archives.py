from __future__ import annotations

import errno
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ulmfit.errors import ArtefactError
from ulmfit.interop import archives
from ulmfit.interop.archives import is_archive, unpack

Change = Callable[[tarfile.TarInfo], object]


def archive(path: Path, files: dict[str, bytes], change: Change = lambda _: None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            change(member)
            tar.addfile(member, io.BytesIO(content) if member.isfile() else None)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "unpacked").mkdir()
    return tmp_path / "unpacked"


@pytest.mark.parametrize("name", ["wt103-fwd.tgz", "wt103.tar.gz", "wt103.tar"])
def test_names_of_archives(name: str) -> None:
    assert is_archive(Path(name)) and not is_archive(Path(name + ".pth"))


def test_files_are_unpacked_without_their_folders(tmp_path: Path, folder: Path) -> None:
    files = {"wt103/lstm_fwd.pth": b"weights", "wt103/itos.pkl": b"words"}
    paths = unpack(archive(tmp_path / "a.tgz", files), folder)
    assert {path.name: path.read_bytes() for path in paths} == {
        "lstm_fwd.pth": b"weights",
        "itos.pkl": b"words",
    }
    assert {path.parent for path in paths} == {folder}


def test_a_file_of_less_than_nothing_is_refused(tmp_path: Path, folder: Path) -> None:
    """It would be unpacked again and again."""
    header = bytearray(tarfile.TarInfo("a.pth").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(ArtefactError, match=r"a damaged archive \('a.pth' of -512 bytes\)"):
        unpack(path, folder)
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_no_damage(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archives, "_unpacked", full)
    path = archive(tmp_path / "a.tgz", {"a.pth": b"x"})
    with pytest.raises(ArtefactError, match=f"no room in {folder} to unpack it: .*make room"):
        unpack(path, folder)


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.pth", "a/../../up.pth", "a\\..\\up.pth"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, folder: Path, name: str) -> None:
    path = archive(tmp_path / "a.tgz", {name: b"x"})
    with pytest.raises(ArtefactError) as caught:
        unpack(path, folder)
    assert str(caught.value) == f"{path}: '{name}' leads out of the archive; not unpacked"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, folder: Path, kind: bytes) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname, member.size = kind, "/etc/passwd", 0

    path = archive(tmp_path / "a.tgz", {"lstm.pth": b""}, change)
    with pytest.raises(ArtefactError, match=r"'lstm\.pth' is a link or a device; not unpacked"):
        unpack(path, folder)
    assert list(folder.iterdir()) == []


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, folder: Path) -> None:
    path = archive(tmp_path / "a.tgz", {"lstm.pth": bytes(70 * 2**20)})
    assert path.stat().st_size < 2**20
    with pytest.raises(ArtefactError, match="unpacks to far more than its size; not unpacked"):
        unpack(path, folder)
    assert list(folder.iterdir()) == []


def test_two_files_of_one_name_are_refused(tmp_path: Path, folder: Path) -> None:
    path = archive(tmp_path / "a.tgz", {"a/lstm.pth": b"1", "b/lstm.pth": b"2"})
    with pytest.raises(ArtefactError, match=r"holds two files 'lstm\.pth'; give the weights"):
        unpack(path, folder)


def test_a_name_that_no_disk_can_have_is_refused(tmp_path: Path, folder: Path) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.pax_headers = {"path": "a\0b.pth"}

    path = archive(tmp_path / "a.tgz", {"a.pth": b"x"}, change)
    with pytest.raises(ArtefactError, match="leads out of the archive; not unpacked"):
        unpack(path, folder)


def test_hidden_files_are_left_out(tmp_path: Path, folder: Path) -> None:
    path = archive(tmp_path / "a.tgz", {"a/lstm.pth": b"1", "a/._lstm.pth": b"2"})
    assert [file.name for file in unpack(path, folder)] == ["lstm.pth"]


def test_a_name_without_end_is_not_read(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("././@LongLink")
        member.type, member.size = tarfile.GNUTYPE_LONGNAME, 5 * 2**20
        assert tar.fileobj is not None
        tar.fileobj.write(member.tobuf() + bytes(member.size))
    with pytest.raises(ArtefactError, match=r"a damaged archive \(a name of 5,242,880 bytes\)"):
        unpack(path, folder)


def test_a_map_of_holes_without_end_is_not_read(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sparse file, which `tarfile` reads before it tells of the file."""
    monkeypatch.setattr(archives, "SLACK", 2**20)
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}

    def change(member: tarfile.TarInfo) -> None:
        member.pax_headers = {**headers, "GNU.sparse.name": "a.pth"}

    holes = b"2000000\n" + b"0\n0\n" * 2_000_000
    path = archive(tmp_path / "a.tgz", {"a.pth": holes}, change)
    assert path.stat().st_size * archives.LARGEST_GROWTH < len(holes) // 4
    with pytest.raises(ArtefactError, match=r"a damaged archive \(far more in it than its size\)"):
        unpack(path, folder)
    assert list(folder.iterdir()) == []


def test_headers_within_headers_without_end_are_refused(tmp_path: Path, folder: Path) -> None:
    path, content = tmp_path / "a.tar", b"12 path=aaa\n"
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, len(content)
    one = header.tobuf(tarfile.USTAR_FORMAT) + content.ljust(512, b"\0")
    path.write_bytes(one * 2_000 + tarfile.TarInfo("a.pth").tobuf() + bytes(1024))
    with pytest.raises(ArtefactError, match="a damaged archive"):
        unpack(path, folder)


def test_folders_without_end_are_not_unpacked(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_FILES", 2)
    path = archive(tmp_path / "a.tgz", {"a": b"", "b": b"", "c": b""})
    with pytest.raises(ArtefactError, match="unpacks to far more than its size"):
        unpack(path, folder)


@pytest.mark.parametrize("length", [0, 10, 60, -40])
def test_a_truncated_archive_is_told(tmp_path: Path, folder: Path, length: int) -> None:
    path = archive(tmp_path / "a.tgz", {"lstm.pth": bytes(range(256)) * 20})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtefactError, match=r"a\.tgz: a damaged archive \(.*\); get it again"):
        unpack(path, folder)
