"""The masks: shapes, values, rates; no mask at p = 0."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ulmfit.nn.dropout import apply_mask, embedding_mask, variational_mask, weight_mask

LIKE = torch.zeros(1, dtype=torch.float64)


def draw(kind: str, p: float, size: tuple[int, int]) -> Tensor | None:
    """Draw a mask of two sizes, the third one being 1 or absent."""
    if kind == "variational":
        return variational_mask(*size, p, LIKE)
    return {"embedding": embedding_mask, "weight": weight_mask}[kind](LIKE.new_zeros(size), p)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("variational", (200, 1, 300)), ("embedding", (200, 1)), ("weight", (200, 300))],
)
def test_shape_and_type(kind: str, shape: tuple[int, ...]) -> None:
    mask = draw(kind, 0.5, (200, 300))
    assert mask is not None
    assert mask.shape == shape
    assert mask.dtype == torch.float64
    assert not mask.requires_grad


@pytest.mark.parametrize("kind", ["variational", "embedding", "weight"])
def test_no_mask_without_dropout(kind: str) -> None:
    assert draw(kind, 0.0, (4, 5)) is None


@given(p=st.floats(0.01, 0.99), kind=st.sampled_from(["variational", "embedding", "weight"]))
def test_holds_zero_or_the_inverse_of_what_is_kept(p: float, kind: str) -> None:
    mask = draw(kind, p, (40, 30))
    assert mask is not None
    kept = mask[mask != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)))


@pytest.mark.parametrize("p", [0.05, 0.4, 0.9])
def test_drops_the_share_asked_for(p: float) -> None:
    torch.manual_seed(0)
    mask = weight_mask(torch.zeros(400, 400), p)
    assert mask is not None
    assert (mask == 0).double().mean().item() == pytest.approx(p, abs=0.01)
    assert mask.mean().item() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("p", "share"), [(1e-9, 0.0), (1 - 1e-9, 1.0)])
def test_drops_hardly_anything_or_all_at_the_ends(p: float, share: float) -> None:
    torch.manual_seed(0)
    mask = weight_mask(torch.zeros(100, 101), p)
    assert mask is not None
    assert (mask == 0).double().mean().item() == pytest.approx(share, abs=1e-3)


def test_masks_are_independent_of_one_another() -> None:
    torch.manual_seed(0)
    mask = weight_mask(torch.zeros(4_000, 8), 0.3)
    assert mask is not None
    correlations = torch.corrcoef(mask.T) - torch.eye(8)
    assert correlations.abs().max().item() < 0.07  # 4 standard errors


def test_apply_mask() -> None:
    values = torch.ones(2, 3, 4)
    assert apply_mask(values, None) is values
    assert apply_mask(values, torch.zeros(2, 1, 4)).eq(0).all()
    low = apply_mask(values.bfloat16(), torch.full((2, 1, 4), 2.0))
    assert low.dtype == torch.bfloat16 and low.eq(2).all()
