"""A classifier that ONNX Runtime computes: the same answers, without PyTorch.

Its members are the graphs that `interop/onnx.py` writes and describes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmfit.config.artefact import ArtefactConfig
from ulmfit.data.documents import CHUNK_TOKENS, in_order, packed_batches
from ulmfit.errors import ArtefactError, ConfigError
from ulmfit.models.classifier import Classifier, Ids
from ulmfit.models.folder import load_whole, resolve
from ulmfit.text.tokenizer import Tokenizer

AFTER = "_after"

State = dict[str, NDArray[Any]]
"""The parts of a graph's state by their names, [batch, ...] each."""


class OnnxClassifier(Classifier):
    """Graphs that classify by the same labels and share one tokenizer; reads on the processor."""

    def __init__(
        self, sessions: Sequence[Any], tokenizer: Tokenizer, config: ArtefactConfig
    ) -> None:
        """Join the members of `config`, each computed by its `onnxruntime.InferenceSession`."""
        assert config.task is not None
        self.sessions, self.tokenizer, self.task = list(sessions), tokenizer, config.task
        self.members = config.members
        self.run: Mapping[str, Any] = config.run

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, threads: int = 0
    ) -> OnnxClassifier:
        """Load a classifier that was converted to ONNX, from a folder or a hub id.

        It computes with `threads` threads; 0: as many as there are cores.

        Raises `ArtefactError` if the folder is damaged or holds something else, `ConfigError` if
        the extra `onnx` is not installed.
        """
        folder = resolve(name, revision)
        return load_whole(folder, lambda config: cls._loaded(folder, config, threads))

    @classmethod
    def _loaded(cls, folder: Path, config: ArtefactConfig, threads: int) -> OnnxClassifier:
        if config.kind != "onnx_classifier" or config.task is None:
            raise ArtefactError(
                f"{folder}: holds a {config.kind}, not a classifier in ONNX; "
                "`ulmfit convert --to onnx` makes one of a text classifier"
            )
        tokenizer = Tokenizer.from_json((folder / "tokenizer.json").read_bytes(), config.tokenizer)
        outputs = config.task.outputs
        sessions = [
            _session(folder / f"{each.prefix}.onnx", threads, outputs) for each in config.members
        ]
        return cls(sessions, tokenizer, config)

    @property
    def shares(self) -> list[float]:
        """The members' weights in the average."""
        return [member.weight for member in self.members]

    def answers_by_member(
        self, documents: Sequence[Ids], token_budget: int
    ) -> list[NDArray[np.float32]]:
        """Return each member's own answers [documents, outputs] to ids in forward order."""
        return [
            self._answers(session, in_order(documents, member), token_budget)
            for session, member in zip(self.sessions, self.members, strict=True)
        ]

    def _answers(
        self, session: Any, documents: Sequence[Ids], token_budget: int
    ) -> NDArray[np.float32]:
        """Return a member's answers [documents, outputs] to ids in the order it reads them."""
        result = np.empty((len(documents), self.task.outputs), np.float32)
        names = [output.name for output in session.get_outputs()]
        for indices, batch in packed_batches(documents, token_budget, CHUNK_TOKENS):
            state = initial_state(session)
            for chunk in batch:
                state = _grow(state, len(chunk.ids))
                given = {"ids": chunk.ids, "lengths": chunk.lengths, **state}
                values = dict(zip(names, session.run(None, given), strict=True))
                state = {part: values[part + AFTER] for part in state}
            result[indices] = values["answers"]
        return result


def initial_state(session: Any) -> State:
    """Return the state of a batch of no rows."""
    state: State = {}
    for each in session.get_inputs():
        if each.name not in ("ids", "lengths"):
            kind = np.int64 if each.type == "tensor(int64)" else np.float32
            state[each.name] = np.empty((0, *each.shape[1:]), kind)
    return state


def _grow(state: State, batch: int) -> State:
    """Return `state` with rows that have read nothing added at the end, `batch` in all."""

    def grown(name: str, values: NDArray[Any]) -> NDArray[Any]:
        nothing = -np.inf if name == "maximum" else 0
        added = (batch - len(values), *values.shape[1:])
        return np.concatenate([values, np.full(added, nothing, values.dtype)])

    return {name: grown(name, values) for name, values in state.items()}


def _session(path: Path, threads: int, outputs: int) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise ConfigError(
            f"{path.parent}: a classifier in ONNX needs ONNX Runtime; pip install onnxruntime"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no class of their own
        reason = " ".join(str(error).split())[:200]
        raise ArtefactError(
            f"{path}: ONNX Runtime cannot load it: {reason}; convert the classifier again"
        ) from None
    shapes = {each.name: each.shape for each in session.get_outputs()}
    if shapes.get("answers", [])[1:] != [outputs]:
        raise ArtefactError(
            f"{path}: its outputs are {shapes}, where answers [batch, {outputs}] are expected; "
            "convert the classifier again"
        )
    return session
