from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ulmfit.config.data import ReadingConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.data.token_store import TokenStore, fingerprint_files, fingerprint_texts, open_or_build
from ulmfit.errors import DataError
from ulmfit.text.tokenizer import SPECIAL_TOKENS, Tokenizer
from ulmfit.text.types import Text
from ulmfit.text.unicode import UnicodeCheck

Ids = npt.NDArray[np.int64]

BEGIN_ID = 2
FIELD_ID = 3
TEXTS: list[Text] = [
    *(f"document {i} " + "é" * (i % 7) for i in range(25)),
    "",
    ("one", "two  words"),
    "end",
]


class ByteTokenizer(Tokenizer):
    """Ids are bytes + 4."""

    fingerprint = "a tokenizer"
    vocab_size = 300

    def __init__(self, log: Path | None = None, pause: float = 0.0) -> None:
        self.encoded = 0
        self.log = log
        self.pause = pause

    def encode(self, text: Text) -> Ids:
        if isinstance(text, str):
            return np.array([BEGIN_ID, *(b + 4 for b in text.encode())], np.int64)
        fields = [i for column in text for i in (FIELD_ID, *(b + 4 for b in column.encode()))]
        return np.array([BEGIN_ID, *fields], np.int64)

    def encode_batch(self, texts: Sequence[Text]) -> list[Ids]:
        self.encoded += len(texts)
        time.sleep(self.pause)
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{os.getpid()}\n")
        return [self.encode(text) for text in texts]


def build(
    cache: Path,
    texts: Sequence[Text] = TEXTS,
    tokenizer: Tokenizer | None = None,
    fingerprint: str = "a text",
    block: int = 4,
) -> TokenStore:
    return open_or_build(
        lambda: iter(texts), fingerprint, tokenizer or ByteTokenizer(), cache, batch_documents=block
    )


def assert_holds(store: TokenStore, texts: Sequence[Text]) -> None:
    tokenizer = ByteTokenizer()
    assert len(store) == len(texts) == len(store.lengths)
    for i, text in enumerate(texts):
        np.testing.assert_array_equal(store.document(i), tokenizer.encode(text))
        assert store.document(i).dtype == np.int64
        assert store.lengths[i] == len(store.document(i))
    assert store.lengths.sum() == len(store.tokens)


def only_folder(cache: Path) -> Path:
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    return folder


def test_store_holds_every_document(tmp_path: Path) -> None:
    store = build(tmp_path)
    assert_holds(store, TEXTS)
    columns = [c for text in TEXTS for c in ([text] if isinstance(text, str) else text)]
    assert store.text_bytes == sum(len(c.encode()) for c in columns)
    assert store.sizes[:, 1].sum() == sum(len(c.split()) for c in columns)
    assert store.sizes[-2].tolist() == [13, 3]
    assert not store.tokens.flags.writeable


def test_files_are_as_documented(tmp_path: Path) -> None:
    store = build(tmp_path)
    folder = only_folder(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    names = ("tokens.bin", "starts.bin", "sizes.bin")
    digests = [hashlib.sha256((folder / name).read_bytes()).digest() for name in names]
    tokens = (folder / "tokens.bin").read_bytes()
    assert manifest == {
        "format_version": 1,
        "key": folder.name,
        "dtype": "<u2",
        "documents": len(TEXTS),
        "tokens": len(store.tokens),
        "text_bytes": store.text_bytes,
        "words": int(store.sizes[:, 1].sum()),
        "sha256": hashlib.sha256(b"".join(digests)).hexdigest(),
        "unicode": [0, None],
    }
    np.testing.assert_array_equal(np.frombuffer(tokens, "<u2"), store.tokens)
    starts = np.fromfile(folder / "starts.bin", "<u8")
    assert starts[0] == 0 and starts[-1] == len(store.tokens) and len(starts) == len(TEXTS) + 1
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json",
        "sizes.bin",
        "starts.bin",
        "tokens.bin",
    ]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "<u2"), (65_537, "<u4")])
def test_width_follows_the_vocabulary(tmp_path: Path, vocab_size: int, dtype: str) -> None:
    tokenizer = type("Sized", (ByteTokenizer,), {"vocab_size": vocab_size})()
    store = build(tmp_path, tokenizer=tokenizer)
    assert store.tokens.dtype == np.dtype(dtype)
    assert_holds(store, TEXTS)


def test_store_is_reused_until_text_or_tokenizer_change(tmp_path: Path) -> None:
    build(tmp_path)
    again = ByteTokenizer()
    assert_holds(build(tmp_path, tokenizer=again), TEXTS)
    assert again.encoded == 0
    other = type("Other", (ByteTokenizer,), {"fingerprint": "another tokenizer"})()
    build(tmp_path, tokenizer=other)
    assert other.encoded == len(TEXTS)
    assert_holds(build(tmp_path, ["new"], fingerprint="another text"), ["new"])


@pytest.mark.parametrize("name", ["tokens.bin", "starts.bin", "sizes.bin", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "delete", "extend"])
def test_damaged_store_is_rebuilt(tmp_path: Path, name: str, damage: str) -> None:
    build(tmp_path)
    path = only_folder(tmp_path) / name
    if damage == "delete":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-3] if damage == "truncate" else data + b"123")
    tokenizer = ByteTokenizer()
    assert_holds(build(tmp_path, tokenizer=tokenizer), TEXTS)
    assert tokenizer.encoded == len(TEXTS)


def start(function: Callable[..., None], *arguments: object) -> subprocess.Popen[bytes]:
    """Call a function of this file in another process."""
    call = "import runpy, sys; runpy.run_path(sys.argv[1])[sys.argv[2]](*sys.argv[3:])"
    command = [sys.executable, "-c", call, __file__, function.__name__, *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def build_and_die(cache: str, at: str) -> None:
    """Build, and be killed at the `at`-th time that a file should become safe."""
    calls = 0
    fsync = os.fsync

    def dying_fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == int(at):
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", dying_fsync)
        build(Path(cache))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
@pytest.mark.parametrize("at", [6, 15])
def test_killed_build_goes_on(tmp_path: Path, at: int) -> None:
    process = start(build_and_die, tmp_path, at)
    assert process.wait() == -signal.SIGKILL
    tokenizer = ByteTokenizer()
    assert_holds(build(tmp_path, tokenizer=tokenizer), TEXTS)
    assert 0 < tokenizer.encoded < len(TEXTS)


class Killed(BaseException):
    pass


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Stop at the `at`-th fsync or replace, in the middle of the work on a file."""
    calls = 0
    real: dict[str, Callable[..., None]] = {"fsync": os.fsync, "replace": os.replace}

    def counted(name: str) -> Callable[..., None]:
        def call(*args: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise Killed
            real[name](*args)

        return call

    for name in real:
        monkeypatch.setattr(os, name, counted(name))


def test_build_interrupted_at_any_point_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, finished = 0, False
    while not finished:
        at += 1
        cache = tmp_path / str(at)
        with monkeypatch.context() as patch:
            interrupt(patch, at)
            try:
                build(cache, block=10)
                finished = True
            except Killed:
                pass
        tokenizer = ByteTokenizer()
        assert_holds(build(cache, tokenizer=tokenizer), TEXTS)
        safe = max(0, (at - 3) // 5) * 10  # 5 calls a block behind the 2 of the first record
        assert tokenizer.encoded <= len(TEXTS) - min(safe, len(TEXTS))
    assert at > 15


def test_interrupted_build_of_a_changed_text_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = ["changed", *TEXTS[1:]]
    shorter = TEXTS[:2]
    for texts in (changed, shorter):
        cache = tmp_path / str(len(texts))
        with monkeypatch.context() as patch:
            interrupt(patch, 14)
            with pytest.raises(Killed):
                build(cache)
        tokenizer = ByteTokenizer()
        assert_holds(build(cache, texts, tokenizer), texts)
        assert tokenizer.encoded == len(texts)


def test_interrupted_build_whose_files_were_cut_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, 14)
        with pytest.raises(Killed):
            build(tmp_path)
    (only_folder(tmp_path) / "tokens.bin").write_bytes(b"1")
    assert_holds(build(tmp_path), TEXTS)


def test_error_in_the_stream_is_not_blamed_on_the_cache(tmp_path: Path) -> None:
    def broken() -> Iterator[str]:
        yield "one"
        raise FileNotFoundError("the source is gone")

    with pytest.raises(FileNotFoundError, match="the source is gone"):
        open_or_build(broken, "f", ByteTokenizer(), tmp_path)


def build_slowly(cache: str, log: str) -> None:
    tokenizer = ByteTokenizer(log=Path(log), pause=0.05)
    assert_holds(build(Path(cache), tokenizer=tokenizer), TEXTS)


def test_two_processes_build_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [start(build_slowly, tmp_path / "cache", log) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    builders = log.read_text().split()
    assert len(set(builders)) == 1 and len(builders) == len(TEXTS) // 4


def test_full_disk_names_folder_and_remedy_and_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        calls = 0

        def full(descriptor: int) -> None:
            nonlocal calls
            calls += 1
            if calls > 12:
                raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(os, "fsync", full)
        with pytest.raises(
            DataError, match=r"\.building: cannot write.*No space left.*room.*setting 'cache'"
        ) as caught:
            build(tmp_path)
        assert isinstance(caught.value.__cause__, OSError)  # a run folder goes by it
    tokenizer = ByteTokenizer()
    assert_holds(build(tmp_path, tokenizer=tokenizer), TEXTS)
    assert tokenizer.encoded < len(TEXTS)


def test_cache_that_cannot_be_made_names_folder_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"file/cache: cannot write.*setting 'cache'"):
        build(tmp_path / "file" / "cache")


def test_no_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no documents; give at least one"):
        build(tmp_path, [])
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []


def test_building_takes_constant_memory(tmp_path: Path) -> None:
    def peak(documents: int) -> int:
        def texts() -> Iterator[str]:
            return ("word " * 400 for _ in range(documents))

        tracemalloc.start()
        open_or_build(texts, str(documents), Constant(), tmp_path, batch_documents=20)
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return top

    class Constant(ByteTokenizer):
        def encode_batch(self, texts: Sequence[Text]) -> list[Ids]:
            return [np.arange(400) for _ in texts]

    peak(20)
    assert peak(1_000) < peak(100) + 200_000  # the text has 2 MB, its ids 0.8 MB


def test_fingerprint_of_texts_tells_order_and_columns_apart() -> None:
    texts: list[list[Text]] = [
        ["ab", "c"],
        ["a", "bc"],
        ["c", "ab"],
        [("ab", "c")],
        [("a", "bc")],
        ["abc"],
        [],
    ]
    assert len({fingerprint_texts(t) for t in texts}) == len(texts)
    assert fingerprint_texts(iter(["ab", "c"])) == fingerprint_texts(["ab", "c"])
    assert fingerprint_texts(["\ud800"]) != fingerprint_texts(["\ud801"])


def test_fingerprint_of_files_follows_content_and_reading(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("text\na\n")
    two.write_text("text\nb\n")
    reading = ReadingConfig()
    first = fingerprint_files([one], reading)
    assert first == fingerprint_files([str(one)], ReadingConfig())
    others = [
        fingerprint_files([two], reading),
        fingerprint_files([one, two], reading),
        fingerprint_files([two, one], reading),
        fingerprint_files([one], ReadingConfig(text_columns=("title",))),
        fingerprint_files([one.rename(tmp_path / "one.txt")], reading),
    ]
    assert len({first, *others}) == 6


def test_fingerprints_outlive_new_settings(tmp_path: Path) -> None:
    """As the first version made it: stores in users' caches go by it."""
    path = tmp_path / "x.txt"
    path.write_bytes(b"hello\nworld\n")
    expected = "c1dab57e75692cfb1fd51049ad5bc15e29b8b22e93fb5cb6ccf8b99ed8c22a51"
    assert fingerprint_files([path], ReadingConfig(strict=True)) == expected


def test_fingerprint_of_a_folder_follows_its_files(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "1.txt").write_text("fine")
    before = fingerprint_files([tmp_path], ReadingConfig())
    assert before == fingerprint_files([tmp_path], ReadingConfig())
    (tmp_path / "good").rename(tmp_path / "bad")
    assert before != fingerprint_files([tmp_path], ReadingConfig())


def test_fingerprint_of_a_folder_follows_links(tmp_path: Path) -> None:
    found = []
    for text in ("apple", "zebra"):
        (tmp_path / text / "own").mkdir(parents=True)
        (tmp_path / text / "own" / "1.txt").write_text(text)
        (tmp_path / text / "given").mkdir()
        (tmp_path / text / "given" / "class").symlink_to(tmp_path / text / "own")
        found.append(fingerprint_files([tmp_path / text / "given"], ReadingConfig()))
    assert found[0] != found[1]


def test_fingerprint_of_an_absent_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: cannot read the file.*check its path"):
        fingerprint_files([tmp_path / "absent.csv"], ReadingConfig())


@pytest.mark.parametrize("name", ["tokens.bin", "starts.bin", "sizes.bin"])
def test_files_that_were_altered_are_made_anew(tmp_path: Path, name: str) -> None:
    build(tmp_path)
    path = only_folder(tmp_path) / name
    altered = bytearray(path.read_bytes())
    altered[10] ^= 1
    path.write_bytes(altered)
    tokenizer = ByteTokenizer()
    assert_holds(build(tmp_path, tokenizer=tokenizer), TEXTS)
    assert tokenizer.encoded == len(TEXTS)


def test_other_rules_over_the_same_words_are_another_store(tmp_path: Path) -> None:
    words = [*SPECIAL_TOKENS, "xxmaj", "The", "the"]
    found = []
    for rules in ("fastai-2", "none", "fastai-2018"):
        config = TokenizerConfig(kind="word", rules=rules)
        tokenizer = Tokenizer.from_words(words, config)
        found.append(build(tmp_path, ["The"], tokenizer).tokens.tolist())
    assert len({*map(str, found)}) > 1
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 3


def test_what_was_no_unicode_is_told_again_where_nothing_is_read(tmp_path: Path) -> None:
    def read(unicode: UnicodeCheck) -> None:
        def texts() -> Iterator[Text]:
            for row, text in enumerate(["fine", "\ud800", "\udfff"], start=1):
                yield unicode.clean(text, f"a.csv, row {row}")

        open_or_build(texts, "f", ByteTokenizer(), tmp_path, unicode=unicode)

    first, again = UnicodeCheck(), UnicodeCheck()
    read(first)
    read(again)
    assert first.report() == again.report()
    assert (
        again.report()
        == "2 documents not valid Unicode, replaced by U+FFFD; the first: a.csv, row 2"
    )
