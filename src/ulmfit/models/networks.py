"""The two networks: encoder with a language head, encoder with a classifier head."""

from __future__ import annotations

from torch import Tensor, nn

from ulmfit.config.model import ClassifierHeadConfig, Dropout, EncoderConfig
from ulmfit.errors import ArtefactError
from ulmfit.nn.awd_lstm import AWDLSTM
from ulmfit.nn.classifier_head import ClassifierHead
from ulmfit.nn.language_head import LanguageHead
from ulmfit.text.tokenizer import Tokenizer


class LanguageModelNetwork(nn.Module):
    """AWD-LSTM with the decoder tied to its embedding (Merity et al. 2017)."""

    def __init__(self, config: EncoderConfig, dropout: Dropout) -> None:
        """Build the network of shape `config`; `dropout` counts only in training."""
        super().__init__()
        self.encoder = AWDLSTM(config, dropout)
        self.head = LanguageHead(config.vocab_size, dropout.output)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return the layer groups, lowest first: each LSTM, then embedding and decoder.

        Embedding and decoder share one matrix, which is the last layer's (as in fastai).
        """
        layers = [list(layer.parameters()) for layer in self.encoder.layers]
        return [*layers, [*self.encoder.embedding.parameters(), *self.head.parameters()]]


class ClassifierNetwork(nn.Module):
    """AWD-LSTM with concat pooling and the two blocks (Howard & Ruder 2018, section 3.3)."""

    def __init__(
        self, config: EncoderConfig, dropout: Dropout, head: ClassifierHeadConfig, outputs: int
    ) -> None:
        """Build the network with so many `outputs`; `dropout` counts only in training."""
        super().__init__()
        self.encoder = AWDLSTM(config, dropout)
        self.outputs = outputs
        self.head = ClassifierHead(3 * config.embedding_size, head, outputs, dropout.output)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return the layer groups, lowest first: embedding, each LSTM, then the head."""
        layers = [list(layer.parameters()) for layer in self.encoder.layers]
        embedding = list(self.encoder.embedding.parameters())
        return [embedding, *layers, list(self.head.parameters())]

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the logits [batch, outputs] of pooled documents [batch, 3 * features]."""
        logits: Tensor = self.head(pooled)
        return logits


def check_vocabulary(encoder: AWDLSTM, tokenizer: Tokenizer) -> None:
    """Raise `ArtefactError` if an encoder and a tokenizer differ in the size of the vocabulary."""
    if (ids := encoder.config.vocab_size) != tokenizer.vocab_size:
        raise ArtefactError(
            f"the network has {ids} ids and the tokenizer {tokenizer.vocab_size}; take the "
            "tokenizer that it was trained with"
        )
