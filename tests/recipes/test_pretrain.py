"""Stage 1 and the tokenizer's stage, whole, on a little text and tiny networks."""

from __future__ import annotations

import io
import json
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ulmfit.config.artefact import Member
from ulmfit.config.data import LanesConfig, ReadingConfig
from ulmfit.config.model import PRESETS, Direction, Dropout, EncoderConfig
from ulmfit.config.stages import (
    PretrainConfig,
    RegularizationConfig,
    TokenizerStageConfig,
    directions_of,
)
from ulmfit.config.text import TokenizerConfig
from ulmfit.config.training import OptimizerConfig, TrainingConfig
from ulmfit.data.token_store import fingerprint_texts, open_or_build
from ulmfit.errors import ArtefactError, ConfigError, DataError
from ulmfit.models.folder import read_config
from ulmfit.models.language_model import LanguageModel
from ulmfit.models.networks import LanguageModelNetwork
from ulmfit.stages import pretrain as pretraining
from ulmfit.stages.language_modelling import LanguageModelTask, evaluate_language_model
from ulmfit.stages.pretrain import pretrain
from ulmfit.stages.run_folder import RunFolder
from ulmfit.stages.standard_input import with_standard_input
from ulmfit.stages.tokenizer import train_tokenizer
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.training import device

TRAINING = TrainingConfig(
    epochs=2.0,
    batch_size=8,
    optimizer=OptimizerConfig(learning_rate=2e-2, discriminative_factor=1.0),
    precision="float32",
    threads=1,
)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Documents in which each word tells what may come next."""
    rng = np.random.default_rng(seed)
    words = ["the", "old", "cat", "of", "a", "king", "sat", "on", "his", "throne", "and", "slept"]
    documents = []
    for _ in range(count):
        places = np.cumsum(rng.choice([1, 1, 1, 2], rng.integers(4, 20))) % len(words)
        documents.append(" ".join(words[place] for place in places))
    return documents


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "texts" / "wiki.txt"
    path.parent.mkdir()
    path.write_text("\n".join(sentences(200)) + "\n")
    return path


def brief(epochs: float = 0.2, **settings: Any) -> TrainingConfig:
    return TrainingConfig(epochs=epochs, batch_size=8, threads=1, **settings)


def config(text: Path | str, **settings: Any) -> PretrainConfig:
    folder = Path(text).parents[1]
    given = {
        "texts": (str(text),),
        "output": str(folder / "model"),
        "cache": str(folder / "cache"),
        "tokenizer": TokenizerConfig(vocab_size=300),
        "embedding_size": 8,
        "hidden_size": 16,
        "layers": 2,
        "lanes": LanesConfig(bptt=20),
        "training": TRAINING,
        **settings,
    }
    return PretrainConfig(**given)


def results(folder: Path, direction: Direction = "forward") -> dict[str, Any]:
    found: dict[str, Any] = read_config(folder).run["pretrain"]["results"][direction]
    return found


def test_both_directions_learn_and_are_one_folder(text: Path) -> None:
    folder = pretrain(config(text, directions="both"), quiet=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    record = read_config(folder)
    assert [member.direction for member in record.members] == ["forward", "backward"]
    assert record.encoder is not None and record.encoder.layers == 2 and record.bptt == 20
    random = LanguageModelNetwork(record.encoder, Dropout())
    for direction in ("forward", "backward"):
        model = LanguageModel.from_pretrained(folder, direction=direction)
        known = model.perplexity(sentences(30, seed=1)).mean()
        assert known < 40
        model.network.load_state_dict(random.state_dict())
        assert known < 0.2 * model.perplexity(sentences(30, seed=1)).mean()
        losses = [entry["loss"] for entry in results(folder, direction)["history"]]
        assert losses[-1] < losses[0]
    beside = {path.name for path in folder.parent.glob("model.*")}
    assert beside == {"model.log.jsonl", "model.curves.png"}


def test_the_record_tells_what_was_done_and_no_paths(text: Path) -> None:
    folder = pretrain(config(text), quiet=True)
    run = read_config(folder).run["pretrain"]
    assert run["settings"]["texts"] == ["wiki.txt"] and run["settings"]["hidden_size"] == 16
    assert run["resolved"] == {"precision": "float32", "device": "cpu", "processes": 1}
    training, held_out = run["data"]
    assert training.startswith("training: wiki.txt: 198 documents, ")
    assert held_out.startswith("validation: held out: 2 documents, ")
    for name in ("config.json", "README.md"):
        assert str(text.parent.parent) not in (folder / name).read_text()


def test_the_results_are_those_of_the_weights_that_are_kept(text: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "texts" / "held-out.txt"
    documents = sentences(40, seed=2)
    held_out.write_text("\n".join(documents))
    training = brief(6.0, optimizer=OptimizerConfig(learning_rate=0.3))
    folder = pretrain(config(text, validation=str(held_out), training=training), quiet=True)
    found = results(folder)
    losses = [entry["loss"] for entry in found["history"]]
    assert len(losses) == 6 and found["loss"] == min(losses)
    model = LanguageModel.from_pretrained(folder)
    store = open_or_build(
        lambda: documents, fingerprint_texts(documents), model.tokenizer, tmp_path / "other"
    )
    total = evaluate_language_model(model.network, model.member, 20, store)
    assert found["loss"] == pytest.approx(total.loss, rel=1e-6)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["bits_per_byte"] == pytest.approx(
        total.nll / math.log(2) / sum(map(len, documents)), rel=1e-6
    )


def test_a_shape_of_ones_own_stands_in_for_the_presets(
    text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "small", (6, 10, 3))
    settings = {"embedding_size": None, "layers": None, "hidden_size": 7}
    encoder = read_config(pretrain(config(text, **settings), quiet=True)).encoder
    assert encoder is not None
    assert (encoder.embedding_size, encoder.hidden_size, encoder.layers) == (6, 7, 3)


@pytest.mark.filterwarnings("ignore:TF32")
def test_bfloat16_on_the_cpu_gives_a_finite_loss(
    text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor without bfloat16 stands in for one that has it, with PyTorch's own LSTM."""
    has_it = device._processor_has_bfloat16()
    monkeypatch.setattr(device, "_processor_has_bfloat16", lambda: True)
    training = brief(1.0, precision="bfloat16")
    with nullcontext() if has_it else torch.backends.mkldnn.flags(enabled=False):
        folder = pretrain(config(text, training=training), quiet=True)
    found = results(folder)
    assert found["skipped_steps"] == 0 and found["loss"] < math.log(300)
    assert read_config(folder).run["pretrain"]["resolved"]["precision"] == "bfloat16"
    tensors = load_file(folder / "model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    assert all(t.isfinite().all() for t in tensors.values())


def test_of_much_text_no_more_than_so_many_documents_are_held_out(
    text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "HELD_OUT_AT_MOST", 1)
    given = config(text)
    held_in, held_out = list(pretraining._held_in(given)), list(pretraining._held_out(given))
    lines = text.read_text().splitlines()
    assert held_out == lines[:1] and held_in == lines[1:]
    monkeypatch.setattr(pretraining, "HELD_OUT_AT_MOST", 1_000)
    held_in, held_out = list(pretraining._held_in(given)), list(pretraining._held_out(given))
    assert held_out == [lines[0], lines[100]] and held_in == [*lines[1:100], *lines[101:]]


def test_training_begins_with_what_counts_tell(text: Path) -> None:
    still = brief(optimizer=OptimizerConfig(learning_rate=1e-12, discriminative_factor=1.0))
    shares = {}
    for weights in ("counts", "random"):
        settings = {"initial_weights": weights, "directions": "both", "overwrite": True}
        folder = pretrain(config(text, training=still, **settings), quiet=True)
        forward, backward = (
            LanguageModel.from_pretrained(folder, direction=way) for way in directions_of("both")
        )
        shares[weights] = forward.network.head.bias.detach().exp()
        same = torch.equal(
            forward.network.encoder.embedding.weight, backward.network.encoder.embedding.weight
        )
        assert same  # of the same seed, or counted once
    torch.testing.assert_close(shares["counts"].sum(), torch.tensor(1.0))
    assert (shares["random"] == 1.0).all()
    ids = np.concatenate(forward.tokenizer.encode_batch(sentences(200)))
    king = forward.tokenizer.id_of(" king")
    assert king is not None
    share = (int((ids == king).sum()) + 1) / (len(ids) + forward.tokenizer.vocab_size)
    assert float(shares["counts"][king]) == pytest.approx(share, rel=0.05)


def test_a_softmax_over_a_sample_learns_and_is_measured_over_all(text: Path) -> None:
    folder = pretrain(config(text, sampled_words=40), quiet=True)
    found = results(folder)
    model = LanguageModel.from_pretrained(folder)
    assert model.perplexity(sentences(30, seed=1)).mean() < 40
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"])) and found["loss"] > 0


def test_another_seed_is_another_model(text: Path, tmp_path: Path) -> None:
    models = []
    for seed in (0, 1):
        training = brief(0.5, seed=seed)
        output = str(tmp_path / f"model-{seed}")
        folder = pretrain(config(text, training=training, output=output), quiet=True)
        models.append(load_file(folder / "model.safetensors"))
    name = "forward.encoder.layers.0.weight_hh"
    assert not torch.equal(models[0][name], models[1][name])


def test_a_tokenizer_of_its_own_is_shared(text: Path, tmp_path: Path) -> None:
    """Its second use builds no new token files."""
    folder = train_tokenizer(
        TokenizerStageConfig(
            texts=(str(text),),
            output=str(tmp_path / "tokenizer"),
            tokenizer=TokenizerConfig(vocab_size=310),
        ),
        quiet=True,
    )
    record = read_config(folder)
    assert record.kind == "tokenizer" and record.run["tokenizer"]["data"] == ["wiki.txt"]
    stored = (folder / "tokenizer.json").read_bytes()
    for output in ("first", "second"):
        settings = {"tokenizer_folder": str(folder), "output": str(tmp_path / output)}
        model = pretrain(config(text, training=brief(), **settings), quiet=True)
        assert (model / "tokenizer.json").read_bytes() == stored
        assert len([p for p in (tmp_path / "cache").iterdir() if p.is_dir()]) == 2
    with pytest.raises(ArtefactError, match="holds a tokenizer, not a language model"):
        LanguageModel.from_pretrained(folder)


def test_patterns_of_files_are_expanded(text: Path) -> None:
    (text.parent / "more.txt").write_text("\n".join(sentences(50, seed=3)))
    (text.parent / "not-this.md").write_bytes(b"\xff")
    folder = pretrain(config(text.parent / "*.txt", training=brief()), quiet=True)
    assert "247 documents" in read_config(folder).run["pretrain"]["data"][0]


def test_a_backward_model_may_have_its_begin_mark_last(text: Path) -> None:
    settings = {"directions": "backward", "begin_mark": "last", "training": brief(0.5)}
    model = LanguageModel.from_pretrained(pretrain(config(text, **settings), quiet=True))
    assert (model.member.direction, model.member.begin_mark) == ("backward", "last")
    assert np.isfinite(model.perplexity(["the old cat"])).all()


# What is wrong with the text


def test_text_that_is_not_unicode_is_replaced_and_told_once(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": document} for document in sentences(150)]
    rows[3]["text"] += " \ud800"
    rows[100]["text"] += " \udfff"
    path = text.parent / "wiki.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pretrain(config(path, training=brief()))
    told = [line for line in capsys.readouterr().err.splitlines() if "Unicode" in line]
    assert told == [
        f"warning: 2 documents not valid Unicode, replaced by U+FFFD; the first: {path}, row 4"
    ]
    strict = config(path, training=brief(), reading=ReadingConfig(strict=True), overwrite=True)
    with pytest.raises(DataError, match="row 4: not valid Unicode: lone surrogate U\\+D800"):
        pretrain(strict, quiet=True)


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (None, {}, "cannot read|no such file"),
        ("", {}, "wiki"),
        ("one\ntwo\n", {}, "batch_size"),
        ("one\n", {}, "a single document, which is held out"),
        ("one\n", {"training": TrainingConfig(precision="float16")}, "float16 needs a GPU"),
    ],
    ids=["missing", "empty", "little", "single", "precision"],
)
def test_what_cannot_work_leaves_nothing_behind(
    tmp_path: Path, content: str | None, settings: dict[str, Any], message: str
) -> None:
    path = tmp_path / "texts" / "wiki.txt"
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
    with pytest.raises((DataError, ConfigError), match=message):
        pretrain(config(path, **settings), quiet=True)
    assert {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")} <= {"texts", "cache"}


# The task


def test_the_state_is_carried_within_an_epoch_without_its_graph(tmp_path: Path) -> None:
    documents = sentences(60)
    tokenizer = Tokenizer.train(documents, TokenizerConfig(vocab_size=300))
    store = open_or_build(lambda: documents, "60", tokenizer, tmp_path)
    shape = EncoderConfig(vocab_size=tokenizer.vocab_size, embedding_size=8, hidden_size=12)
    network = LanguageModelNetwork(shape, Dropout())
    lanes, member = LanesConfig(bptt=10), Member(direction="forward", prefix="forward")
    penalties = RegularizationConfig()
    task = LanguageModelTask(network, member, lanes, penalties, 4, 0, (store, None), None)
    assert task.carried() == {} and task.evaluate() == {}
    windows = list(task.batches(0, 0))
    assert len(windows) == task.batch_count(0)
    network.eval()
    task.loss(windows[0])
    first = {name: tensor.clone() for name, tensor in task.carried().items()}
    assert all(not t.requires_grad for t in first.values()) and len(first) == 6
    with_state = task.loss(windows[1])
    task.carry(first)
    assert torch.equal(task.loss(windows[1]).loss, with_state.loss)
    task.carry({})
    assert not torch.equal(task.loss(windows[1]).loss, with_state.loss)
    task.loss(windows[0])
    for name, tensor in task.carried().items():
        torch.testing.assert_close(tensor, first[name], msg="an epoch begins with a fresh state")


# Standard input


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Let standard input hold `content`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_standard_input_is_a_file_of_text(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "preset": "small",
        "embedding_size": 8,
        "hidden_size": 8,
        "layers": 1,
        "directions": "forward",
        "tokenizer": TokenizerConfig(vocab_size=300),
        "training": brief(),
    }
    weights = []
    feed(monkeypatch, text.read_bytes())
    for name, source in (("file", str(text)), ("stream", "-")):
        config = PretrainConfig(
            texts=(source,), output=str(tmp_path / name), cache=str(tmp_path / "cache"), **settings
        )
        weights.append(load_file(pretrain(config, quiet=True) / "model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert "standard-input.txt" in read_config(tmp_path / "stream").run["pretrain"]["data"][0]
    assert not (tmp_path / "stream.run").exists()


def test_closed_standard_input_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(DataError, match=r"standard input: closed; give text, or files"):
        pretrain(PretrainConfig(texts=("-",), output=str(tmp_path / "model")), quiet=True)


def test_a_validation_text_that_cannot_be_measured_is_refused_at_once(
    text: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").write_text('{"text": ""}\n')
    config = PretrainConfig(
        texts=(str(text),),
        validation=str(tmp_path / "empty.jsonl"),
        output=str(tmp_path / "model"),
        cache=str(tmp_path / "cache"),
        tokenizer=TokenizerConfig(vocab_size=300),
        training=brief(),
    )
    with pytest.raises(DataError, match=r"the validation text has 1 tokens"):
        pretrain(config, quiet=True)
    assert not (tmp_path / "model.run").exists()


def test_a_resumed_run_has_its_standard_input_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PretrainConfig(output=str(tmp_path / "model"), texts=("a.txt", "-"))
    feed(monkeypatch, b"some text\n")
    with pytest.raises(KeyboardInterrupt), RunFolder(config, quiet=True) as run:
        first = with_standard_input(run, config.texts)
        run.finish("language_model.forward", {}, {})
        raise KeyboardInterrupt
    feed(monkeypatch, b"")
    with RunFolder(replace(config, resume=True), quiet=True) as run:
        assert with_standard_input(run, config.texts) == first
        assert first[0] == "a.txt" and Path(first[1]).read_bytes() == b"some text\n"
        monkeypatch.setattr("ulmfit.training.processes.count", lambda: 2)
        with pytest.raises(ConfigError, match="'-' is for one process"):
            with_standard_input(run, config.texts)
        monkeypatch.undo()


def test_empty_standard_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b"")
    config = PretrainConfig(texts=("-",), output=str(tmp_path / "model"))
    with pytest.raises(DataError, match=r"standard-input\.txt: the file is empty"):
        pretrain(config, quiet=True)
