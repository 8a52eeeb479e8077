"""Token files: a stream of texts, encoded once, memory-mapped from then on.

A finished store is a folder `CACHE/KEY/` whose key stands for the text, the tokenizer and the
format version. All numbers are little endian:

- `tokens.bin`: the ids of all documents in forward order, uint16 if they fit, else uint32;
- `starts.bin`: uint64 [documents + 1], where each document begins in `tokens.bin`;
- `sizes.bin`: uint64 [documents, 2], UTF-8 bytes and whitespace-separated words of each text;
- `manifest.json`: totals, and the hash of these three.

It is built in `CACHE/KEY.building/`, a block of documents at a time, and renamed when finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from ulmfit.atomic import write_json
from ulmfit.config.data import ReadingConfig
from ulmfit.config.settings import to_dict
from ulmfit.data.formats import visible
from ulmfit.data.sources import expand
from ulmfit.errors import DataError
from ulmfit.text.blocks import blocks_of
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text, columns_of
from ulmfit.text.unicode import UnicodeCheck

FORMAT_VERSION = 1
COUNTED_AT_ONCE = 10_000_000
NUMBER = np.dtype("<u8")


@dataclass(frozen=True, eq=False)
class TokenStore:
    """The documents of a corpus as ids, read-only and memory-mapped."""

    tokens: npt.NDArray[np.unsignedinteger[Any]]
    """[tokens], all documents one after the other, `[BEGIN, t1 .. tn]` each."""

    starts: npt.NDArray[np.int64]
    """[documents + 1]: document i is `tokens[starts[i]:starts[i + 1]]`."""

    sizes: npt.NDArray[np.int64]
    """[documents, 2]: UTF-8 bytes and whitespace-separated words of each document's text."""

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.starts) - 1

    def document(self, index: int) -> npt.NDArray[np.int64]:
        """Return a copy of the ids [tokens] of one document, in forward order."""
        return self.tokens[self.starts[index] : self.starts[index + 1]].astype(np.int64)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each document, [documents]."""
        return np.diff(self.starts)

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of the whole text."""
        return int(self.sizes[:, 0].sum())

    def frequencies(self, vocab_size: int) -> npt.NDArray[np.int64]:
        """How often each id occurs, [vocab_size]."""
        return count_ids(self.tokens, vocab_size)


def count_ids(tokens: npt.NDArray[np.integer], vocab_size: int) -> npt.NDArray[np.int64]:
    """Return how often each id stands among `tokens` [n], [vocab_size], in constant memory."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for begin in range(0, len(tokens), COUNTED_AT_ONCE):
        counts += np.bincount(tokens[begin : begin + COUNTED_AT_ONCE], minlength=vocab_size)
    return counts


@dataclass
class _Progress:
    """How much of the stream stands safely in the files."""

    documents: int = 0
    tokens: int = 0
    digest: str = ""

    def sizes(self, token_bytes: int) -> dict[str, int]:
        """Bytes that each file holds at this point."""
        return {
            "tokens.bin": self.tokens * token_bytes,
            "starts.bin": (self.documents + 1) * NUMBER.itemsize,
            "sizes.bin": self.documents * 2 * NUMBER.itemsize,
        }


def open_or_build(
    texts: Callable[[], Iterable[Text]],
    fingerprint: str,
    tokenizer: Tokenizer,
    cache: Path,
    batch_documents: int = 10_000,
    unicode: UnicodeCheck | None = None,
) -> TokenStore:
    """Return the store of `texts`, built in constant memory unless `cache` holds it already.

    `texts()` begins the stream anew; `fingerprint` stands for its content. After each block of at
    most `batch_documents` documents the work is safe on the disk: a build that was killed goes on
    from there. Of several processes that want the same store one builds and the others wait.
    `unicode` is what cleans the texts as they are read: what it found is kept with the store, and
    told again where the store is at hand and nothing is read.

    Raises `DataError` if there is no text, or if `cache` cannot be written.
    """
    identity = json.dumps([fingerprint, tokenizer.fingerprint, FORMAT_VERSION])
    key = hashlib.sha256(identity.encode()).hexdigest()[:32]
    folder = Path(cache) / key
    unicode = unicode or UnicodeCheck()
    store = _open_finished(folder, unicode)
    if store is not None:
        return store
    lock = FileLock(f"{folder}.lock")
    with _write_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        store = _open_finished(folder, unicode)
        if store is not None:
            return store
        return _build(texts, tokenizer, folder, batch_documents, unicode)
    finally:
        lock.release()


def _open_finished(folder: Path, unicode: UnicodeCheck) -> TokenStore | None:
    """Map the files of a finished store; None if it is absent, not whole, or altered."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        dtype = np.dtype(manifest["dtype"])
        whole = _Progress(manifest["documents"], manifest["tokens"]).sizes(dtype.itemsize)
        if (manifest["format_version"], manifest["key"]) != (FORMAT_VERSION, folder.name):
            return None
        if any((folder / name).stat().st_size != size for name, size in whole.items()):
            return None
        if _sha256(folder / name for name in whole) != manifest["sha256"]:
            return None
        unicode.replaced, unicode.first = manifest.get("unicode", (0, None))
        starts = _map(folder / "starts.bin", NUMBER)
        sizes = _map(folder / "sizes.bin", NUMBER).reshape(-1, 2)
        return TokenStore(_map(folder / "tokens.bin", dtype), starts, sizes)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _map(path: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    # Signed 64-bit numbers, since numpy turns uint64 mixed with int64 into float64.
    dtype = np.dtype("<i8") if dtype == NUMBER else dtype
    return np.asarray(np.memmap(path, dtype, mode="r"))


def _sha256(paths: Iterable[Path]) -> str:
    """Return the hash of the hashes of files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _build(
    texts: Callable[[], Iterable[Text]],
    tokenizer: Tokenizer,
    folder: Path,
    batch_documents: int,
    unicode: UnicodeCheck,
) -> TokenStore:
    building = folder.with_name(f"{folder.name}.building")
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 65_536 else "<u4")
    progress = _read_progress(building, dtype.itemsize)
    stream = iter(texts())
    if fingerprint_texts(islice(stream, progress.documents)) != progress.digest:
        unicode.replaced, unicode.first = 0, None
        progress, stream = _Progress(), iter(texts())
    with _write_errors(building):
        building.mkdir(exist_ok=True)
        write_json(building / "progress.json", asdict(progress))
    for block in blocks_of(stream, batch_documents):
        encoded = tokenizer.encode_batch(block)
        with _write_errors(building):
            progress = _append(building, progress, block, encoded, dtype)
    if progress.tokens == 0:
        shutil.rmtree(building, ignore_errors=True)
        raise DataError("the text given holds no documents; give at least one")
    with _write_errors(building):
        _finish(building, folder, progress, dtype, unicode)
    store = _open_finished(folder, unicode)
    if store is None:
        raise DataError(f"{folder}: the token files were altered while they were built; run again")
    return store


def _read_progress(building: Path, token_bytes: int) -> _Progress:
    """Return how far an interrupted build came; nothing if its files hold less than recorded."""
    try:
        values = json.loads((building / "progress.json").read_text(encoding="utf-8"))
        progress = _Progress(**values)
        sizes = progress.sizes(token_bytes)
        if all((building / name).stat().st_size >= size for name, size in sizes.items()):
            return progress
    except (OSError, ValueError, TypeError):
        pass
    return _Progress()


def _append(
    building: Path,
    progress: _Progress,
    block: Sequence[Text],
    encoded: Sequence[npt.NDArray[np.int64]],
    dtype: np.dtype[Any],
) -> _Progress:
    """Write one block behind what is safe already, then record that it is safe too."""
    ends = progress.tokens + np.cumsum([len(ids) for ids in encoded])
    arrays = {
        "tokens.bin": np.concatenate(encoded).astype(dtype),
        "starts.bin": ends.astype(NUMBER),
        "sizes.bin": np.array([_size(text) for text in block], NUMBER),
    }
    for name, size in progress.sizes(dtype.itemsize).items():
        with (building / name).open("ab") as file:
            file.truncate(size)  # cuts off a half-written block; writes the first 0 of `starts`
            file.write(arrays[name].tobytes())
            file.flush()
            os.fsync(file.fileno())
    done = _Progress(
        progress.documents + len(block), int(ends[-1]), fingerprint_texts(block, progress.digest)
    )
    write_json(building / "progress.json", asdict(done))
    return done


def _finish(
    building: Path,
    folder: Path,
    progress: _Progress,
    dtype: np.dtype[Any],
    unicode: UnicodeCheck,
) -> None:
    # A build killed in the middle of its last block left more than was recorded.
    sizes = progress.sizes(dtype.itemsize)
    for name, size in sizes.items():
        os.truncate(building / name, size)
    text_bytes, words = _map(building / "sizes.bin", NUMBER).reshape(-1, 2).sum(axis=0)
    manifest = {
        "format_version": FORMAT_VERSION,
        "key": folder.name,
        "dtype": dtype.str,
        "documents": progress.documents,
        "tokens": progress.tokens,
        "text_bytes": int(text_bytes),
        "words": int(words),
        "sha256": _sha256(building / name for name in sizes),
        "unicode": [unicode.replaced, unicode.first],
    }
    write_json(building / "manifest.json", manifest)
    if folder.exists():  # a damaged store
        shutil.rmtree(folder)
    os.replace(building, folder)
    (folder / "progress.json").unlink(missing_ok=True)


@contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: cannot write token files here ({error.strerror or error}); make the folder "
            "writable, with room for them, or name another one with the setting 'cache'"
        ) from error


def _size(text: Text) -> tuple[int, int]:
    columns = columns_of(text)
    text_bytes = sum(len(column.encode("utf-8", "surrogatepass")) for column in columns)
    return text_bytes, sum(len(column.split()) for column in columns)


def fingerprint_texts(texts: Iterable[Text], digest: str = "") -> str:
    """Return a hash of the content and order of `texts`, and of those that `digest` is the hash of.

    A running hash needs no more than its last value.
    """
    for text in texts:
        columns = [column.encode("utf-8", "surrogatepass") for column in columns_of(text)]
        # Lengths keep ("ab", "c") apart from ("a", "bc"); a plain text has no number of columns.
        sizes = [len(column) for column in columns]
        shape = sizes if isinstance(text, str) else [len(columns), *sizes]
        digest = hashlib.sha256(b"".join([f"{digest}{shape}".encode(), *columns])).hexdigest()
    return digest


def fingerprint_files(paths: Iterable[str | Path], reading: ReadingConfig) -> str:
    """Return a hash of the bytes of files, or of a folder's documents, and of how they are read.

    Patterns such as `data/*.csv` are expanded. Raises `DataError` if one cannot be read.
    """
    # What is not set is left out: a setting that came later changes no older fingerprint.
    given = {name: value for name, value in to_dict(reading).items() if value is not None}
    fingerprint = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for path in expand(paths):
        for file in _documents_of(path):
            # The ending decides how a file is read, its folder which class its document has.
            name = str(file.relative_to(path)) if path.is_dir() else "".join(path.suffixes)
            fingerprint.update(json.dumps([name, _file_digest(file)]).encode())
    return fingerprint.hexdigest()


def _documents_of(path: Path) -> list[Path]:
    """Return a file, or the files of documents in a folder, as they are read."""
    if not path.is_dir():
        return [path]
    return [file for label in visible(path, Path.is_dir) for file in visible(label, Path.is_file)]


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the file ({error.strerror or error}); check its path"
        ) from None
