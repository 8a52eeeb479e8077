"""How many floating-point operations a token costs, counted from the shapes.

A multiplication and an addition each count as one; products of matrices are counted, and nothing
else: they are what a processor's peak is stated for. Masks, gates and the optimiser come on top.
"""

from __future__ import annotations

from collections.abc import Collection

from ulmfit.config.model import EncoderConfig


def encoder_operations(config: EncoderConfig, trainable: Collection[int] | None = None) -> int:
    """Return the operations of the encoder for a token.

    `trainable`: None for reading; for a training step, which layers learn, -1 being the embedding.
    A layer that learns makes the gradients of its matrices; one above another that learns, that of
    its input; either, that of its state at each step. Each costs what its product forward does.
    """
    total = 0
    for place, (below, size) in enumerate(config.layer_shapes):
        of_input, of_state = 2 * 4 * size * below, 2 * 4 * size * size
        learns = place in (trainable or ())
        passes_on = any(lower < place for lower in trainable or ())
        total += (1 + learns + passes_on) * of_input
        total += (1 + learns + (learns or passes_on)) * of_state
    return total


def decoder_operations(config: EncoderConfig, words: int, training: bool) -> int:
    """Return the operations for the scores of `words` words, and their gradients in training."""
    return 2 * config.embedding_size * words * (3 if training else 1)
