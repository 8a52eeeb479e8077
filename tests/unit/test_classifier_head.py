"""The two blocks: their shape and order, and the plain equations in evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ulmfit.config.model import ClassifierHeadConfig
from ulmfit.nn.classifier_head import ClassifierHead


def modules(head: ClassifierHead) -> list[str]:
    kinds = (nn.BatchNorm1d, nn.Dropout, nn.Linear)
    return [str(m).replace(", bias=True", "") for m in head.modules() if isinstance(m, kinds)]


def test_the_papers_blocks() -> None:
    head = ClassifierHead(12, ClassifierHeadConfig(), classes=3, first_dropout=0.4)
    found = [name.split(",")[0] + ")" if "Batch" in name else name for name in modules(head)]
    assert found == [
        "BatchNorm1d(12)",
        "Dropout(p=0.4, inplace=False)",
        "Linear(in_features=12, out_features=50)",
        "BatchNorm1d(50)",
        "Dropout(p=0.1, inplace=False)",
        "Linear(in_features=50, out_features=3)",
    ]


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_equals_the_plain_equations_in_evaluation(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    config = ClassifierHeadConfig(hidden_sizes=hidden, dropout=0.5)
    head = ClassifierHead(6, config, classes=3, first_dropout=0.5)
    head(torch.randn(20, 6) * 3 + 1)  # moves the running statistics away from 0 and 1
    head.double().eval()
    pooled = torch.randn(4, 6, dtype=torch.float64)
    norms = [m for m in head.modules() if isinstance(m, nn.BatchNorm1d)]
    linears = [m for m in head.modules() if isinstance(m, nn.Linear)]
    expected = pooled
    for number, (norm, linear) in enumerate(zip(norms, linears, strict=True)):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        expected = expected.relu() if number else expected
        expected = (expected - norm.running_mean) / (norm.running_var + 1e-5).sqrt()
        expected = expected * norm.weight + norm.bias
        expected = expected @ linear.weight.T + linear.bias
    torch.testing.assert_close(head(pooled), expected, rtol=1e-12, atol=1e-12)


def test_a_row_alone_equals_the_row_among_others_in_evaluation() -> None:
    head = ClassifierHead(6, ClassifierHeadConfig(), classes=3, first_dropout=0.4).eval()
    pooled = torch.randn(5, 6)
    torch.testing.assert_close(head(pooled[2:3]), head(pooled)[2:3])


def test_dropout_in_training_only() -> None:
    head = ClassifierHead(6, ClassifierHeadConfig(), classes=3, first_dropout=0.4)
    pooled = torch.randn(5, 6)
    assert not torch.equal(head(pooled), head(pooled))
    head.eval()
    assert torch.equal(head(pooled), head(pooled))
