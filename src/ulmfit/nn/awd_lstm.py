"""The AWD-LSTM encoder (Merity et al. 2017), with an explicit state and explicit masks.

What makes it what it is: LSTMs with dropped recurrent weights, one variational mask over time on
the embedded words and between the layers, whole words dropped, and a last layer that is as wide
as the embedding, so that the decoder can share its matrix. The output's dropout is the head's.

Weight drop is functional: the raw recurrent matrix is the parameter and is never overwritten; the
dropped one is an intermediate value, handed to PyTorch's fused LSTM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit.config.model import Dropout, EncoderConfig
from ulmfit.nn.dropout import apply_mask, embedding_mask, variational_mask, weight_mask
from ulmfit.nn.packed_lstm import PackedLSTM, can_pack
from ulmfit.nn.products import spare_rows
from ulmfit.nn.wide_lstm import WIDE, WideLSTM, by_piece

LSTMState = tuple[Tensor, Tensor]
"""The hidden state and the cell of a layer, [batch, size] each."""

State = tuple[LSTMState, ...]
"""The state of every layer, lowest first."""

Pieces = Sequence[Tensor]
"""What is read one after the other, each [rows, time, features]; rows never fewer than before."""

ReadPiece = Callable[[Tensor, LSTMState], tuple[Tensor, LSTMState]]
"""Reads one piece from the state of its rows; returns its outputs and the state after it."""

LayerPass = Callable[[Pieces, LSTMState], tuple[list[Tensor], LSTMState]]
"""Reads pieces from the state of all rows, as `LSTMLayer.forward` does."""


@dataclass(frozen=True)
class Masks:
    """The masks of one forward pass, which may read its text in several pieces."""

    embedding: Tensor | None
    """[vocab, 1]."""

    input: Tensor | None
    """[batch, 1, embedding]."""

    hidden: tuple[Tensor | None, ...]
    """[batch, 1, hidden], for each layer but the last."""

    weight: tuple[Tensor | None, ...]
    """[4 * size, size], for each layer."""

    def rows(self, chosen: slice) -> Masks:
        """Return the masks of the `chosen` rows of the batch."""
        hidden = tuple(_rows(mask, chosen) for mask in self.hidden)
        return replace(self, input=_rows(self.input, chosen), hidden=hidden)


class Embedding(nn.Module):
    """A vector for each id; whole words can be dropped."""

    def __init__(self, vocab_size: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, features).uniform_(-0.1, 0.1))

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the vectors [batch, time, features] of `ids`, times the `mask` [vocab, 1]."""
        vectors = F.embedding(ids, self.weight)
        return vectors if mask is None else vectors * F.embedding(ids, mask)


class LSTMLayer(nn.Module):
    """One LSTM, its four gates in PyTorch's order (input, forget, cell, output)."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(4 * size, inputs))
        self.weight_hh = nn.Parameter(torch.empty(4 * size, size))
        self.bias_ih = nn.Parameter(torch.empty(4 * size))
        self.bias_hh = nn.Parameter(torch.empty(4 * size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / sqrt(size), 1 / sqrt(size))

    @property
    def size(self) -> int:
        """Features of the output."""
        return self.weight_hh.shape[1]

    def forward(
        self, pieces: Pieces, state: LSTMState, recurrent: Tensor
    ) -> tuple[list[Tensor], LSTMState]:
        """Read `pieces` [rows, time, features] from `state`, with the `recurrent` matrix given.

        `recurrent` is `weight_hh`, dropped or not; the state that of all rows there will be: those
        that join later have waited with theirs. Returns the outputs [rows, time, size] of each
        piece and the state after the last.
        """
        if self._is_wide_here(pieces, recurrent):
            return self._read_wide(pieces, state, recurrent)
        weights = [self.weight_ih, recurrent, self.bias_ih, self.bias_hh]
        if recurrent.is_cuda:
            weights = _in_one_block(weights)
        return _read_in_turn(partial(_read_piece, weights), pieces, state)

    def prepare(self, mask: Tensor | None = None) -> LayerPass:
        """Return what reads with the recurrent matrix dropped by `mask` [4 * size, size].

        Made without gradients, it gives none.
        """
        recurrent = apply_mask(self.weight_hh, mask)
        plain: LayerPass = partial(self, recurrent=recurrent)
        weights = self.weight_ih, recurrent, self.bias_ih, self.bias_hh
        if not can_pack(*weights):
            return plain
        packed = partial(_read_in_turn, PackedLSTM(*weights))
        return partial(_read_frozen, plain, packed) if torch.is_grad_enabled() else packed

    def _is_wide_here(self, pieces: Pieces, recurrent: Tensor) -> bool:
        """Tell whether gradients are wanted of a pass that oneDNN would be slow at."""
        low = recurrent.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        trained = any(values.requires_grad for values in (*pieces, recurrent, self.weight_ih))
        weights = self.weight_ih.numel() + recurrent.numel()
        return low and weights >= WIDE and trained and torch.is_grad_enabled()

    def _read_wide(
        self, pieces: Pieces, state: LSTMState, recurrent: Tensor
    ) -> tuple[list[Tensor], LSTMState]:
        fast, (hidden, cell) = torch.get_autocast_dtype("cpu"), state
        bias = self.bias_ih + self.bias_hh
        rest = [values.to(fast) for values in (self.weight_ih, recurrent, bias)]
        by_time = [piece.to(fast).transpose(0, 1).flatten(0, 1) for piece in pieces]
        inputs = torch.cat(by_time) if len(by_time) > 1 else by_time[0]
        sizes = [(piece.shape[1], piece.shape[0]) for piece in pieces]
        with torch.autocast("cpu", enabled=False):
            outputs, cell = WideLSTM.apply(inputs, hidden.to(fast), cell, *rest, sizes)  # type: ignore[no-untyped-call]
        hidden = outputs[-len(hidden) :].to(recurrent.dtype)
        found = [piece.transpose(0, 1) for piece in by_piece(outputs, sizes)]
        return found, (hidden, cell.to(recurrent.dtype))


class AWDLSTM(nn.Module):
    """Embedding and LSTM layers: `embed(ids) -> vectors`, `forward(vectors, state)`.

    `read` is `forward` for text in several pieces, which further rows join.

    In training, a call without masks draws its own; masks that are given are always applied.
    """

    def __init__(self, config: EncoderConfig, dropout: Dropout) -> None:
        super().__init__()
        self.config = config
        self.dropout = dropout
        self.embedding = Embedding(config.vocab_size, config.embedding_size)
        self.layers = nn.ModuleList(LSTMLayer(*shape) for shape in config.layer_shapes)

    def initial_state(self, batch_size: int) -> State:
        """Return the state of `batch_size` rows that have read nothing: zeros."""
        return tuple(
            (zeros, zeros)
            for layer in self._layers()
            for zeros in [self.embedding.weight.new_zeros(batch_size, layer.size)]
        )

    def draw_masks(self, batch_size: int) -> Masks | None:
        """Draw all masks of a forward pass over `batch_size` rows; `None` in evaluation mode."""
        if not self.training:
            return None
        p, weight = self.dropout, self.embedding.weight
        layers = self._layers()
        return Masks(
            embedding=embedding_mask(weight, p.embedding),
            input=variational_mask(batch_size, self.config.embedding_size, p.input, weight),
            hidden=tuple(
                variational_mask(batch_size, layer.size, p.hidden, weight) for layer in layers[:-1]
            ),
            weight=tuple(weight_mask(layer.weight_hh, p.weight) for layer in layers),
        )

    def prepare(self, masks: Masks | None = None) -> tuple[LayerPass, ...]:
        """Return what reads each layer, its recurrent matrix dropped by `masks`.

        Made once and handed to every `forward` of a text read in pieces, it spares each piece its
        own copy of the matrices, in time and in what is kept for the gradients. Made without
        gradients, it gives none.
        """
        drops = masks.weight if masks else (None,) * len(self.layers)
        return tuple(layer.prepare(mask) for layer, mask in zip(self._layers(), drops, strict=True))

    def embed(self, ids: Tensor, masks: Masks | None = None) -> Tensor:
        """Return the word vectors [batch, time, embedding] of `ids` [batch, time]."""
        if masks is None and self.training:
            mask = embedding_mask(self.embedding.weight, self.dropout.embedding)
        else:
            mask = masks.embedding if masks else None
        vectors: Tensor = self.embedding(ids, mask)
        return vectors

    def forward(
        self,
        vectors: Tensor,
        state: State | None = None,
        masks: Masks | None = None,
        layers: Sequence[LayerPass] | None = None,
    ) -> tuple[Tensor, State]:
        """Read `vectors` [batch, time, embedding] from `state` (at first, zeros).

        `layers` are those of `prepare(masks)`, made here unless given. Returns the raw outputs
        [batch, time, embedding] of the last layer and the state after the last time step, which
        still carries gradients: see `detach`.
        """
        (outputs,), after = self.read([vectors], state, masks, layers)
        return outputs, after

    def read(
        self,
        pieces: Pieces,
        state: State | None = None,
        masks: Masks | None = None,
        layers: Sequence[LayerPass] | None = None,
    ) -> tuple[list[Tensor], State]:
        """Read `pieces` [rows, time, embedding], layer by layer; the last one has all rows.

        `state` and `masks` are those of all rows; a row that is not in the first piece begins where
        it joins. Returns the raw outputs [rows, time, embedding] of the last layer, piece by piece,
        and the state after the last.
        """
        batch = len(pieces[-1])
        masks = self.draw_masks(batch) if masks is None else masks
        state = self.initial_state(batch) if state is None else state
        layers = self.prepare(masks) if layers is None else layers
        drops = (masks.input, *masks.hidden) if masks else (None,) * len(self.layers)
        outputs, after = list(pieces), []
        for layer, before, mask in zip(layers, state, drops, strict=True):
            outputs = [apply_mask(piece, _rows(mask, slice(len(piece)))) for piece in outputs]
            outputs, new = layer(outputs, before)
            after.append(new)
        return outputs, tuple(after)

    def _layers(self) -> list[LSTMLayer]:
        return [layer for layer in self.layers if isinstance(layer, LSTMLayer)]


def detach(state: State) -> State:
    """Return `state` cut off from the graph: gradients stop here, values go on."""
    return tuple((hidden.detach(), cell.detach()) for hidden, cell in state)


def grow(state: State, batch_size: int) -> State:
    """Return `state` with rows that have read nothing added at the end, `batch_size` in all."""
    return tuple((_grown(hidden, batch_size), _grown(cell, batch_size)) for hidden, cell in state)


def _grown(values: Tensor, rows: int) -> Tensor:
    """Return `values` [..., rows, features] with zeros added at the end, `rows` in all."""
    return F.pad(values, (0, 0, 0, rows - values.shape[-2]))


def _rows(mask: Tensor | None, chosen: slice) -> Tensor | None:
    return None if mask is None else mask[chosen]


def _read_piece(
    weights: list[Tensor], inputs: Tensor, state: LSTMState
) -> tuple[Tensor, LSTMState]:
    """Read `inputs` [rows, time, features] by PyTorch's LSTM of `weights`, its two biases last."""
    hidden, cell = state
    # `train` is what backward needs of the kernels; without gradients they keep nothing.
    outputs, hidden, cell = torch.lstm(
        inputs,
        (hidden[None], cell[None]),
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=True,
    )
    dtype = weights[0].dtype
    return outputs, (hidden[0].to(dtype), cell[0].to(dtype))


def _read_in_turn(
    read: ReadPiece, pieces: Pieces, state: LSTMState
) -> tuple[list[Tensor], LSTMState]:
    """Read one piece after the other with `read`; the rows that are not in one yet wait."""
    found = []
    for piece in pieces:
        hidden, cell = state
        rows = len(piece)
        outputs, state = _read_padded(read, piece, (hidden[:rows], cell[:rows]))
        if rows < len(hidden):
            state = torch.cat([state[0], hidden[rows:]]), torch.cat([state[1], cell[rows:]])
        found.append(outputs)
    return found, state


def _read_padded(read: ReadPiece, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
    """Read with as many rows of zeros more as make the processor faster, if any."""
    rows, spare = len(inputs), spare_rows(inputs)
    if not spare:
        return read(inputs, state)
    by_time = _grown(inputs.transpose(0, 1), rows + spare)
    (before,) = grow((state,), rows + spare)
    outputs, (hidden, cell) = read(by_time.transpose(0, 1), before)
    return outputs[:rows], (hidden[:rows], cell[:rows])


def _read_frozen(
    plain: LayerPass, packed: LayerPass, pieces: Pieces, state: LSTMState
) -> tuple[list[Tensor], LSTMState]:
    """Read with what gives no gradients, `packed`, unless some are wanted of what is read."""
    wanted = any(values.requires_grad for values in (*pieces, *state))
    return (plain if wanted else packed)(pieces, state)


def _in_one_block(weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the same weights as views of one block of memory, as cuDNN wants them.

    It would otherwise copy them at each call and warn about it.
    """
    block = torch.cat([weight.flatten() for weight in weights])
    parts = torch.split(block, [weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
