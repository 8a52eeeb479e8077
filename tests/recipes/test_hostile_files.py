"""Hostile and damaged files: `ulmfit convert` says in one line what is wrong, and runs nothing."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ulmfit.cli import main
from ulmfit.config.model import Dropout, EncoderConfig
from ulmfit.interop.fastai_names import to_fastai_2
from ulmfit.models.networks import LanguageModelNetwork

pytestmark = pytest.mark.recipes

WORDS = ["xxunk", "xxpad", "xxbos", "xxmaj", *"abcdefgh"]
SHAPE = EncoderConfig(vocab_size=len(WORDS), embedding_size=4, hidden_size=6, layers=3)

Files = tuple[Path, Path]
"""Weights and vocabulary, to be made worse."""


class Runs:
    """Pickles as a call that leaves a mark."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "ran"

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def good_weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = LanguageModelNetwork(SHAPE, Dropout()).state_dict()
    return {to_fastai_2(name): tensor for name, tensor in state.items()}


def saved(change: Callable[[dict[str, Any]], object], legacy: bool = False) -> Any:
    """Weights, changed, in either layout."""

    def make(files: Files) -> None:
        weights = good_weights()
        change(weights)
        torch.save(weights, files[0], _use_new_zipfile_serialization=not legacy)

    return make


def code(legacy: bool) -> Callable[[Files], None]:
    def make(files: Files) -> None:
        weights = {**good_weights(), "1.decoder.bias": Runs(files[0].parent)}
        torch.save(weights, files[0], _use_new_zipfile_serialization=not legacy)

    return make


def cut(legacy: bool, share: float) -> Callable[[Files], None]:
    def make(files: Files) -> None:
        saved(lambda _: None, legacy)(files)
        content = files[0].read_bytes()
        files[0].write_bytes(content[: int(len(content) * share)])

    return make


def words(content: Callable[[Path], bytes]) -> Callable[[Files], object]:
    return lambda files: files[1].write_bytes(content(files[1].parent))


def archive(name: str, kind: bytes = tarfile.REGTYPE, size: int = 10) -> Callable[[Files], None]:
    """An archive, under the name of the weights, with one bad member."""

    def make(files: Files) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        member.size = size if kind == tarfile.REGTYPE else 0
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as tar:
            tar.addfile(member, io.BytesIO(bytes(size)) if member.size else None)
        files[0].rename(files[0].with_name("lm_fwd.tgz"))
        files[0].with_name("lm_fwd.tgz").write_bytes(content.getvalue())

    return make


def rezipped(files: Files) -> None:
    saved(lambda _: None)(files)
    with zipfile.ZipFile(files[0]) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(files[0], "w", compression=zipfile.ZIP_DEFLATED) as new:
        for name, content in entries.items():
            new.writestr(name, content)


def altered(files: Files) -> None:
    saved(lambda w: w.update({"1.decoder.bias": torch.full((12,), 3.0)}))(files)
    content = files[0].read_bytes()
    files[0].write_bytes(
        content.replace(b"\0\0\x40\x40" * 12, b"\0\0\x41\x40" + b"\0\0\x40\x40" * 11)
    )


def swap(weights: dict[str, Any]) -> None:
    for name in [name for name in weights if name.startswith("0.rnns.0.")]:
        other = name.replace("rnns.0", "rnns.1")
        weights[name], weights[other] = weights[other], weights[name]


def poison(value: float) -> Callable[[dict[str, Any]], None]:
    def change(weights: dict[str, Any]) -> None:
        weights["0.encoder.weight"][3, 1] = value

    return change


def beyond(files: Files) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            storage = torch.ones(9)._typed_storage()  # type: ignore[no-untyped-call]
            return torch._utils._rebuild_tensor_v2, (storage, 0, (10**9,), (1,), False, {})

    torch.save({**good_weights(), "1.decoder.bias": Bad()}, files[0])


CASES: dict[str, tuple[Callable[[Files], Any], str]] = {
    "code in an archive": (code(legacy=False), "the pickle asks for 'posix.mkdir'"),
    "code in the old layout": (code(legacy=True), "the pickle asks for 'posix.mkdir'"),
    "code in the vocabulary": (
        words(lambda folder: pickle.dumps([*WORDS, Runs(folder)])),
        "the pickle asks for 'posix.mkdir'",
    ),
    "a module": (
        lambda files: torch.save(nn.Linear(2, 2), files[0]),
        "the pickle asks for 'torch.nn.modules.linear.Linear'",
    ),
    "a truncated archive": (cut(legacy=False, share=0.7), "a damaged archive"),
    "a truncated old file": (cut(legacy=True, share=0.7), "lm_fwd.pth: truncated "),
    "an empty file": (cut(legacy=False, share=0.0), "not a pickle, or a damaged one"),
    "an image": (lambda files: files[0].write_bytes(b"\x89PNG\r\n\x1a\n"), "not a pickle"),
    "altered weights": (altered, "are altered; get the file again"),
    "a compressed archive": (rezipped, "is compressed, which PyTorch never does; not read"),
    "a tensor beyond its weights": (beyond, "a tensor that reaches beyond its weights"),
    "a memory bomb": (
        words(lambda _: b"\x96" + (2**40).to_bytes(8, "little") + b"."),
        "damaged one (no instruction or memory 150)",
    ),
    "a memory far off": (words(lambda _: b"]r\xff\xff\xff\x7f."), "the vocabulary 0 words"),
    "attributes of a class": (
        words(lambda _: b"\x80\x02cfastcore.foundation\nL\n}X\x01\x00\x00\x00aK\x01sb."),
        "asks for attributes of 'type'",
    ),
    "swapped layers": (saved(swap), "'0.rnns.0.module.weight_ih_l0' is [24, 6], expected [24, 4]"),
    "a missing layer": (
        saved(lambda w: [w.pop(name) for name in list(w) if "rnns.1." in name]),
        "missing '0.rnns.1.module.weight_ih_l0'",
    ),
    "weights not a number": (saved(poison(float("nan"))), "'0.encoder.weight' holds NaN or"),
    "infinite weights": (saved(poison(float("inf"))), "'0.encoder.weight' holds NaN or"),
    "a QRNN": (
        saved(lambda w: w.update({"0.rnns.0.layers.0.linear.weight_raw": torch.ones(2)})),
        "a QRNN; only models of LSTMs can be converted",
    ),
    "another network": (
        lambda files: torch.save(nn.Linear(2, 2).state_dict(), files[0]),
        "no AWD-LSTM of fastai: no embedding, its first weights are 'weight', 'bias'",
    ),
    "an untied decoder": (
        saved(lambda w: w.update({"1.decoder.weight": torch.ones(12, 4)})),
        "'1.decoder.weight' is not the embedding's matrix",
    ),
    "a short vocabulary": (
        words(lambda _: pickle.dumps(WORDS[:-1])),
        "the embedding has 12 rows and the vocabulary 11 words",
    ),
    "a vocabulary with duplicates": (
        words(lambda _: pickle.dumps([*WORDS[:-1], "a"])),
        "'a' stands in it twice, as words 4 and 11",
    ),
    "a vocabulary of numbers": (
        words(lambda _: pickle.dumps(list(range(12)))),
        "not a list of words",
    ),
    "a path that leads out": (archive("../lm.pth"), "'../lm.pth' leads out of the archive"),
    "an absolute path": (archive("/tmp/lm.pth"), "'/tmp/lm.pth' leads out of the archive"),
    "a link": (archive("lm.pth", kind=tarfile.SYMTYPE), "'lm.pth' is a link or a device"),
    "an archive bomb": (archive("lm.pth", size=80 * 2**20), "unpacks to far more than its size"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, reason = CASES[case]
    files = tmp_path / "lm_fwd.pth", tmp_path / "itos.pkl"
    saved(lambda _: None)(files)
    files[1].write_bytes(pickle.dumps(WORDS))
    make(files)
    source = next(tmp_path.glob("lm_fwd.*"))
    output = tmp_path / "model"
    code = main(["convert", str(source), "--vocab", str(files[1]), "--output", str(output)])
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (4, 1), error
    assert error.startswith(f"ulmfit: error: {tmp_path}") or error.startswith("ulmfit: error: lm_")
    assert reason in error
    assert not (tmp_path / "ran").exists() and not output.exists()


def test_the_same_files_unharmed_are_converted(tmp_path: Path) -> None:
    files = tmp_path / "lm_fwd.pth", tmp_path / "itos.pkl"
    saved(lambda _: None)(files)
    files[1].write_bytes(pickle.dumps(WORDS))
    output = str(tmp_path / "model")
    assert main(["convert", str(files[0]), "--vocab", str(files[1]), "--output", output]) == 0
