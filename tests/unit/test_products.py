"""Products through the quicker library against the plain ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ulmfit.nn import products


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)],
)
def test_a_product_equals_the_plain_one(
    dtype: torch.dtype, tolerance: float, with_bias: bool
) -> None:
    torch.manual_seed(0)
    exact = torch.randn(33, 70, dtype=torch.float64).to(dtype)
    weight = torch.randn(50, 70, dtype=torch.float64).to(dtype)
    bias = torch.randn(50, dtype=torch.float64).to(dtype) if with_bias else None
    expected = F.linear(exact.double(), weight.double(), None if bias is None else bias.double())
    transposed = exact.T.contiguous().T, weight.T.contiguous().T
    for inputs, matrix in ((exact, weight), transposed):
        found = products.linear(inputs, matrix, bias)
        assert found.dtype == dtype
        assert (found.double() - expected).abs().max() <= tolerance * expected.abs().max()
        prepared = products.prepared_linear(matrix, len(inputs), bias)
        for rows in (len(inputs), 7):  # others than it was prepared for, too
            off = prepared(inputs[:rows]).double() - expected[:rows]
            assert off.abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)],
)
def test_a_product_is_added_to_what_stays_as_it_is(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    shapes = (33, 70), (50, 70), (33, 50)
    inputs, weight, added = (torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes)
    expected = inputs.double() @ weight.double().T + added.double()
    before = added.clone()
    for matrix in (weight, weight.T.contiguous().T):
        found = products.prepared_sum(matrix, len(inputs))(inputs, added)
        assert found.dtype == dtype
        assert (found.double() - expected).abs().max() <= tolerance * expected.abs().max()
        assert torch.equal(added, before)


def test_a_machine_without_onednn_multiplies_too(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, weight = torch.randn(3, 4), torch.randn(5, 4)
    monkeypatch.setattr(products, "HAS_ONEDNN", False)
    assert torch.equal(products.linear(inputs, weight), F.linear(inputs, weight))


@pytest.mark.filterwarnings("ignore:TF32")
def test_onednn_is_left_alone_where_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("oneDNN was asked")

    inputs, weight = torch.randn(3, 4), torch.randn(5, 4)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", refuse, raising=False)
    with torch.backends.mkldnn.flags(enabled=False):
        assert torch.equal(products.linear(inputs, weight), F.linear(inputs, weight))


def test_no_rows_are_no_rows() -> None:
    assert products.linear(torch.zeros(0, 4), torch.zeros(5, 4)).shape == (0, 5)


def test_no_features_add_up_to_nothing() -> None:
    assert torch.equal(products.linear(torch.zeros(3, 0), torch.zeros(5, 0)), torch.zeros(3, 5))


@pytest.mark.filterwarnings("ignore:TF32")
def test_rows_are_added_for_a_processor_that_wants_multiples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spare(dtype: torch.dtype) -> list[int]:
        return [products.spare_rows(torch.zeros(n, 2, 3, dtype=dtype)) for n in (0, 1, 16, 17, 61)]

    monkeypatch.setattr(products, "HAS_ONEDNN", True)
    monkeypatch.setattr(products, "DTYPES", (torch.float32, torch.bfloat16))
    monkeypatch.setattr(products, "_HAS_AMX", True)
    assert spare(torch.bfloat16) == [0, 0, 0, 15, 3]
    assert spare(torch.float32) == [0] * 5
    with torch.autocast("cpu", torch.bfloat16):
        assert spare(torch.float32) == [0, 0, 0, 15, 3]
        with torch.backends.mkldnn.flags(enabled=False):
            assert spare(torch.float32) == [0] * 5
    monkeypatch.setattr(products, "_HAS_AMX", False)
    assert spare(torch.bfloat16) == [0] * 5
