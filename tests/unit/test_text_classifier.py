from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ulmfit.config.artefact import BeginMark, Member, Task
from ulmfit.config.model import ClassifierHeadConfig, Direction, Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.data.answers import decisions, tempered
from ulmfit.data.documents import in_order
from ulmfit.errors import ArtefactError, ConfigError, DataError
from ulmfit.models.language_model import LanguageModel
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.models.text_classifier import (
    ClassifierMember,
    TextClassifier,
)
from ulmfit.text import blocks as text_blocks
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text

LABELS = ("10", "9", "나쁨")
HEAD = ClassifierHeadConfig(hidden_sizes=(6,))
TEXTS: list[Text] = [
    "",
    "one two three",
    "영화가 정말 재미있었어요",
    ("two", "columns"),
    " ",
    "\ud800 lone",
    "<bos> <pad> 🙂",
    "long words here " * 40,
    "a",
    *(f"text number {i} " * (i % 9) for i in range(24)),
]


@pytest.fixture(autouse=True, scope="module")
def short_chunks() -> Iterator[None]:
    """Documents are read in short chunks, so that there are several of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ulmfit.models.reading.CHUNK_TOKENS", 30)
        yield


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["some words to learn, here and there"] * 9, TokenizerConfig())


def network(tokenizer: Tokenizer, seed: int) -> ClassifierNetwork:
    """Random weights, large enough for more than one label to be predicted."""
    torch.manual_seed(seed + 2)
    shape = EncoderConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=6, hidden_size=8, layers=2
    )
    made = ClassifierNetwork(shape, Dropout(), HEAD, len(LABELS))
    made.encoder.embedding.weight.data.mul_(20)
    for linear in (module for module in made.modules() if isinstance(module, nn.Linear)):
        linear.weight.data.mul_(4)
        linear.bias.data.zero_()
    return made


def member(
    tokenizer: Tokenizer,
    direction: Direction = "forward",
    weight: float = 1.0,
    begin_mark: BeginMark = "first",
    seed: int = 0,
) -> ClassifierMember:
    described = Member(
        direction=direction, prefix=f"{direction}_{seed}", weight=weight, begin_mark=begin_mark
    )
    return ClassifierMember(described, network(tokenizer, seed))


def classifier(tokenizer: Tokenizer, *members: ClassifierMember, **task: Any) -> TextClassifier:
    chosen = members or (member(tokenizer), member(tokenizer, "backward", 3.0, "last", 1))
    return TextClassifier(chosen, tokenizer, Task(labels=LABELS, **task), head=HEAD, bptt=11)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> TextClassifier:
    return classifier(tokenizer)


@pytest.fixture(scope="module")
def alone(model: TextClassifier) -> np.ndarray:
    return np.concatenate([model.predict_proba([text]) for text in TEXTS])


# Each text by itself


def test_the_probabilities_are_probabilities_and_differ(alone: np.ndarray) -> None:
    assert alone.shape == (len(TEXTS), len(LABELS)) and alone.dtype == np.float32
    np.testing.assert_allclose(alone.sum(1), 1.0, atol=1e-6)
    assert len(np.unique(alone[:, 0].round(3))) > 10 and len(set(alone.argmax(1))) > 1


@settings(deadline=None, max_examples=10)
@given(
    indices=st.lists(st.integers(0, len(TEXTS) - 1), max_size=40),
    token_budget=st.integers(1, 40_000),
)
def test_a_prediction_depends_on_its_text_alone(
    model: TextClassifier, alone: np.ndarray, indices: list[int], token_budget: int
) -> None:
    found = model.predict_proba([TEXTS[i] for i in indices], token_budget=token_budget)
    np.testing.assert_allclose(found, alone[indices], atol=1e-5, rtol=0)


def test_all_texts_at_once_in_any_order(model: TextClassifier, alone: np.ndarray) -> None:
    for seed, token_budget in enumerate((1, 500, 10**9)):
        order = np.random.default_rng(seed).permutation(len(TEXTS))
        found = model.predict_proba([TEXTS[i] for i in order], token_budget=token_budget)
        np.testing.assert_allclose(found, alone[order], atol=1e-5, rtol=0)


def test_a_chunk_boundary_changes_nothing(
    model: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read in chunks of any length, or whole."""
    texts = [text for text in TEXTS if len(text) < 1_000]
    found = []
    for chunk_tokens in (2, 300, 100_000):
        monkeypatch.setattr("ulmfit.models.reading.CHUNK_TOKENS", chunk_tokens)
        found.append(model.predict_proba(texts))
    np.testing.assert_allclose(found[0], found[2], atol=1e-5)
    np.testing.assert_allclose(found[1], found[2], atol=1e-5)


# Streams


def test_blocks_of_a_stream_are_what_a_list_gives(
    model: TextClassifier, alone: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ulmfit.models.classifier.BLOCK_TEXTS", 7)
    monkeypatch.setattr(text_blocks, "BLOCK_CHARACTERS", 400)
    blocks = list(model.predict_blocks(iter(TEXTS), token_budget=100))
    assert len(blocks) > len(TEXTS) / 7 and max(map(len, blocks)) == 7
    np.testing.assert_allclose(np.concatenate(blocks), alone, atol=1e-5)


def test_a_tokenizer_of_another_size_is_refused(tokenizer: Tokenizer) -> None:
    other = Tokenizer.train(["completely different"], TokenizerConfig(vocab_size=300))
    made = classifier(tokenizer)
    with pytest.raises(ArtefactError, match=r"the network has \d+ ids and the tokenizer \d+"):
        TextClassifier(made.members, other, made.task, head=made.head)


def test_thousands_of_labels_make_smaller_blocks(tokenizer: Tokenizer) -> None:
    assert classifier(tokenizer).block_texts == 2_048
    labels = tuple(f"{i:05}" for i in range(10_000))
    many = TextClassifier([], tokenizer, Task(kind="multi_label", labels=labels), head=HEAD)
    assert many.block_texts == 400


def test_a_stream_is_read_a_block_ahead_at_most(
    model: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ulmfit.models.classifier.BLOCK_TEXTS", 5)
    read = 0

    def stream() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "endless"

    blocks = model.predict_blocks(stream())
    assert read == 0
    assert len(next(blocks)) == 5 and read == 5
    assert len(next(blocks)) == 5 and read == 10


def test_no_texts_give_no_rows(model: TextClassifier) -> None:
    assert model.predict_proba([]).shape == (0, 3)
    assert model.predict([]) == [] and list(model.predict_blocks([])) == []
    assert model.encode([]).shape == (0, 2 * 3 * 6)


# Members


def test_members_are_averaged_by_their_weights(model: TextClassifier, alone: np.ndarray) -> None:
    forward, backward = model.member_probabilities(TEXTS)
    assert np.abs(forward - backward).max() > 0.1
    np.testing.assert_allclose(alone, (forward + 3 * backward) / 4, atol=1e-5)


@pytest.mark.parametrize("begin_mark", ["first", "last"])
def test_a_backward_member_reads_from_the_end(tokenizer: Tokenizer, begin_mark: BeginMark) -> None:
    ids = tokenizer.encode("to learn here")
    backward = Member(direction="backward", prefix="backward", begin_mark=begin_mark)
    expected = ids[::-1] if begin_mark == "last" else np.array([ids[0], *ids[:0:-1]])
    np.testing.assert_array_equal(in_order([ids], backward)[0], expected)
    forward = in_order([ids], replace(backward, direction="forward"))
    np.testing.assert_array_equal(forward[0], ids)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_temperature_divides_the_log_probabilities(
    tokenizer: Tokenizer, alone: np.ndarray, temperature: float
) -> None:
    found = classifier(tokenizer, temperature=temperature).predict_proba(TEXTS)
    logits = np.log(alone.astype(np.float64)) / temperature
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_temperature_near_0_leaves_the_likeliest(tokenizer: Tokenizer, alone: np.ndarray) -> None:
    found = classifier(tokenizer, temperature=1e-4).predict_proba(TEXTS)
    assert np.isfinite(found).all()
    clear = np.ptp(np.sort(alone, axis=1)[:, 1:], axis=1) > 0.01
    np.testing.assert_allclose(found[clear], np.eye(3)[alone.argmax(1)][clear], atol=1e-5)


def test_temperature_divides_the_log_odds_of_several_labels() -> None:
    mean = np.random.default_rng(0).random((50, 3))
    expected = 1 / (1 + np.exp(-np.log(mean / (1 - mean)) / 2.5))
    np.testing.assert_allclose(tempered("multi_label", mean, 2.5), expected, rtol=1e-12)
    ends = np.array([[0.0, 1.0, 0.5]])
    for temperature in (1e-4, 1e4):
        np.testing.assert_allclose(tempered("multi_label", ends, temperature), ends)


# Kinds of task


def test_decisions() -> None:
    answers = np.array([[0.5, 0.2, 0.7], [0.4, 0.49, 0.1]], dtype=np.float32)
    several = Task(kind="multi_label", labels=LABELS)
    a, b, c = LABELS
    assert decisions(Task(labels=LABELS), answers) == [c, b]
    assert decisions(Task(labels=LABELS), answers, abstain_below=0.6) == [c, None]
    assert decisions(several, answers) == [(a, c), ()]
    assert decisions(replace(several, thresholds=(0.6, 0.2, 0.1)), answers) == [(b, c), (b, c)]
    assert decisions(Task(kind="number", range=(0, 1)), answers[:, :1]) == [0.5, pytest.approx(0.4)]


def test_several_labels_are_each_probable_by_themselves(
    tokenizer: Tokenizer, alone: np.ndarray
) -> None:
    found = classifier(tokenizer, kind="multi_label").predict_proba(TEXTS)
    assert ((found > 0) & (found < 1)).all() and np.ptp(found.sum(1)) > 0.05


def test_a_number_is_averaged_over_the_members(tokenizer: Tokenizer, tmp_path: Path) -> None:
    members = []
    for direction, weight in (("forward", 1.0), ("backward", 3.0)):
        made = member(tokenizer, direction, weight)  # type: ignore[arg-type]
        torch.manual_seed(7)
        shape = made.network.encoder.config
        members.append(ClassifierMember(made.member, ClassifierNetwork(shape, Dropout(), HEAD, 1)))
    task = Task(kind="number", range=(-2.0, 6.0))
    made_of_numbers = TextClassifier(members, tokenizer, task, head=HEAD, bptt=11)
    forward, backward = made_of_numbers.member_probabilities(TEXTS)
    found = made_of_numbers.predict_proba(TEXTS)
    assert found.shape == (len(TEXTS), 1) and ((found > -2) & (found < 6)).all()
    np.testing.assert_allclose(found, (forward + 3 * backward) / 4, atol=1e-5)
    np.testing.assert_allclose(made_of_numbers.predict(TEXTS), found[:, 0])
    made_of_numbers.save_pretrained(tmp_path / "folder")
    loaded = TextClassifier.from_pretrained(tmp_path / "folder")
    assert loaded.task == task
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), found)


def test_labels_are_in_the_order_of_the_columns(model: TextClassifier, alone: np.ndarray) -> None:
    assert model.labels == LABELS
    assert model.predict(TEXTS) == [LABELS[i] for i in alone.argmax(1)]


def test_vectors_are_the_members_pooled_outputs(model: TextClassifier) -> None:
    vectors = model.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 2 * 3 * 6) and vectors.dtype == np.float32
    with torch.no_grad():
        logits = model.members[0].network(torch.from_numpy(vectors[:, :18]))
    forward = model.member_probabilities(TEXTS)[0]
    np.testing.assert_allclose(logits.softmax(1).numpy(), forward, atol=1e-5)


# In bfloat16


@pytest.fixture(scope="module")
def in_bfloat16(model: TextClassifier, tmp_path_factory: pytest.TempPathFactory) -> TextClassifier:
    folder = tmp_path_factory.mktemp("bfloat16") / "model"
    model.save_pretrained(folder)
    try:
        return TextClassifier.from_pretrained(folder, precision="bfloat16")
    except ConfigError as error:
        pytest.skip(str(error))


def test_bfloat16_answers_nearly_the_same(
    model: TextClassifier, in_bfloat16: TextClassifier, alone: np.ndarray
) -> None:
    found = in_bfloat16.predict_proba(TEXTS)
    assert 0.0 < np.abs(found - alone).max() < 0.02
    np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-6)
    vectors = model.encode(TEXTS)
    assert 0.0 < np.abs(in_bfloat16.encode(TEXTS) - vectors).max() < 0.02


def test_bfloat16_answers_depend_little_on_the_neighbours(in_bfloat16: TextClassifier) -> None:
    alone = np.concatenate([in_bfloat16.predict_proba([text]) for text in TEXTS])
    np.testing.assert_allclose(in_bfloat16.predict_proba(TEXTS), alone, atol=0.02, rtol=0)


def test_float32_is_the_default_and_an_unknown_precision_is_refused(
    model: TextClassifier, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "model")
    assert TextClassifier.from_pretrained(tmp_path / "model").precision == "float32"
    with pytest.raises(ConfigError, match="'precision': found 'float8'; use auto, float32 or bf"):
        TextClassifier.from_pretrained(tmp_path / "model", precision="float8")


# What is refused


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_blocks", "encode"])
def test_what_is_not_a_list_of_texts_is_refused(model: TextClassifier, method: str) -> None:
    def call(texts: Any) -> None:
        list(getattr(model, method)(texts))

    with pytest.raises(ConfigError, match="texts: found one string; give a list of texts"):
        call("one string")
    assert np.array_equal(model.predict_proba([("fine",)]), model.predict_proba(["fine"]))
    for wrong in (None, float("nan"), 3, b"bytes", ("a", None), ["a"], ()):
        with pytest.raises(DataError, match=r"texts, row 2: found .* of type .*; give a string"):
            call(["fine", wrong])


# Folders


def same(a: TextClassifier, b: TextClassifier, texts: Sequence[Text] = TEXTS) -> float:
    return float(np.abs(a.predict_proba(texts) - b.predict_proba(texts)).max())


def test_what_is_saved_is_loaded(model: TextClassifier, tmp_path: Path) -> None:
    model.run = {"train": {"results": {"classifier, forward": {"accuracy": 0.5}}}}
    model.task = replace(model.task, temperature=2.0)
    model.save_pretrained(tmp_path / "model")
    loaded = TextClassifier.from_pretrained(tmp_path / "model")
    assert same(model, loaded) == 0.0
    assert (loaded.labels, loaded.task, loaded.bptt) == (LABELS, model.task, 11)
    assert [m.member for m in loaded.members] == [m.member for m in model.members]
    assert loaded.run == model.run
    loaded.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()
    model.task = replace(model.task, temperature=1.0)


def test_a_storage_that_is_none_is_named(model: TextClassifier, tmp_path: Path) -> None:
    storage: Any = "int4"
    message = "setting 'storage': found 'int4'; use float32, float16, int8"
    with pytest.raises(ConfigError, match=message):
        model.save_pretrained(tmp_path / "model", storage=storage)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(("storage", "bound"), [("float16", 2e-3), ("int8", 3e-2)])
def test_smaller_storage_stays_near(
    tokenizer: Tokenizer, tmp_path: Path, storage: Any, bound: float
) -> None:
    model = TextClassifier(
        [ClassifierMember(Member(direction="forward", prefix="forward"), network(tokenizer, 0))],
        tokenizer,
        Task(labels=LABELS),
        head=HEAD,
    )
    model.save_pretrained(tmp_path / "model", storage=storage)
    model.save_pretrained(tmp_path / "exact")
    assert 0.0 < same(model, TextClassifier.from_pretrained(tmp_path / "model")) < bound
    sizes = [(tmp_path / n / "model.safetensors").stat().st_size for n in ("model", "exact")]
    assert sizes[0] < sizes[1]


def test_other_models_and_occupied_folders_are_refused(
    model: TextClassifier, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    shape = model.members[0].network.encoder.config
    described = Member(direction="forward", prefix="forward")
    language_model = LanguageModel(LanguageModelNetwork(shape, Dropout()), tokenizer, described)
    language_model.save_pretrained(tmp_path / "model")
    with pytest.raises(ArtefactError, match="model: holds a language_model, not a text classifier"):
        TextClassifier.from_pretrained(tmp_path / "model")
    with pytest.raises(ArtefactError, match="exists already"):
        model.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model", overwrite=True)
    with pytest.raises(ArtefactError, match="holds a text_classifier, not a language model"):
        LanguageModel.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("change", ["missing", "truncated", "altered"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_folder_is_refused_by_its_file(
    model: TextClassifier, tmp_path: Path, name: str, change: str
) -> None:
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "README.md").unlink()
    TextClassifier.from_pretrained(tmp_path / "model")
    path = tmp_path / "model" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if change == "missing":
        path.unlink()
    else:
        path.write_bytes(content if change == "altered" else content[: len(content) // 2])
    with pytest.raises(ArtefactError, match=f"{name}: .*(missing|truncated|altered)"):
        TextClassifier.from_pretrained(tmp_path / "model")


def test_texts_are_not_remembered_by_the_network(model: TextClassifier) -> None:
    before = {n: t.clone() for m in model.members for n, t in m.network.state_dict().items()}
    torch.manual_seed(3)
    first = model.predict_proba(TEXTS[:20])
    torch.manual_seed(4)
    np.testing.assert_array_equal(first, model.predict_proba(TEXTS[:20]))
    after = {n: t for m in model.members for n, t in m.network.state_dict().items()}
    assert all(torch.equal(before[name], after[name]) for name in before)
