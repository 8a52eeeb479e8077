from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ulmfit.cli import main
from ulmfit.config.artefact import Member, OnnxPrecision, Storage, Task
from ulmfit.config.conversions import ConvertConfig, JoinConfig
from ulmfit.config.model import ClassifierHeadConfig, Dropout, EncoderConfig
from ulmfit.config.text import TokenizerConfig
from ulmfit.data.documents import in_order
from ulmfit.errors import ArtefactError, ConfigError
from ulmfit.interop.convert import convert
from ulmfit.interop.onnx import OPSET, member_graph
from ulmfit.models.folder import _render as render
from ulmfit.models.loading import load_classifier
from ulmfit.models.networks import ClassifierNetwork
from ulmfit.models.onnx_classifier import AFTER, OnnxClassifier, initial_state
from ulmfit.models.reading import encode_documents
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.nn.awd_lstm import LSTMLayer
from ulmfit.stages.join import join
from ulmfit.text.tokenizer import Tokenizer
from ulmfit.text.types import Text

SINGLE = Task(labels=("a", "b", "나쁨"), temperature=0.7)
SEVERAL = Task(kind="multi_label", labels=("a", "b", "c"), thresholds=(0.2, 0.5, 0.8))
NUMBER = Task(kind="number", range=(-2.0, 5.0))
STORAGES: tuple[Storage, ...] = ("float32", "float16", "int8")
TEXTS: list[Text] = [
    "",
    "one two three",
    ("two", "columns"),
    "영화가 정말 재미있었어요",
    "long words here " * 90,
    *(f"text number {i} " * (i % 9) for i in range(24)),
]
BPTT = 7
ROOT = Path(__file__).resolve().parents[2]
HEAD = ClassifierHeadConfig(hidden_sizes=(6, 5))

Convert = Callable[..., OnnxClassifier]


def made(task: Task) -> TextClassifier:
    """Random weights, large enough for answers that differ."""
    tokenizer = Tokenizer.train(["some words to learn, here and there"] * 9, TokenizerConfig())
    shape = EncoderConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=6, hidden_size=8, layers=3
    )
    members = []
    for seed, member in enumerate(
        (
            Member(direction="forward", prefix="forward"),
            Member(direction="backward", prefix="backward", weight=3.0),
            Member(direction="backward", prefix="backward_2", begin_mark="last"),
        )
    ):
        torch.manual_seed(seed)
        network = ClassifierNetwork(shape, Dropout(), HEAD, task.outputs)
        network.encoder.embedding.weight.data.mul_(20)
        documents = in_order(tokenizer.encode_batch(TEXTS), member)
        pooled = torch.from_numpy(encode_documents(network.encoder, documents))
        for _ in range(40):
            network.head.train()(pooled)  # the batch norm learns what outputs are like
        for name, parameter in network.head.named_parameters():
            parameter.data.mul_(2 if name.endswith("2.weight") else 1)
        members.append(ClassifierMember(member, network))
    return TextClassifier(members, tokenizer, task, head=HEAD, bptt=BPTT)


@pytest.fixture
def converted(tmp_path: Path) -> Convert:
    def converted(
        model: TextClassifier,
        storage: Storage = "float32",
        precision: OnnxPrecision = "float32",
    ) -> OnnxClassifier:
        model.save_pretrained(tmp_path / "model")
        to = ConvertConfig(
            sources=(str(tmp_path / "model"),), output=str(tmp_path / "onnx"), to="onnx",
            storage=storage, precision=precision,
        )  # fmt: skip
        return OnnxClassifier.from_pretrained(convert(to))

    return converted


# The same answers


@pytest.mark.parametrize("task", [SINGLE, SEVERAL, NUMBER], ids=lambda task: task.kind)
@pytest.mark.parametrize("storage", STORAGES)
def test_the_answers_are_those_of_the_same_weights(
    converted: Convert, tmp_path: Path, task: Task, storage: Storage
) -> None:
    model = made(task)
    model.save_pretrained(tmp_path / storage, storage=storage)
    stored = TextClassifier.from_pretrained(tmp_path / storage)
    found = converted(model, storage)
    expected = stored.predict_proba(TEXTS)
    assert len(np.unique(expected[:, 0].round(2))) > 5
    atol = 1e-5 * (1.0 if task.range is None else task.range[1] - task.range[0])
    np.testing.assert_allclose(found.predict_proba(TEXTS), expected, atol=atol, rtol=0)
    for own, other in zip(
        found.member_probabilities(TEXTS), stored.member_probabilities(TEXTS), strict=True
    ):
        np.testing.assert_allclose(own, other, atol=atol, rtol=0)
    clear = [i for i, row in enumerate(expected) if _is_clear(task, row)]
    assert len(clear) > 20
    decided = found.predict(TEXTS)
    for i in clear:
        assert decided[i] == pytest.approx(stored.predict(TEXTS)[i], abs=1e-4)
    assert (found.labels, found.task) == (model.labels, task)


def _is_clear(task: Task, row: np.ndarray) -> bool:
    """Tell whether rounding cannot change what is decided."""
    if task.kind == "multi_label":
        return bool(np.all(np.abs(row - np.array(task.thresholds)) > 1e-3))
    return task.kind == "number" or float(np.diff(np.sort(row))[-1]) > 1e-3


@pytest.mark.parametrize("chunk_tokens", [1, 40])
def test_a_prediction_depends_on_its_text_alone(
    converted: Convert, monkeypatch: pytest.MonkeyPatch, chunk_tokens: int
) -> None:
    monkeypatch.setattr("ulmfit.models.onnx_classifier.CHUNK_TOKENS", chunk_tokens)
    model = converted(made(SINGLE))
    alone = np.concatenate([model.predict_proba([text]) for text in TEXTS])
    for seed, token_budget in enumerate((1, 300, 10**9)):
        order = np.random.default_rng(seed).permutation(len(TEXTS))
        found = model.predict_proba([TEXTS[i] for i in order], token_budget=token_budget)
        np.testing.assert_allclose(found, alone[order], atol=1e-5, rtol=0)
    assert model.predict_proba([]).shape == (0, 3)


@pytest.mark.parametrize("cuts", [[], [1], [5, 6, 30], list(range(1, 41))])
def test_reading_in_pieces_is_reading_at_once(cuts: list[int]) -> None:
    """What a program of another language does, without this package."""
    model = made(SINGLE)
    member = model.members[1]
    graph = member_graph(member.network, SINGLE, "float32")
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ids = np.random.default_rng(0).integers(4, model.tokenizer.vocab_size, (2, 41))
    lengths = np.array([41, 38])  # the second ends in padding
    state = {
        name: np.full((2, *part.shape[1:]), -np.inf if name == "maximum" else 0, part.dtype)
        for name, part in initial_state(session).items()
    }
    names = [output.name for output in session.get_outputs()]
    for begin, end in zip([0, *cuts], [*cuts, 41], strict=True):
        given = {"ids": ids[:, begin:end], "lengths": np.clip(lengths - begin, 0, end - begin)}
        values = dict(zip(names, session.run(None, {**given, **state}), strict=True))
        state = {name: values[name + AFTER] for name in state}
    documents = [row[:length] for row, length in zip(ids, lengths, strict=True)]
    read = in_order(documents, Member(direction="forward", prefix="forward"))
    forward = TextClassifier(
        [ClassifierMember(Member(direction="forward", prefix="forward"), member.network)],
        model.tokenizer, Task(labels=SINGLE.labels), head=HEAD, bptt=BPTT,
    )  # fmt: skip
    np.testing.assert_allclose(values["answers"], forward.answers_of(read), atol=1e-5, rtol=0)
    np.testing.assert_array_equal(values["count_after"], lengths)


# Whole numbers


def test_products_of_whole_numbers_are_what_they_are_said_to_be() -> None:
    """The LSTMs written out: activations of 8 bits with a scale a call, weights of 7 a row."""
    model = made(SINGLE)
    encoder = model.members[0].network.encoder
    ids = np.random.default_rng(0).integers(4, model.tokenizer.vocab_size, (3, 23))
    graph = member_graph(model.members[0].network, SINGLE, precision="int8")
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    state = {
        name: np.full((3, *part.shape[1:]), -np.inf if name == "maximum" else 0, part.dtype)
        for name, part in initial_state(session).items()
    }
    names = [output.name for output in session.get_outputs()]
    given = {"ids": ids, "lengths": np.full(3, 23), **state}
    values = dict(zip(names, session.run(None, given), strict=True))

    outputs = encoder.embedding.weight.detach()[ids].double()
    for number, layer in enumerate(encoder.layers):
        assert isinstance(layer, LSTMLayer)
        weights = [rounded(each.detach()) for each in (layer.weight_ih, layer.weight_hh)]
        bias = (layer.bias_ih + layer.bias_hh).detach().double()
        from_inputs = in_eight_bits(outputs) @ weights[0].T + bias
        hidden = cell = torch.zeros(3, layer.size, dtype=torch.float64)
        steps = []
        for time in range(23):
            gates = from_inputs[:, time] + in_eight_bits(hidden) @ weights[1].T
            i, f, g, o = gates.chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            steps.append(hidden)
        outputs = torch.stack(steps, 1)
        # A rounding that falls the other way moves a value by a 255th of the largest.
        for value, name in ((hidden, f"hidden_{number}"), (cell, f"cell_{number}")):
            assert np.abs(values[name + AFTER] - value.numpy()).max() < 0.003
    assert np.abs(values["total_after"] - outputs.sum(1).numpy()).mean() < 0.02


def in_eight_bits(values: torch.Tensor) -> torch.Tensor:
    """Round to 255 steps between the smallest and the largest, 0 among them."""
    low, high = values.min().clamp(max=0), values.max().clamp(min=0)
    scale = torch.where(high > low, (high - low) / 255, 1.0)
    zero = (-low / scale).round()
    return (((values / scale).round() + zero).clamp(0, 255) - zero) * scale


def rounded(weight: torch.Tensor) -> torch.Tensor:
    scale = weight.double().abs().amax(1, keepdim=True) / 63
    return (weight / scale).round() * scale


@pytest.mark.parametrize("task", [SINGLE, SEVERAL, NUMBER], ids=lambda task: task.kind)
def test_whole_numbers_answer_nearly_the_same(converted: Convert, task: Task) -> None:
    model = made(task)
    found = converted(model, "int8", "int8")
    width = 1.0 if task.range is None else task.range[1] - task.range[0]
    apart = np.abs(found.predict_proba(TEXTS) - model.predict_proba(TEXTS)) / width
    assert 0 < apart.max() < 0.05 and apart.mean() < 0.01


def test_what_neighbours_move_in_whole_numbers_and_how_not(converted: Convert) -> None:
    model = converted(made(SINGLE), "float32", "int8")
    alone = np.concatenate([model.predict_proba([text]) for text in TEXTS])
    moved = np.abs(model.predict_proba(TEXTS) - alone).max()
    assert 1e-5 < moved < 0.02
    np.testing.assert_array_equal(model.predict_proba(TEXTS, token_budget=1), alone)


def test_whole_numbers_are_of_onnx_alone() -> None:
    with pytest.raises(ConfigError, match=r"'precision': found 'int8', which is of ONNX; leave it"):
        convert(ConvertConfig(sources=("a.pth",), output="out", precision="int8"))


# The graph


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("storage", STORAGES)
def test_the_graph_is_valid_and_its_axes_are_free(
    storage: Storage, precision: OnnxPrecision
) -> None:
    graph = member_graph(made(SINGLE).members[0].network, SINGLE, storage, precision)
    onnx.checker.check_model(graph, full_check=True)
    domains = ["", "com.microsoft"] if precision == "int8" else [""]
    assert [opset.domain for opset in graph.opset_import] == domains
    assert graph.opset_import[0].version == OPSET
    axes = {each.name: [d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim]
            for each in (*graph.graph.input, *graph.graph.output)}  # fmt: skip
    assert axes["ids"] == ["batch", "time"] and axes["answers"] == ["batch", 3]
    assert axes["hidden_0"] == axes["cell_0_after"] == ["batch", 8]


def test_weights_take_the_room_that_they_are_stored_in() -> None:
    torch.manual_seed(0)
    shape = EncoderConfig(vocab_size=500, embedding_size=64, hidden_size=96, layers=2)
    network = ClassifierNetwork(shape, Dropout(), HEAD, 3)
    sizes = [len(member_graph(network, SINGLE, each).SerializeToString()) for each in STORAGES]
    assert sizes[1] < 0.6 * sizes[0] and sizes[2] < 0.35 * sizes[0]


# The folder


def test_the_command_line_reads_either_alike(
    converted: Convert, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converted(made(SINGLE))
    data = tmp_path / "in.csv"
    data.write_text("text,label\none two,a\nthree,b\nmore words here,나쁨\n")
    answers, measures = [], []
    for name in ("model", "onnx"):
        output, results = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.json"
        model = ["--model", str(tmp_path / name), "--data", str(data)]
        assert main(["predict", *model, "--output", str(output)]) == 0
        assert main(["evaluate", *model, "--output", str(results)]) == 0
        rows = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
        answers.append([list(row["probabilities"].values()) for row in rows])
        measures.append(json.loads(results.read_text("utf-8")))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)
    assert measures[0]["loss"] == pytest.approx(measures[1]["loss"], abs=1e-4)
    capsys.readouterr()
    assert main(["inspect", "--model", str(tmp_path / "onnx")]) == 0
    shown = capsys.readouterr().out
    assert "onnx classifier, format version 1, whole" in shown
    assert "backward, computed by backward_2.onnx, weight 1, begin mark last" in shown


def predict_without(absent: set[str], *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run `ulmfit predict` where some packages are not installed."""
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] in sys.argv[1].split():\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from ulmfit.cli import main\n"
        "sys.exit(main(['predict', '--model', sys.argv[2], '--data', sys.argv[3]]))"
    )
    command = [sys.executable, "-c", code, " ".join(absent), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def test_it_needs_what_the_guide_installs(converted: Convert, tmp_path: Path) -> None:
    model = converted(made(SINGLE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    guide = (ROOT / "docs" / "how-to.md").read_text("utf-8")
    (installed,) = re.findall(r"^pip install (filelock .*)$", guide, re.M)
    names = {re.split(r"[<>=\[]", name)[0].replace("scikit-learn", "sklearn") for name in named}
    absent = names - {re.split("<", name.strip('"'))[0] for name in installed.split()}
    assert {"torch", "onnx", "sklearn", "rich"} <= absent and "onnxruntime" not in absent
    data = tmp_path / "in.txt"
    data.write_text("one two three\n")
    done = predict_without(absent, tmp_path / "onnx", data)
    assert done.returncode == 0, done.stderr
    row = done.stdout.splitlines()[1].split(",")
    assert row[1] == model.predict(["one two three"])[0]
    done = predict_without(absent, tmp_path / "onnnx", data)
    assert done.returncode == 4 and "no such model folder" in done.stderr
    done = predict_without(absent, Path("models/none"), data)
    assert done.returncode == 4 and "the hub cannot be asked without the package" in done.stderr
    done = predict_without(absent, Path("wikipedia-en-small"), data)
    assert done.returncode == 2 and "needs the package 'torch', which is not" in done.stderr
    done = predict_without(absent, tmp_path / "model", data)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"ulmfit: error: {tmp_path / 'model'}: needs PyTorch, which is not installed; install it "
        "or, where it is, convert the classifier with `ulmfit convert --to onnx`\n"
    )


def test_the_record_stays_and_the_card_tells_the_use(converted: Convert, tmp_path: Path) -> None:
    model = made(SINGLE)
    model.run["train"] = {"settings": {"reading": {"text_columns": ["a", "b"]}}}
    assert converted(model, "int8").text_columns == 2
    card = (tmp_path / "onnx" / "README.md").read_text("utf-8")
    assert "# ULMFiT onnx classifier" in card and "OnnxClassifier.from_pretrained" in card
    assert "matrices stored as int8" in card
    assert "the classifier model" in card


def test_the_card_tells_of_lstms_in_whole_numbers(converted: Convert, tmp_path: Path) -> None:
    converted(made(SINGLE), "float32", "int8")
    card = (tmp_path / "onnx" / "README.md").read_text("utf-8")
    assert "matrices stored as float32, those of the LSTMs as int8" in card


# What cannot be


def test_what_is_there_is_replaced_only_when_asked(converted: Convert, tmp_path: Path) -> None:
    converted(made(SINGLE))
    again = ConvertConfig(
        sources=(str(tmp_path / "model"),), output=str(tmp_path / "onnx"), to="onnx"
    )
    with pytest.raises(ArtefactError, match=r"onnx: exists already; choose another output"):
        convert(again)
    (tmp_path / "onnx" / "README.md").write_text("mine")
    assert main(["convert", str(tmp_path / "model"), "--to", "onnx", "--overwrite",
                 "--output", str(tmp_path / "onnx")]) == 0  # fmt: skip
    assert "mine" not in (tmp_path / "onnx" / "README.md").read_text("utf-8")


def test_a_language_model_is_refused(tmp_path: Path) -> None:
    to = ConvertConfig(sources=("wikipedia-en-small",), output=str(tmp_path / "onnx"), to="onnx")
    with pytest.raises(ArtefactError, match=r"holds a language_model, not a text classifier$"):
        convert(to)
    with pytest.raises(ConfigError, match=r"give one model folder to convert to onnx$"):
        convert(ConvertConfig(sources=("a", "b"), output="c", to="onnx"))
    assert not (tmp_path / "onnx").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"device": "cuda"}, "'device': found 'cuda', but .*onnx is in ONNX, .* with 'cpu' here$"),
        ({"precision": "bfloat16"}, "'precision': found 'bfloat16', .* with 'float32' here$"),
    ],
)
def test_what_it_cannot_compute_with_is_named(
    converted: Convert, tmp_path: Path, setting: dict[str, Any], message: str
) -> None:
    converted(made(SINGLE))
    with pytest.raises(ConfigError, match=message):
        load_classifier(str(tmp_path / "onnx"), **setting)


def test_one_kind_is_not_taken_for_the_other(converted: Convert, tmp_path: Path) -> None:
    converted(made(SINGLE))
    with pytest.raises(ArtefactError, match=r"onnx: a classifier in ONNX, which can only be asked"):
        TextClassifier.from_pretrained(tmp_path / "onnx")
    to_join = JoinConfig(models=(str(tmp_path / "model"), str(tmp_path / "onnx")), output="both")
    with pytest.raises(ArtefactError, match=r"onnx: holds a onnx_classifier; join language models"):
        join(to_join)
    with pytest.raises(
        ArtefactError, match=r"holds a text_classifier, not a classifier in ONNX; `"
    ):
        OnnxClassifier.from_pretrained(tmp_path / "model")


def test_a_damaged_graph_is_named(converted: Convert, tmp_path: Path) -> None:
    converted(made(SINGLE))
    graph = tmp_path / "onnx" / "backward.onnx"
    graph.write_bytes(graph.read_bytes()[:-9])
    with pytest.raises(ArtefactError, match=r"backward\.onnx: truncated or altered: "):
        OnnxClassifier.from_pretrained(tmp_path / "onnx")
    graph.unlink()
    with pytest.raises(ArtefactError, match=r"backward\.onnx: missing"):
        OnnxClassifier.from_pretrained(tmp_path / "onnx")


def test_a_graph_of_other_outputs_is_named(converted: Convert, tmp_path: Path) -> None:
    """As in a folder put together by hand; every hash is right."""
    converted(made(SINGLE))
    folder = tmp_path / "onnx"
    graph = member_graph(made(NUMBER).members[0].network, NUMBER, "float32").SerializeToString()
    (folder / "forward.onnx").write_bytes(graph)
    edit(folder, record=("forward.onnx", graph))
    with pytest.raises(ArtefactError, match=r"forward\.onnx: .* \[batch, 3\] are expected"):
        OnnxClassifier.from_pretrained(folder)
    (folder / "forward.onnx").write_bytes(b"garbage")
    edit(folder, record=("forward.onnx", b"garbage"))
    with pytest.raises(ArtefactError, match=r"cannot load it: .*; convert the classifier again$"):
        OnnxClassifier.from_pretrained(folder)


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("forward_9", r"no valid record of the file 'forward_9\.onnx'"),
        ("../model/other", r"'members\.0\.prefix': found '\.\./model/other'"),
    ],
)
def test_a_graph_that_is_not_on_record_is_refused(
    converted: Convert, tmp_path: Path, prefix: str, message: str
) -> None:
    converted(made(SINGLE))
    graph = (tmp_path / "onnx" / "forward.onnx").read_bytes()
    (tmp_path / "onnx" / f"{prefix}.onnx").write_bytes(graph)
    edit(tmp_path / "onnx", prefix=prefix)
    with pytest.raises(ArtefactError, match=message):
        OnnxClassifier.from_pretrained(tmp_path / "onnx")


def edit(
    folder: Path, *, record: tuple[str, bytes] | None = None, prefix: str | None = None
) -> None:
    """Rewrite `config.json`, its hash too: another record of a file, or the first member's name."""
    values = json.loads((folder / "config.json").read_text("utf-8"))
    if record is not None:
        name, content = record
        digest = hashlib.sha256(content).hexdigest()
        values["files"][name] = {"bytes": len(content), "sha256": digest}
    if prefix is not None:
        values["members"][0]["prefix"] = prefix
    (folder / "config.json").write_bytes(render(values))


def test_a_weight_too_large_for_float16_is_refused(tmp_path: Path) -> None:
    model = made(SINGLE)
    model.members[0].network.encoder.embedding.weight.data[5, 0] = 70_000.0
    model.save_pretrained(tmp_path / "model")
    to = ConvertConfig(
        sources=(str(tmp_path / "model"),), output=str(tmp_path / "onnx"), to="onnx",
        storage="float16",
    )  # fmt: skip
    with pytest.raises(ArtefactError, match=r"'embedding': 70000 is above 65504, .* as float32$"):
        convert(to)


def test_a_classifier_is_not_replaced_by_its_own_conversion(tmp_path: Path) -> None:
    made(SINGLE).save_pretrained(tmp_path / "model")
    folder = str(tmp_path / "model")
    to = ConvertConfig(sources=(folder,), output=f"{folder}/.", to="onnx", overwrite=True)
    with pytest.raises(ConfigError, match=r"'output': .* is the classifier itself; choose another"):
        convert(to)
    assert load_classifier(folder).labels == SINGLE.labels


@pytest.mark.parametrize("to", ["onnx", "fastai-2"])
@pytest.mark.parametrize(
    "setting", [{"labels": ("x", "y", "z")}, {"vocab": "words.txt"}, {"direction": "backward"}]
)
def test_what_a_folder_tells_itself_is_not_asked_for(to: Any, setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(ConfigError, match=f"'{name}': found .*, but a model folder tells that its"):
        convert(ConvertConfig(sources=("model",), output="out", to=to, **setting))


@pytest.mark.parametrize("absent", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named(
    converted: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    converted(made(SINGLE))
    monkeypatch.setitem(sys.modules, absent, None)
    monkeypatch.delitem(sys.modules, "ulmfit.interop.onnx")
    if absent == "onnx":
        to = ConvertConfig(sources=(str(tmp_path / "model"),), output="c", to="onnx")
        with pytest.raises(ConfigError, match="needs the package onnx; pip install onnx"):
            convert(to)
    else:
        with pytest.raises(ConfigError, match=r"onnx: a classifier in ONNX needs ONNX Runtime"):
            OnnxClassifier.from_pretrained(tmp_path / "onnx")
