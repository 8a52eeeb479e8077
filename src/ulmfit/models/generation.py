"""Drawing the next token from the logits: temperature, top-k, top-p."""

from __future__ import annotations

import torch
from torch import Tensor


def next_token(
    logits: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator
) -> int:
    """Draw one id from `logits` [vocab].

    `temperature` 0 takes the likeliest; `top_k` 0 and `top_p` 1 leave all tokens in the draw. Of
    `top_p`, the likeliest tokens stay whose probabilities first reach it (Holtzman et al. 2020).
    """
    if temperature == 0:
        return int(logits.argmax())
    logits = logits.double() / temperature
    if 0 < top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -torch.inf)
    if top_p < 1.0:
        ordered, order = logits.softmax(0).sort(descending=True)
        reached_before = ordered.cumsum(0) - ordered >= top_p
        logits = logits.masked_fill(
            torch.zeros_like(reached_before).scatter(0, order, reached_before), -torch.inf
        )
    return int(torch.multinomial(logits.softmax(0), 1, generator=generator))
