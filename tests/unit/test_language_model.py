from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ulmfit.config.artefact import BeginMark, Member, Storage
from ulmfit.config.model import Direction, Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.data.token_store import TokenStore
from ulmfit.errors import ArtefactError, BusyError, ConfigError, DataError
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.models.weights import restore
from ulmfit.stages.language_modelling import evaluate_language_model
from ulmfit.text.tokenizer import BEGIN_ID, FIELD_ID, PAD_ID, UNKNOWN_ID, Tokenizer, reverse_ids
from ulmfit.text.types import Text

TEXTS: list[Text] = [
    "",
    "a",
    "The cat sat on the mat.",
    "An étude, again and again and again: 日本語 🙂 text of some length, to fill many chunks. " * 3,
    "two  words\n",
    ("a title", "and a body of it"),
]
READERS: list[tuple[Direction, BeginMark]] = [
    ("forward", "first"),
    ("backward", "first"),
    ("backward", "last"),
]
reads = pytest.mark.parametrize(("direction", "mark"), READERS)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    config = TokenizerConfig(vocab_size=320, min_frequency=1)
    return Tokenizer.train([t for t in TEXTS if isinstance(t, str)], config)


def make(
    tokenizer: Tokenizer, direction: Direction = "forward", mark: BeginMark = "first", seed: int = 0
) -> LanguageModel:
    torch.manual_seed(seed)
    shape = EncoderConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=8, hidden_size=12, layers=2
    )
    network = LanguageModelNetwork(shape, Dropout(output=0.5, weight=0.5))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
    member = Member(direction=direction, prefix=direction, begin_mark=mark)
    return LanguageModel(network, tokenizer, member, bptt=9)


def in_order(model: LanguageModel, text: Text) -> NDArray[np.int64]:
    ids = model.tokenizer.encode(text)
    forward = model.member.direction == "forward"
    return ids if forward else reverse_ids(ids, model.member.begin_mark)


@torch.no_grad()
def logits_after(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    """Read all of `ids` anew, in float64."""
    network = LanguageModelNetwork(model.config, Dropout()).double().eval()
    network.load_state_dict(model.network.state_dict())
    outputs, _ = network.encoder(network.encoder.embed(torch.tensor([ids])))
    return network.head.logits(outputs[0, -1], network.encoder.embedding.weight)


# Generation


@reads
@pytest.mark.parametrize("prompt", ["", "The cat", "An étude, again and again: 日本語 🙂"])
def test_generating_equals_reading_the_whole_prefix_at_each_step(
    tokenizer: Tokenizer, direction: Direction, mark: BeginMark, prompt: str
) -> None:
    model = make(tokenizer, direction, mark)
    prompt_ids = tokenizer.encode(prompt)[1:].tolist()
    prefix = prompt_ids if direction == "forward" else prompt_ids[::-1]
    if mark == "first" or not prompt_ids:
        prefix = [BEGIN_ID, *prefix]
    added: list[int] = []
    for _ in range(30):
        logits = logits_after(model, prefix + added)
        logits[[PAD_ID, UNKNOWN_ID, FIELD_ID]] = -torch.inf
        token = int(logits.argmax())
        if token == BEGIN_ID:
            break
        added.append(token)
    written = prompt_ids + added if direction == "forward" else added[::-1] + prompt_ids
    assert len(added) > 3
    assert model.generate(prompt, tokens=30, temperature=0) == tokenizer.decode(written)


def test_the_text_grows_on_its_own_side(tokenizer: Tokenizer) -> None:
    assert make(tokenizer).generate("The cat", tokens=5).startswith("The cat")
    for mark in ("first", "last"):
        text = make(tokenizer, "backward", mark).generate("the mat.", tokens=5)
        assert text.endswith("the mat.") and len(text) > len("the mat.")


def test_generating_depends_on_the_seed_alone(tokenizer: Tokenizer) -> None:
    model = make(tokenizer)
    torch.manual_seed(1)
    first = model.generate("The", tokens=20, seed=5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert model.generate("The", tokens=20, seed=5) == first
    assert torch.equal(before, torch.get_rng_state()), "the caller's own draws are left alone"
    assert model.generate("The", tokens=20, seed=6) != first


def test_generating_no_tokens_returns_the_prompt(tokenizer: Tokenizer) -> None:
    for direction, mark in READERS:
        assert make(tokenizer, direction, mark).generate("The cat 🙂", tokens=0) == "The cat 🙂"


def test_it_ends_with_the_document(tokenizer: Tokenizer) -> None:
    model = make(tokenizer)
    with torch.no_grad():
        model.network.head.bias[BEGIN_ID] = 1e4
    assert model.generate("The cat", tokens=20) == "The cat"
    assert model.generate("", tokens=20) == ""


def test_special_tokens_are_never_generated(tokenizer: Tokenizer) -> None:
    model = make(tokenizer)
    with torch.no_grad():
        model.network.head.bias[[PAD_ID, UNKNOWN_ID, FIELD_ID]] = 1e4
    assert len(tokenizer.encode(model.generate("The", tokens=20))) > 5


def test_wrong_generation_settings_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"top_p 0\.0, min_p 0\.0: give a temperature of 0"):
        make(tokenizer).generate(top_p=0.0)
    with pytest.raises(ConfigError, match=r"temperature inf, .*: give a temperature of 0"):
        make(tokenizer).generate(temperature=float("inf"))


# Perplexity


@torch.no_grad()
def slow_nll(model: LanguageModel, ids: NDArray[np.int64]) -> float:
    """Negative log-likelihood of all ids but the first, one token at a time, in float64."""
    network = LanguageModelNetwork(model.config, Dropout()).double().eval()
    network.load_state_dict(model.network.state_dict())
    state, nll = None, 0.0
    for given, target in itertools.pairwise(ids):
        vectors = network.encoder.embed(torch.tensor([[given]]))
        outputs, state = network.encoder(vectors, state)
        logits = network.head.logits(outputs[0, -1], network.encoder.embedding.weight)
        nll -= float(logits.log_softmax(0)[target])
    return nll


@reads
def test_perplexity_equals_that_of_reading_token_by_token(
    tokenizer: Tokenizer, direction: Direction, mark: BeginMark
) -> None:
    model = make(tokenizer, direction, mark)
    orders = [in_order(model, text) for text in TEXTS]
    expected = [
        np.exp(slow_nll(model, ids) / (len(ids) - 1)) if len(ids) > 1 else np.nan for ids in orders
    ]
    together = model.perplexity(TEXTS)
    np.testing.assert_allclose(together, expected, rtol=2e-5)
    alone = [model.perplexity([text])[0] for text in TEXTS]
    np.testing.assert_allclose(alone, together, rtol=1e-5)
    assert np.isnan(together[0]) and model.perplexity([]).shape == (0,)


def test_one_string_is_not_a_list_of_texts(tokenizer: Tokenizer) -> None:
    for ask in (make(tokenizer).perplexity, make(tokenizer).encode):
        with pytest.raises(ConfigError, match="texts: found one string; give a list of texts"):
            ask("The cat")


# Vectors


@reads
def test_vectors_do_not_depend_on_the_neighbours(
    tokenizer: Tokenizer, direction: Direction, mark: BeginMark
) -> None:
    model = make(tokenizer, direction, mark)
    together = model.encode(TEXTS)
    assert together.shape == (len(TEXTS), 24) and together.dtype == np.float32
    alone = np.concatenate([model.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    backwards = model.encode(TEXTS[::-1])[::-1]
    np.testing.assert_allclose(backwards, together, atol=1e-5)


def test_directions_read_differently(tokenizer: Tokenizer) -> None:
    vectors = [make(tokenizer, d, m).encode(["The cat sat"]) for d, m in READERS]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in itertools.pairwise(vectors))


# Saving and loading


@pytest.mark.parametrize(
    ("storage", "tolerance"), [("float32", 0.0), ("float16", 2e-3), ("int8", 2e-2)]
)
def test_both_directions_are_saved_and_loaded(
    tokenizer: Tokenizer, tmp_path: Path, storage: Storage, tolerance: float
) -> None:
    models = [make(tokenizer, "forward", seed=1), make(tokenizer, "backward", "last", seed=2)]
    models[0].run = {"pretrain": {"results": {"forward": {"perplexity": 12.5}}}}
    save_language_models(models, tmp_path / "model", storage=storage)
    for model in models:
        loaded = LanguageModel.from_pretrained(tmp_path / "model", direction=model.member.direction)
        assert loaded.member == model.member and loaded.bptt == 9 and loaded.config == model.config
        assert loaded.run == models[0].run
        assert loaded.tokenizer.sha256 == tokenizer.sha256
        largest = max(float(p.detach().abs().max()) for p in model.network.parameters())
        for mine, theirs in zip(
            model.network.parameters(), loaded.network.parameters(), strict=True
        ):
            assert float((mine - theirs).detach().abs().max()) <= tolerance * largest
        if storage == "float32":
            np.testing.assert_array_equal(loaded.encode(TEXTS), model.encode(TEXTS))
            assert loaded.generate("The", seed=3) == model.generate("The", seed=3)
    assert LanguageModel.from_pretrained(tmp_path / "model").member.direction == "forward"
    card = (tmp_path / "model" / "README.md").read_text()
    assert "12.5" in card and "forward, backward" in card


def test_a_loaded_model_can_be_saved_again(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_language_models(
        [make(tokenizer, "forward", seed=1), make(tokenizer, "backward", seed=2)], tmp_path / "two"
    )
    backward = LanguageModel.from_pretrained(tmp_path / "two", direction="backward")
    backward.save_pretrained(tmp_path / "one")
    again = LanguageModel.from_pretrained(tmp_path / "one")
    assert again.member == backward.member
    np.testing.assert_array_equal(again.encode(TEXTS), backward.encode(TEXTS))
    with pytest.raises(ArtefactError) as caught:
        LanguageModel.from_pretrained(tmp_path / "one", direction="forward")
    assert str(caught.value) == (
        f"{tmp_path / 'one'}: has no forward member; it has: backward; ask for backward alone, "
        "with --direction or --directions"
    )
    with pytest.raises(ArtefactError, match="exists already"):
        backward.save_pretrained(tmp_path / "one")
    backward.save_pretrained(tmp_path / "one", overwrite=True)


@pytest.mark.parametrize("times", [1, 5])
def test_a_folder_that_is_replaced_meanwhile_is_not_mixed(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Between its tokenizer and its weights, which fit another's."""
    config = TokenizerConfig(vocab_size=tokenizer.vocab_size, min_frequency=1)
    others = Tokenizer.train(["other words, of another model altogether " * 3] * 3, config)
    assert others.sha256 != tokenizer.sha256
    seeds = iter(range(1, times + 1))

    def replaced(path: Path) -> dict[str, torch.Tensor]:
        if (seed := next(seeds, None)) is not None:
            make(others, seed=seed).save_pretrained(path.parent, overwrite=True)
        return restore(path)

    monkeypatch.setattr("ulmfit.models.language_model.restore", replaced)
    make(tokenizer).save_pretrained(tmp_path / "model")
    if times > 3:
        with pytest.raises(BusyError, match="model: replaced again and again; load it once"):
            LanguageModel.from_pretrained(tmp_path / "model")
        return
    loaded = LanguageModel.from_pretrained(tmp_path / "model")
    assert loaded.tokenizer.sha256 == others.sha256
    weight = make(others, seed=1).network.encoder.embedding.weight
    assert torch.equal(loaded.network.encoder.embedding.weight, weight)


def test_models_that_do_not_fit_together_are_not_saved(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    forward = make(tokenizer)
    with pytest.raises(ArtefactError, match="two members read in the same direction; save one"):
        save_language_models([forward, make(tokenizer, seed=1)], tmp_path / "model")
    other = Tokenizer.train(["completely different"], TokenizerConfig(vocab_size=300))
    with pytest.raises(ArtefactError, match="the members' tokenizers or shapes differ"):
        save_language_models([forward, make(other, "backward")], tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_texts_may_come_one_by_one_and_must_be_texts(tokenizer: Tokenizer) -> None:
    model = make(tokenizer)
    texts = ["a text", "and another"]
    np.testing.assert_array_equal(model.perplexity(iter(texts)), model.perplexity(texts))
    np.testing.assert_array_equal(model.encode(iter(texts)), model.encode(texts))
    with pytest.raises(DataError, match=r"texts, row 2: found None of type NoneType"):
        model.perplexity(["a", None])  # type: ignore[list-item]


def test_a_tokenizer_of_another_size_is_refused(tokenizer: Tokenizer) -> None:
    model = make(tokenizer)
    other = Tokenizer.train(["completely different"], TokenizerConfig(vocab_size=300))
    with pytest.raises(ArtefactError) as caught:
        LanguageModel(model.network, other, model.member)
    assert str(caught.value) == (
        f"the network has {tokenizer.vocab_size} ids and the tokenizer {other.vocab_size}; take "
        "the tokenizer that it was trained with"
    )


def test_loading_reads_in_evaluation_mode(tokenizer: Tokenizer, tmp_path: Path) -> None:
    make(tokenizer).save_pretrained(tmp_path / "model")
    loaded = LanguageModel.from_pretrained(tmp_path / "model")
    assert not loaded.network.training
    np.testing.assert_array_equal(loaded.encode(TEXTS), loaded.encode(TEXTS))


# Measuring on a corpus


def store_of(documents: list[NDArray[np.int64]]) -> TokenStore:
    starts = np.cumsum([0, *map(len, documents)])
    sizes = np.array([[3 * len(ids), len(ids)] for ids in documents])
    return TokenStore(np.concatenate(documents).astype(np.uint16), starts, sizes)


@reads
@pytest.mark.parametrize("documents", [None, np.array([0, 2, 1])])
def test_a_corpus_read_in_one_lane_is_scored_as_token_by_token(
    tokenizer: Tokenizer,
    direction: Direction,
    mark: BeginMark,
    documents: NDArray[np.int64] | None,
) -> None:
    model = make(tokenizer, direction, mark)
    texts = [TEXTS[3], "The cat", "sat on the mat"]
    store = store_of([tokenizer.encode(text) for text in texts])
    total = evaluate_language_model(model.network, model.member, 9, store, documents)
    order = range(3) if documents is None else documents
    stream = np.concatenate([in_order(model, texts[i]) for i in order])
    assert total.tokens == len(stream) - 1
    assert total.nll == pytest.approx(slow_nll(model, stream), rel=1e-5)
    assert total.text_bytes == 3 * len(stream) and total.words == len(stream)


def test_a_corpus_read_in_lanes_scores_each_token_once(tokenizer: Tokenizer) -> None:
    """A lane begins with the last token of the lane before, and no more context than that."""
    model = make(tokenizer)
    rng = np.random.default_rng(0)
    documents = [
        np.concatenate([[BEGIN_ID], rng.integers(4, 60, int(n))]) for n in rng.integers(1, 30, 26)
    ]
    store = store_of(documents)
    total = evaluate_language_model(model.network, model.member, 9, store)
    stream = np.concatenate(documents)
    lanes = 26 // 4
    edges = np.arange(lanes + 1) * (len(stream) - 1) // lanes
    pieces = [stream[low : high + 1] for low, high in itertools.pairwise(edges)]
    assert total.tokens == len(stream) - 1
    assert total.nll == pytest.approx(sum(slow_nll(model, piece) for piece in pieces), rel=1e-5)
