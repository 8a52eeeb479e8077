"""The classifier's two blocks over the pooled outputs (Howard & Ruder 2018, section 3.3)."""

from __future__ import annotations

from torch import Tensor, nn

from ulmfit.config.model import ClassifierHeadConfig


class ClassifierHead(nn.Module):
    """Blocks of batch norm, dropout and a linear layer, with ReLU after each but the last.

    `features` is the width of the pooled vector (three times the encoder's), `first_dropout` that
    of the first block; the later ones have `config.dropout`. The last block gives logits.
    """

    def __init__(
        self, features: int, config: ClassifierHeadConfig, classes: int, first_dropout: float
    ) -> None:
        super().__init__()
        inputs = (features, *config.hidden_sizes)
        outputs = (*config.hidden_sizes, classes)
        dropouts = (first_dropout, *(config.dropout for _ in config.hidden_sizes))
        self.blocks = nn.ModuleList(map(_block, inputs, outputs, dropouts))

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the logits [batch, classes] of `pooled` [batch, features].

        In training mode the batch norm needs at least two rows.
        """
        *hidden, last = self.blocks
        for block in hidden:
            pooled = block(pooled).relu()
        logits: Tensor = last(pooled)
        return logits


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(inputs), nn.Dropout(dropout), nn.Linear(inputs, outputs))
