"""Drawing the next token from the logits: temperature, top-k, top-p, min-p."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ulmfit.errors import ConfigError


def next_token(
    logits: Tensor,
    temperature: float,
    top_k: int,
    top_p: float,
    generator: torch.Generator,
    min_p: float = 0.0,
) -> int:
    """Draw one id from `logits` [vocab].

    `temperature` 0 takes the likeliest; `top_k` 0, `top_p` 1 and `min_p` 0 leave all tokens in the
    draw. Of `top_k`, so many likeliest tokens stay, and any as likely as the last of them; of
    `top_p`, the likeliest whose probabilities first reach it (Holtzman et al. 2020); of `min_p`,
    those at least that many times as likely as the likeliest (Nguyen et al. 2024).

    Raises `ConfigError` for a temperature or a `top_k` below 0, a `top_p` outside (0, 1], or a
    `min_p` outside [0, 1].
    """
    if not (0 <= temperature < math.inf and top_k >= 0 and 0 < top_p <= 1 and 0 <= min_p <= 1):
        raise ConfigError(
            f"temperature {temperature}, top_k {top_k}, top_p {top_p}, min_p {min_p}: give a "
            "temperature of 0 or more, a top_k of 0 or more, a top_p above 0 and at most 1, a "
            "min_p from 0 to 1"
        )
    if temperature == 0:
        return int(logits.argmax())
    logits = (logits.double() - logits.max()) / temperature  # at most 0, however small it is
    if 0 < top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -torch.inf)
    if top_p < 1.0:
        order = logits.argsort(descending=True)  # probabilities may be equal where these are not
        ordered = logits.softmax(0)[order]
        reached_before = ordered.cumsum(0) - ordered >= top_p
        logits = logits.masked_fill(
            torch.zeros_like(reached_before).scatter(0, order, reached_before), -torch.inf
        )
    if min_p > 0.0:
        logits = logits.masked_fill(logits < math.log(min_p), -torch.inf)  # the likeliest: 0
    return int(torch.multinomial(logits.softmax(0), 1, generator=generator))
