"""What fastai saved gives here what it gave there: files in every layout, and fastai's outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ulmfit import LanguageModel, TextClassifier
from ulmfit.config.conversions import ConvertConfig
from ulmfit.errors import ArtefactError
from ulmfit.interop.convert import convert
from ulmfit.interop.export import export_fastai
from ulmfit.interop.fastai import read_fastai
from ulmfit.interop.torch_files import read_torch_file
from ulmfit.interop.vocabulary import read_vocabulary, rows_of
from ulmfit.models.reading import pool_documents

BOUND = 1e-5
FIRST_PIECE = 20
LABELS = ("sport", "art", "weather", "money")


@pytest.fixture
def fixtures() -> Path:
    return Path(__file__).with_name("fastai-2.8.12")


@pytest.fixture
def expected(fixtures: Path) -> dict[str, NDArray[Any]]:
    with np.load(fixtures / "expected.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def converted(fixtures: Path, name: str, output: Path, **settings: Any) -> Path:
    """The model folder of a fixture."""
    config = ConvertConfig(
        sources=(str(fixtures / name),),
        vocab=str(fixtures / "lm_fastai2.pkl"),
        direction="forward",
        output=str(output),
        **settings,
    )
    return convert(config)


def our_ids(fixtures: Path, words: list[str]) -> NDArray[np.int64]:
    """The id that each of fastai's has here."""
    return rows_of(read_vocabulary(fixtures / "lm_fastai2.pkl")[0], words)


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("lm_fastai2.pth", "lm_logits"),
        ("lm_fastai2_with_opt.pth", "lm_logits"),
        ("lm_fastai1.pth", "lm_logits"),
        ("lm_2018.h5", "lm_2018_logits"),
    ],
)
@torch.no_grad()
def test_language_models_give_the_same_logits_with_carried_state(
    fixtures: Path, expected: dict[str, NDArray[Any]], tmp_path: Path, name: str, outputs: str
) -> None:
    model = LanguageModel.from_pretrained(converted(fixtures, name, tmp_path / "model"))
    ids = our_ids(fixtures, model.tokenizer.words())
    encoder, state, read = model.network.encoder, None, []
    for piece in np.split(ids[expected["lm_ids"]], [FIRST_PIECE], axis=1):
        vectors, state = encoder(encoder.embed(torch.from_numpy(piece)), state)
        read.append(model.network.head.logits(vectors, encoder.embedding.weight))
    logits = torch.cat(read, dim=1).numpy()[..., ids]
    assert np.abs(expected[outputs]).max() > 0.1
    np.testing.assert_allclose(logits, expected[outputs], atol=BOUND, rtol=0)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "in one batch"])
@torch.no_grad()
def test_classifiers_give_the_same_logits(
    fixtures: Path,
    expected: dict[str, NDArray[Any]],
    tmp_path: Path,
    together: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ulmfit.models.reading.CHUNK_TOKENS", 40)  # several of each document
    folder = converted(fixtures, "classifier_fastai2.pth", tmp_path / "model", labels=LABELS)
    model = TextClassifier.from_pretrained(folder)
    assert model.labels == tuple(sorted(LABELS))
    network = model.members[0].network
    ids = our_ids(fixtures, model.tokenizer.words())[expected["clf_ids"]]
    documents = np.split(ids, np.cumsum(expected["clf_lengths"])[:-1])
    budget = 10**6 if together else 1
    logits = np.empty((len(documents), len(LABELS)), dtype=np.float32)
    batches = 0
    for indices, pooled in pool_documents(network.encoder, documents, budget):
        logits[indices] = network(pooled).numpy()
        batches += 1
    assert batches == (1 if together else len(documents))
    places = [model.labels.index(label) for label in LABELS]
    np.testing.assert_allclose(logits[:, places], expected["clf_logits"], atol=BOUND, rtol=0)


def test_all_layouts_hold_the_same_tensors(fixtures: Path) -> None:
    whole = read_fastai(fixtures / "lm_fastai2.pth").read()
    for name in ("lm_fastai2_with_opt.pth", "lm_fastai1.pth", "lm_2018.h5", "encoder_fastai2.pth"):
        found = read_fastai(fixtures / name).read()
        assert found.keys() == whole.keys()
        for tensor, values in whole.items():
            if tensor == "head.bias" and name in ("lm_2018.h5", "encoder_fastai2.pth"):
                assert not found[tensor].any() and values.any()  # they keep none
            else:
                assert torch.equal(found[tensor], values), (name, tensor)


def test_what_is_written_back_is_in_the_order_in_which_fastai_reads(
    fixtures: Path, tmp_path: Path
) -> None:
    theirs = read_torch_file(fixtures / "lm_fastai2.pth")
    folder = converted(fixtures, "lm_fastai2.pth", tmp_path / "model")
    export_fastai(str(folder), tmp_path / "back")
    ours = read_torch_file(tmp_path / "back" / "forward.pth")
    assert list(ours) == list(theirs)
    words, _ = read_vocabulary(tmp_path / "back" / "vocab.pkl")
    rows = rows_of(read_vocabulary(fixtures / "lm_fastai2.pkl")[0], words)
    for name, tensor in theirs.items():
        per_word = name.startswith(("0.encoder", "1.decoder"))
        found = ours[name].read()
        assert torch.equal(found[rows] if per_word else found, tensor.read()), name


def test_the_wrong_vocabulary_is_refused(fixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("xxunk\nxxpad\nthe\n", encoding="utf-8")
    config = ConvertConfig(
        sources=(str(fixtures / "lm_fastai1.pth"),),
        vocab=str(tmp_path / "words.txt"),
        direction="forward",
        output=str(tmp_path / "model"),
    )
    with pytest.raises(ArtefactError) as caught:
        convert(config)
    assert str(caught.value) == (
        "lm_fastai1.pth: the embedding has 120 rows and the vocabulary 3 words; give the "
        "vocabulary that goes with it"
    )
