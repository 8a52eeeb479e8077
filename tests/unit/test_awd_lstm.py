"""The encoder against a plain loop in float64, its state, its masks, what it leaves alone."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ulmfit.config.model import Dropout, EncoderConfig
from ulmfit.nn import awd_lstm
from ulmfit.nn.awd_lstm import AWDLSTM, LSTMLayer, Masks, State

CONFIG = EncoderConfig(vocab_size=13, embedding_size=5, hidden_size=7, layers=3)
ALL_FIVE = Dropout(embedding=0.3, input=0.4, hidden=0.3, weight=0.5, output=0.4)


def make(seed: int = 0, config: EncoderConfig = CONFIG, dropout: Dropout = ALL_FIVE) -> AWDLSTM:
    torch.manual_seed(seed)
    return AWDLSTM(config, dropout).double()


def random_ids(batch: int, time: int) -> Tensor:
    return torch.randint(0, CONFIG.vocab_size, (batch, time))


def masks_of(encoder: AWDLSTM, batch: int) -> Masks:
    masks = encoder.draw_masks(batch)
    assert masks is not None
    return masks


def plain_layer(
    layer: LSTMLayer, inputs: Tensor, h: Tensor, c: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The LSTM's equations, a time step at a time."""
    recurrent = layer.weight_hh if mask is None else layer.weight_hh * mask
    outputs = []
    for x in inputs.unbind(1):
        gates = x @ layer.weight_ih.T + layer.bias_ih + h @ recurrent.T + layer.bias_hh
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs, dim=1), h, c


def plain_encoder(
    encoder: AWDLSTM, ids: Tensor, state: State, masks: Masks
) -> tuple[Tensor, State]:
    """Embedding, input dropout and all layers with hidden dropout between them."""
    weight = encoder.embedding.weight
    dropped = weight if masks.embedding is None else weight * masks.embedding
    outputs, after = dropped[ids], []
    variational = (masks.input, *masks.hidden)
    for number, layer in enumerate(encoder.layers):
        assert isinstance(layer, LSTMLayer)
        mask = variational[number]
        outputs = outputs if mask is None else outputs * mask
        outputs, h, c = plain_layer(layer, outputs, *state[number], masks.weight[number])
        after.append((h, c))
    return outputs, tuple(after)


def gradients(encoder: AWDLSTM, outputs: Tensor, state: State) -> dict[str, Tensor]:
    """Gradients of a function that weighs every output and state differently."""
    torch.manual_seed(9)
    values = [outputs, *(values for pair in state for values in pair)]
    loss = sum((value * torch.randn(value.shape, dtype=torch.float64)).sum() for value in values)
    assert isinstance(loss, Tensor)
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("dropout", [ALL_FIVE, ALL_FIVE.scaled(0.0)], ids=["dropouts", "none"])
def test_equals_a_plain_loop_with_the_same_masks(layers: int, dropout: Dropout) -> None:
    config = EncoderConfig(vocab_size=13, embedding_size=5, hidden_size=7, layers=layers)
    encoder = make(config=config, dropout=dropout)
    ids, masks = random_ids(4, 9), masks_of(encoder, 4)
    state = tuple((torch.randn_like(h), torch.randn_like(c)) for h, c in encoder.initial_state(4))
    got = encoder(encoder.embed(ids, masks), state, masks)
    expected = plain_encoder(encoder, ids, state, masks)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        gradients(encoder, *got), gradients(encoder, *expected), rtol=1e-10, atol=1e-10
    )


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(1, 11), max_size=4), seed=st.integers(0, 99))
def test_reading_in_pieces_equals_reading_at_once(cuts: list[int], seed: int) -> None:
    encoder = make(seed)
    ids, masks = random_ids(3, 12), masks_of(encoder, 3)
    state, outputs, bounds = None, [], [0, *sorted(set(cuts)), 12]
    for start, end in pairwise(bounds):
        piece, state = encoder(encoder.embed(ids[:, start:end], masks), state, masks)
        outputs.append(piece)
    assert state is not None
    in_pieces = (torch.cat(outputs, dim=1), state)
    at_once = encoder(encoder.embed(ids, masks), None, masks)
    torch.testing.assert_close(in_pieces, at_once, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradients(encoder, *in_pieces), gradients(encoder, *at_once), rtol=1e-11, atol=1e-11
    )


def test_gradients_flow_in_single_precision_and_in_evaluation() -> None:
    encoder, ids = make().float().eval(), random_ids(3, 6)
    got = encoder(encoder.embed(ids))
    expected = plain_encoder(encoder, ids, encoder.initial_state(3), NO_MASKS)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        gradients(encoder, *got), gradients(encoder, *expected), rtol=1e-4, atol=1e-5
    )


NO_MASKS = Masks(embedding=None, input=None, hidden=(None,) * 2, weight=(None,) * 3)


def test_embedding_dropout_drops_whole_words() -> None:
    encoder = make()
    mask = torch.ones(13, 1, dtype=torch.float64)
    mask[4] = 0
    masks = Masks(embedding=mask, input=None, hidden=(None, None), weight=(None, None, None))
    ids = torch.tensor([[4, 5, 4], [6, 4, 4]])
    vectors = encoder.embed(ids, masks)
    assert vectors[ids == 4].eq(0).all()
    assert torch.equal(vectors[ids != 4], encoder.embedding.weight[ids[ids != 4]])
    torch.testing.assert_close(vectors, (encoder.embedding.weight * mask)[ids])


def test_one_mask_over_time_and_a_new_one_each_pass() -> None:
    encoder = make()
    masks = masks_of(encoder, 2)
    assert masks.input is not None
    assert masks.input.shape == (2, 1, 5)
    assert [m.shape for m in masks.hidden if m is not None] == [(2, 1, 7), (2, 1, 7)]
    assert [m.shape for m in masks.weight if m is not None] == [(28, 7), (28, 7), (20, 5)]
    vectors = torch.ones(2, 4, 5, dtype=torch.float64)
    assert not torch.equal(encoder(vectors)[0], encoder(vectors)[0])
    ids = torch.arange(13).repeat(4, 1)
    assert not torch.equal(encoder.embed(ids), encoder.embed(ids))


def test_rows_of_masks() -> None:
    encoder = make()
    masks, ids = masks_of(encoder, 4), random_ids(4, 5)
    some = masks.rows(slice(2))
    outputs, _ = encoder(encoder.embed(ids[:2], some), None, some)
    everything, _ = encoder(encoder.embed(ids, masks), None, masks)
    torch.testing.assert_close(outputs, everything[:2], rtol=1e-12, atol=1e-12)


def test_evaluation_has_no_randomness() -> None:
    encoder, ids = make().eval(), random_ids(2, 5)
    assert encoder.draw_masks(2) is None
    first, second = encoder(encoder.embed(ids)), encoder(encoder.embed(ids))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_masks_that_are_given_are_applied_in_evaluation() -> None:
    encoder, ids = make(), random_ids(2, 5)
    masks = masks_of(encoder, 2)
    training = encoder(encoder.embed(ids, masks), None, masks)
    encoder.eval()
    evaluation = encoder(encoder.embed(ids, masks), None, masks)
    torch.testing.assert_close(training, evaluation, rtol=0, atol=0)


def test_the_raw_matrices_are_the_only_parameters() -> None:
    encoder = make()
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    expected = [f"layers.{layer}.{name}" for layer in range(3) for name in names]
    assert [name for name, _ in encoder.named_parameters()] == ["embedding.weight", *expected]
    assert not list(encoder.buffers())
    sizes = [(5, 7), (7, 7), (7, 5)]
    count = 13 * 5 + sum(4 * out * (inputs + out) + 8 * out for inputs, out in sizes)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == count


def test_weights_change_by_the_optimizer_alone() -> None:
    encoder, ids = make(), random_ids(3, 6)
    before = copy.deepcopy(encoder.state_dict())
    for _ in range(2):
        encoder(encoder.embed(ids))[0].sum().backward()
    torch.optim.SGD(encoder.parameters(), lr=0.0).step()
    torch.testing.assert_close(encoder.state_dict(), before, rtol=0, atol=0)
    torch.optim.SGD(encoder.parameters(), lr=0.1).step()
    for name, parameter in encoder.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_dropped_weights_get_no_gradient_and_the_others_do() -> None:
    encoder = make()
    masks, ids = masks_of(encoder, 3), random_ids(3, 6)
    encoder(encoder.embed(ids, masks), None, masks)[0].sum().backward()
    for layer, mask in zip(encoder.layers, masks.weight, strict=True):
        assert isinstance(layer, LSTMLayer)
        assert mask is not None
        assert layer.weight_hh.grad is not None
        assert torch.equal(layer.weight_hh.grad != 0, mask != 0)


def test_no_warnings() -> None:
    encoder, ids = make().float(), random_ids(3, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(encoder.embed(ids))[0].sum().backward()
        copy.deepcopy(encoder).eval()(encoder.embed(ids))


def test_frozen_lower_layers_keep_no_graph() -> None:
    encoder, ids = make(), random_ids(3, 6)
    encoder.requires_grad_(False)
    encoder.layers[-1].requires_grad_(True)
    seen: list[bool] = []

    def note(_: nn.Module, __: object, output: tuple[list[Tensor], object]) -> None:
        seen.extend(values.requires_grad for values in output[0])

    for layer in encoder.layers:
        layer.register_forward_hook(note)
    encoder(encoder.embed(ids))[0].sum().backward()
    assert seen == [False, False, True]
    trained = [name for name, p in encoder.named_parameters() if p.grad is not None]
    assert trained == [n for n, _ in encoder.named_parameters() if n.startswith("layers.2.")]


def test_detach_stops_gradients_and_keeps_values() -> None:
    encoder = make()
    _, state = encoder(encoder.embed(random_ids(2, 3)))
    detached = awd_lstm.detach(state)
    assert all(values.requires_grad for pair in state for values in pair)
    assert not any(values.requires_grad for pair in detached for values in pair)
    torch.testing.assert_close(detached, state, rtol=0, atol=0)


def test_rows_that_join_later_start_afresh() -> None:
    encoder = make().eval()
    long, short = random_ids(2, 8), random_ids(1, 4)
    _, state = encoder(encoder.embed(long[:, :4]))
    grown = awd_lstm.grow(state, 3)
    together = torch.cat([long[:, 4:], short])
    outputs, _ = encoder(encoder.embed(together), grown)
    alone = [encoder(encoder.embed(ids))[0][:, -4:] for ids in (long, short)]
    torch.testing.assert_close(outputs, torch.cat(alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("learns", [True, False])
def test_rows_added_for_speed_change_nothing(learns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make().requires_grad_(learns)
    ids, masks = random_ids(3, 6), masks_of(encoder, 3)

    def read() -> list[Tensor]:
        vectors = encoder.embed(ids, masks)
        pieces = [vectors[:2, :2], vectors[:2, 2:4], vectors[:, 4:]]
        outputs, state = encoder.read(pieces, masks=masks)
        found = [*outputs, *(values for pair in state for values in pair)]
        loss = torch.stack([values.square().sum() for values in found]).sum()
        gradients = torch.autograd.grad(loss, list(encoder.parameters())) if learns else ()
        return [*found, *gradients]

    plain = read()
    monkeypatch.setattr(awd_lstm, "spare_rows", lambda inputs: 5 - len(inputs))
    torch.testing.assert_close(read(), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("bound", "weights"),
    [
        (0.1, lambda encoder: encoder.embedding.weight),
        (1 / 8, lambda encoder: encoder.layers[0].weight_ih),
        (1 / 8, lambda encoder: encoder.layers[1].weight_hh),
        (1 / 6, lambda encoder: encoder.layers[2].weight_hh),
    ],
)
def test_initial_weights_fill_their_range(
    bound: float, weights: Callable[[AWDLSTM], Tensor]
) -> None:
    config = EncoderConfig(vocab_size=50, embedding_size=36, hidden_size=64, layers=3)
    largest = weights(make(config=config)).abs().max().item()
    assert 0.97 * bound < largest <= bound


def test_weights_in_one_block_are_the_same_weights() -> None:
    weights = list(make().layers[0].parameters())
    block = awd_lstm._in_one_block(weights)
    torch.testing.assert_close(block, weights, rtol=0, atol=0)
    starts = [weight.storage_offset() for weight in block]
    assert starts == [0, 140, 336, 364]
    torch.autograd.backward([weight.square().sum() for weight in block])
    for weight in weights:
        torch.testing.assert_close(weight.grad, 2 * weight, check_stride=False)
