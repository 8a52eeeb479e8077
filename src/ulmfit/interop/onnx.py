"""A classifier's members as ONNX graphs, for prediction without PyTorch.

A graph reads a piece of some documents and hands on its state, as the encoder and the pooling do
here (`nn/awd_lstm.py`, `nn/pooling.py`): documents of any length are read in constant memory.

    ids [batch, time], lengths [batch], state  ->  answers [batch, outputs], state after it

`lengths` are the ids of each row that count; only the last piece of a document may be padded. The
answers are those to all that was read so far, before members are averaged. The state has these
parts, each with `_after` behind its name where it comes out; all are 0 at first, `maximum` minus
infinity:

    hidden_N, cell_N        [batch, size], of LSTM layer N
    last, maximum, total    [batch, embedding], of the outputs so far
    count                   [batch], int64: ids read so far
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ulmfit.config.artefact import OnnxPrecision, Storage, Task
from ulmfit.errors import ConfigError
from ulmfit.models.card import card
from ulmfit.models.folder import (
    TOKENIZER,
    Content,
    check_replaceable,
    resolve,
    write_folder,
)
from ulmfit.models.networks import ClassifierNetwork
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.models.weights import as_stored, quantize
from ulmfit.nn.awd_lstm import LSTMLayer

MICROSOFT = "com.microsoft"
"""Operations of ONNX Runtime's own."""

SEVEN_BITS = 63
"""The largest weight that 8-bit products have: two of them times activations of 8 bits fit into 16
bits, in which processors without VNNI add them up."""

OPSET = 17
IR_VERSION = 8
"""Old enough for every runtime of the last years (ONNX 1.12, 2022)."""

GATES = (0, 3, 1, 2)
"""Where ONNX's gates (input, output, forget, cell) stand among PyTorch's."""


class Graph:
    """An ONNX graph that grows node by node; values are called by their names."""

    def __init__(self, storage: Storage, precision: OnnxPrecision) -> None:
        """Store matrices as `storage` says; LSTMs compute in `precision`."""
        self.storage, self.precision = storage, precision
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def input(self, name: str, *shape: str | int, integer: bool = False) -> str:
        """Add an input of float32 numbers, or of int64 ones, and return its name."""
        self.inputs.append(_described(name, shape, integer))
        return name

    def output(self, value: str, name: str, *shape: str | int, integer: bool = False) -> None:
        """Hand `value` out under `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(_described(name, shape, integer))

    def constant(self, values: Any, name: str | None = None) -> str:
        """Add an array, a tensor or a number, and return its name."""
        array = values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values)
        name = name or f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation of one output and return the output's name."""
        return self.add_many(operation, inputs, 1, **attributes)[0]

    def add_many(
        self, operation: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> list[str]:
        """Add an operation of several outputs and return their names."""
        names = [f"{operation.lower()}_{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(operation, list(inputs), names, **attributes))
        return names

    def matrix(self, weight: Tensor, name: str, *, axis: int | None = None) -> str:
        """Add a matrix [rows, columns] as it is stored, and return the name of its float32 values.

        With `axis`, another one of size 1 is put there.
        """
        parts = as_stored(name, weight.detach(), self.storage)
        return self._restored(
            self.constant(part if axis is None else part.unsqueeze(axis), part_name)
            for part_name, part in parts.items()
        )

    def rows(self, weight: Tensor, name: str, ids: str) -> str:
        """Add a matrix as it is stored, and return the name of the rows of it that `ids` say."""
        parts = as_stored(name, weight.detach(), self.storage)
        return self._restored(
            self.add("Gather", self.constant(part, part_name), ids)
            for part_name, part in parts.items()
        )

    def _restored(self, parts: Iterable[str]) -> str:
        """Return the name of the float32 values of what is stored, perhaps with a scale."""
        values, *scale = parts
        if self.storage != "float32":
            values = self.float32(values)
        return self.add("Mul", values, *scale) if scale else values

    def float32(self, value: str) -> str:
        """Return the name of `value` as float32."""
        return self.add("Cast", value, to=TensorProto.FLOAT)

    def model(self, name: str) -> onnx.ModelProto:
        """Return the whole."""
        graph = helper.make_graph(self._nodes, name, self.inputs, self.outputs, self._constants)
        versions = {"": OPSET} | ({MICROSOFT: 1} if self.precision == "int8" else {})
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*each) for each in versions.items()],
            ir_version=IR_VERSION,
            producer_name="ulmfit",
        )


def export_onnx(
    name: str,
    output: Path,
    *,
    storage: Storage = "float32",
    precision: OnnxPrecision = "float32",
    overwrite: bool = False,
) -> Path:
    """Write the classifier called `name` as a folder for `OnnxClassifier` and return its path.

    Raises `ArtefactError` if it is no classifier, or `output` cannot be written; `ConfigError` if
    that is the classifier itself, which can be trained no more once it is in ONNX.
    """
    folder = resolve(name)
    if folder.resolve() == output.resolve():
        raise ConfigError(f"setting 'output': {output} is the classifier itself; choose another")
    check_replaceable(output.resolve(), overwrite)
    classifier = TextClassifier.from_pretrained(folder)
    files: dict[str, Content] = {
        f"{each.member.prefix}.onnx": member_graph(
            each.network, classifier.task, storage, precision
        ).SerializeToString()
        for each in classifier.members
    }
    files[TOKENIZER] = classifier.tokenizer.to_json()
    source = folder.resolve().name if Path(name).exists() else name
    record = {"data": [f"the classifier {source}"], "settings": {"precision": precision}}
    config = replace(
        classifier.artefact(storage),
        kind="onnx_classifier",
        run={**classifier.run, "onnx": record},
    )
    write_folder(output, config, files, card(config), overwrite=overwrite)
    return output


def member_graph(
    network: ClassifierNetwork,
    task: Task,
    storage: Storage = "float32",
    precision: OnnxPrecision = "float32",
) -> onnx.ModelProto:
    """Return the graph of one member.

    Its matrices are stored as `storage` says; with `precision` int8 those of the LSTMs are int8 in
    any case, and their products are of whole numbers.
    """
    graph = Graph(storage, precision)
    ids = graph.input("ids", "batch", "time", integer=True)
    lengths = graph.input("lengths", "batch", integer=True)
    by_time = graph.add("Transpose", ids, perm=[1, 0])
    outputs = graph.rows(network.encoder.embedding.weight, "embedding", by_time)
    for number, layer in enumerate(network.encoder.layers):
        assert isinstance(layer, LSTMLayer)
        outputs = _read(graph, layer, number, outputs)
    pooled = _pool(graph, outputs, lengths, network.encoder.config.embedding_size)
    answers = _answers(graph, network.head.blocks, pooled, task)
    graph.output(answers, "answers", "batch", task.outputs)
    return graph.model("member")


def _read(graph: Graph, layer: LSTMLayer, number: int, inputs: str) -> str:
    """Add an LSTM layer that reads `inputs` [time, batch, features]; return its outputs."""
    state = [graph.input(f"{part}_{number}", "batch", layer.size) for part in ("hidden", "cell")]
    first = graph.constant(np.array([0]))
    named = {
        f"layer_{number}_inputs": _in_onnx_order(layer.weight_ih),
        f"layer_{number}_recurrent": _in_onnx_order(layer.weight_hh),
    }
    biases = torch.cat([_in_onnx_order(layer.bias_ih), _in_onnx_order(layer.bias_hh)])[None]
    before = [graph.add("Unsqueeze", part, first) for part in state]
    if graph.precision == "int8":
        weights, scales = _in_whole_numbers(graph, named)
        operation: dict[str, Any] = {"operation": "DynamicQuantizeLSTM", "domain": MICROSOFT}
        more = ["", *scales]
    else:
        weights = [graph.matrix(weight, name, axis=0) for name, weight in named.items()]
        operation, more = {"operation": "LSTM"}, []
    outputs, *after = graph.add_many(
        inputs=[inputs, *weights, graph.constant(biases), "", *before, *more],
        outputs=3,
        hidden_size=layer.size,
        **operation,
    )
    for name, value in zip(state, after, strict=True):
        graph.output(graph.add("Squeeze", value, first), f"{name}_after", "batch", layer.size)
    return graph.add("Squeeze", outputs, graph.constant(np.array([1])))


def _in_whole_numbers(graph: Graph, named: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Add matrices [rows, columns] as int8 [1, columns, rows]; return names, and those of scales.

    Of each matrix there are a scale a row and a zero point, [1, rows], which is 0.
    """
    weights, scales = [], []
    for name, weight in named.items():
        whole, scale = quantize(weight.float(), SEVEN_BITS)
        weights.append(graph.constant(whole.T[None], name))
        scales.append(graph.constant(scale.T))
        scales.append(graph.constant(np.zeros((1, len(weight)), np.int8)))
    return weights, scales


def _in_onnx_order(weight: Tensor) -> Tensor:
    """Return a weight [4 * size, ...] with its gates in ONNX's order."""
    gates = weight.detach().chunk(4)
    return torch.cat([gates[i] for i in GATES])


def _pool(graph: Graph, outputs: str, lengths: str, features: int) -> str:
    """Add concat pooling of `outputs` [time, batch, features]; return [batch, 3 * features]."""
    last, maximum, total = (
        graph.input(name, "batch", features) for name in ("last", "maximum", "total")
    )
    count = graph.input("count", "batch", integer=True)
    zero, one = graph.constant(np.int64(0)), graph.constant(np.int64(1))
    first, second = graph.constant(np.array([0])), graph.constant(np.array([1]))
    nothing, lowest = graph.constant(np.float32(0)), graph.constant(np.float32(-np.inf))

    shape = graph.add("Shape", outputs, end=1)
    places = graph.add("Range", zero, graph.add("Squeeze", shape, first), one)
    places = graph.add("Unsqueeze", places, graph.constant(np.array([1, 2])))  # [time, 1, 1]
    ends = graph.add("Unsqueeze", lengths, second)  # [batch, 1]
    real = graph.add("Less", places, ends)  # [time, batch, 1]
    end = graph.add("Equal", places, graph.add("Sub", ends, one))

    kept = graph.add("Where", real, outputs, nothing)
    largest = graph.add(
        "ReduceMax", graph.add("Where", real, outputs, lowest), axes=[0], keepdims=0
    )
    at_end = graph.add("Where", end, outputs, nothing)
    newest = graph.add("ReduceSum", at_end, first, keepdims=0)
    last = graph.add("Where", graph.add("Greater", ends, zero), newest, last)
    maximum = graph.add("Max", maximum, largest)
    total = graph.add("Add", total, graph.add("ReduceSum", kept, first, keepdims=0))
    count = graph.add("Add", count, lengths)
    for value, name in ((last, "last"), (maximum, "maximum"), (total, "total")):
        graph.output(value, f"{name}_after", "batch", features)
    graph.output(count, "count_after", "batch", integer=True)

    read = graph.add("Unsqueeze", count, second)
    maximum = graph.add("Where", graph.add("Greater", read, zero), maximum, nothing)
    mean = graph.add("Div", total, graph.float32(graph.add("Max", read, one)))
    return graph.add("Concat", last, maximum, mean, axis=1)


def _answers(graph: Graph, blocks: nn.ModuleList, pooled: str, task: Task) -> str:
    """Add the head and what its outputs stand for; return the answers [batch, outputs]."""
    for number, block in enumerate(blocks):
        assert isinstance(block, nn.Sequential) and isinstance(block[0], nn.BatchNorm1d)
        state = block.state_dict()  # 0 is the batch norm, 2 the linear layer
        scale = state["0.weight"] / (state["0.running_var"] + block[0].eps).sqrt()
        shift = state["0.bias"] - state["0.running_mean"] * scale
        pooled = graph.add("Relu", pooled) if number else pooled
        pooled = graph.add("Mul", pooled, graph.constant(scale))
        pooled = graph.add("Add", pooled, graph.constant(shift))
        weight = graph.matrix(state["2.weight"], f"block_{number}")
        pooled = graph.add("Gemm", pooled, weight, graph.constant(state["2.bias"]), transB=1)
    if task.kind == "single_label":
        return graph.add("Softmax", pooled, axis=1)
    answers = graph.add("Sigmoid", pooled)
    if task.range is None:
        return answers
    lowest, highest = task.range
    stretched = graph.add("Mul", answers, graph.constant(np.float32(highest - lowest)))
    return graph.add("Add", stretched, graph.constant(np.float32(lowest)))


def _described(name: str, shape: Sequence[str | int], integer: bool) -> onnx.ValueInfoProto:
    kind = TensorProto.INT64 if integer else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, shape)
