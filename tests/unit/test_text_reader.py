"""BPT3C: chunked batches against documents read alone, and the window of gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ulmfit.config.model import Dropout, EncoderConfig
from ulmfit.nn import awd_lstm, pooling
from ulmfit.nn.awd_lstm import AWDLSTM, Masks
from ulmfit.nn.text_reader import read_document_batch

CONFIG = EncoderConfig(vocab_size=13, embedding_size=4, hidden_size=6, layers=2)
DROPOUT = Dropout(embedding=0.2, input=0.3, hidden=0.3, weight=0.4, output=0.0)
Chunk = tuple[Tensor, Tensor]


def make(seed: int = 0) -> AWDLSTM:
    torch.manual_seed(seed)
    return AWDLSTM(CONFIG, DROPOUT).double()


def documents_of(lengths: list[int]) -> list[Tensor]:
    return [torch.randint(0, 13, (length,)) for length in lengths]


def chunks_of(documents: list[Tensor], bptt: int) -> tuple[list[int], list[Chunk]]:
    """Cut documents into chunks that end together: the order of the rows, and the chunks."""
    pieces = [list(torch.split(document, bptt)) for document in documents]
    order = sorted(range(len(documents)), key=lambda i: -len(pieces[i]))
    count = len(pieces[order[0]])
    chunks = []
    for left in range(count, 0, -1):
        alive = [pieces[i][-left] for i in order if len(pieces[i]) >= left]
        lengths = torch.tensor([len(piece) for piece in alive])
        chunks.append((torch.nn.utils.rnn.pad_sequence(alive, batch_first=True), lengths))
    return order, chunks


def read(
    encoder: AWDLSTM, chunks: list[Chunk], window: int | None = None, masks: Masks | None = None
) -> Tensor:
    return read_document_batch(
        encoder,
        iter(chunks),
        count=len(chunks),
        batch_size=len(chunks[-1][0]),
        gradient_chunks=window,
        masks=masks,
    )


def alone(encoder: AWDLSTM, document: Tensor) -> Tensor:
    """One document, read at once, pooled by hand."""
    outputs, _ = encoder(encoder.embed(document[None]))
    return torch.cat([outputs[:, -1], outputs.amax(1), outputs.mean(1)], dim=1)


def gradients(encoder: AWDLSTM, pooled: Tensor) -> list[Tensor]:
    torch.manual_seed(9)
    weights = torch.randn_like(pooled)
    return list(torch.autograd.grad((pooled * weights).sum(), list(encoder.parameters())))


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    bptt=st.integers(2, 9),
    seed=st.integers(0, 99),
)
def test_a_batch_in_chunks_equals_each_document_alone(
    lengths: list[int], bptt: int, seed: int
) -> None:
    encoder = make(seed).eval()
    documents = documents_of(lengths)
    order, chunks = chunks_of(documents, bptt)
    expected = torch.cat([alone(encoder, documents[i]) for i in order])
    torch.testing.assert_close(read(encoder, chunks), expected, rtol=1e-12, atol=1e-12)


def test_single_precision() -> None:
    encoder = make().float().eval()
    documents = documents_of([40, 3, 17, 1])
    order, chunks = chunks_of(documents, 5)
    expected = torch.cat([alone(encoder, documents[i]) for i in order])
    torch.testing.assert_close(read(encoder, chunks), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [None, 4, 9])
def test_a_window_over_all_chunks_is_full_backpropagation(window: int | None) -> None:
    encoder = make().eval()
    documents = documents_of([14, 9, 13, 2])
    order, chunks = chunks_of(documents, 4)
    assert len(chunks) == 4
    expected = torch.cat([alone(encoder, documents[i]) for i in order])
    torch.testing.assert_close(
        gradients(encoder, read(encoder, chunks, window)),
        gradients(encoder, expected),
        rtol=1e-11,
        atol=1e-12,
    )


def reference(encoder: AWDLSTM, chunks: list[Chunk], window: int, masks: Masks) -> Tensor:
    """All chunks with gradients; what is carried into the window is detached."""
    state, pools = encoder.initial_state(0), None
    for step, (ids, lengths) in enumerate(chunks):
        seen = masks.rows(slice(len(ids)))
        state = awd_lstm.grow(state, len(ids))
        if step == len(chunks) - window:
            state = awd_lstm.detach(state)
            if pools is not None:
                pools = pooling.PoolState(
                    pools.last.detach(), pools.maximum.detach(), pools.total.detach(), pools.count
                )
        outputs, state = encoder(encoder.embed(ids, seen), state, seen)
        before = pools or pooling.initial(len(ids), 4, like=outputs)
        pools = pooling.pool(pooling.grow(before, len(ids)), outputs, lengths)
    assert pools is not None
    return pooling.finish(pools)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_gradients_stop_at_the_window(window: int) -> None:
    encoder = make()
    _, chunks = chunks_of(documents_of([19, 14, 6, 3]), 4)
    masks = encoder.draw_masks(4)
    assert masks is not None
    got, expected = (
        read(encoder, chunks, window, masks),
        reference(encoder, chunks, window, masks),
    )
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got, read(encoder, chunks, None, masks), rtol=1e-12, atol=1e-12)
    of_window = gradients(encoder, got)
    torch.testing.assert_close(of_window, gradients(encoder, expected), rtol=1e-11, atol=1e-12)
    of_all = gradients(encoder, read(encoder, chunks, None, masks))
    assert not torch.allclose(of_window[1], of_all[1])


def test_one_draw_of_masks_for_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make()
    draws: list[int] = []
    draw = encoder.draw_masks

    def spy(batch_size: int) -> Masks | None:
        draws.append(batch_size)
        return draw(batch_size)

    monkeypatch.setattr(encoder, "draw_masks", spy)
    _, chunks = chunks_of(documents_of([19, 14, 3]), 4)
    torch.manual_seed(1)
    drawn = read(encoder, chunks)
    assert draws == [3]
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, read(encoder, chunks, masks=draw(3)), rtol=0, atol=0)


def test_no_graph_where_gradients_are_off() -> None:
    encoder = make().eval()
    _, chunks = chunks_of(documents_of([9, 5]), 4)
    with torch.no_grad():
        assert not read(encoder, chunks).requires_grad
        assert not torch.is_grad_enabled()


def test_chunks_are_taken_one_at_a_time() -> None:
    encoder = make().eval()
    _, chunks = chunks_of(documents_of([9, 5]), 4)
    events: list[str] = []
    encoder.register_forward_hook(lambda *_: events.append("read"))

    def lazily() -> Iterator[Chunk]:
        for chunk in chunks:
            events.append("take")
            yield chunk

    with torch.no_grad():
        read_document_batch(encoder, lazily(), count=3, batch_size=2)
    assert events == ["take", "read"] * 3
    events.clear()
    read_document_batch(encoder, lazily(), count=3, batch_size=2, gradient_chunks=1)
    assert events == ["take", "read"] * 2 + ["take"]


def test_graph_does_not_grow_with_the_document() -> None:
    """Bytes kept for the gradients: the same for a long document and for a longer one."""

    def kept(length: int) -> int:
        encoder, sizes = make(), {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        _, chunks = chunks_of(documents_of([length]), 4)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            pooled = read(encoder, chunks, window=2)
        assert pooled.requires_grad
        return sum(sizes.values())

    assert kept(400) <= kept(40)


def test_dropped_matrices_are_kept_once_for_all_chunks() -> None:
    encoder, kept = make(), set()

    def note(tensor: Tensor) -> Tensor:
        if tensor.numel() == 24 * 6:  # the first layer's recurrent matrix, alone of this size
            kept.add(tensor.data_ptr())
        return tensor

    _, chunks = chunks_of(documents_of([20]), 4)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        pooled = read(encoder, chunks)
    assert pooled.requires_grad
    assert 1 <= len(kept) <= 2  # the dropped matrix and its mask


@pytest.mark.parametrize("count", [2, 4])
def test_a_wrong_count_is_refused(count: int) -> None:
    encoder = make().eval()
    _, chunks = chunks_of(documents_of([9, 5]), 4)
    with pytest.raises(ValueError, match=r"^zip\(\) argument 2 is (longer|shorter)"):
        read_document_batch(encoder, chunks, count=count, batch_size=2)
