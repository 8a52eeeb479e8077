"""What fastai calls the tensors of an AWD-LSTM, in every layout that it has published.

A name is a template: `{layer}` stands for a number, `{rest}` for anything. The first table is read
both ways; the other layouts are brought to the names of fastai 2 before.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

Table = tuple[tuple[str, str], ...]

FASTAI_2: Table = (
    ("encoder.embedding.weight", "0.encoder.weight"),
    ("encoder.layers.{layer}.weight_ih", "0.rnns.{layer}.module.weight_ih_l0"),
    ("encoder.layers.{layer}.weight_hh", "0.rnns.{layer}.weight_hh_l0_raw"),
    ("encoder.layers.{layer}.bias_ih", "0.rnns.{layer}.module.bias_ih_l0"),
    ("encoder.layers.{layer}.bias_hh", "0.rnns.{layer}.module.bias_hh_l0"),
    ("head.bias", "1.decoder.bias"),
    ("head.blocks.{block}.0.{rest}", "1.layers.{block}.0.{rest}"),
    ("head.blocks.{block}.2.{rest}", "1.layers.{block}.2.{rest}"),
)
"""Our names, and those of a language model or a text classifier of fastai 2."""

OTHER_LAYOUTS: Table = (
    ("encoder.{rest}", "0.encoder.{rest}"),  # `save_encoder`
    ("encoder_dp.{rest}", "0.encoder_dp.{rest}"),
    ("rnns.{rest}", "0.rnns.{rest}"),
    ("0.module.{rest}", "0.{rest}"),  # the encoder of a classifier
    ("0.encoder_with_dropout.embed.weight", "0.encoder_dp.emb.weight"),  # 2018
    ("0.rnns.{layer}.module.weight_hh_l0_raw", "0.rnns.{layer}.weight_hh_l0_raw"),
    ("1.layers.{block}.bn.{rest}", "1.layers.{block}.0.{rest}"),  # 2018
    ("1.layers.{block}.lin.{rest}", "1.layers.{block}.2.{rest}"),
)
"""Names of the other layouts, and what fastai 2 has for them."""

TIED = ("0.encoder_dp.emb.weight", "1.decoder.weight")
"""Other names of the embedding's matrix."""

DROPPED = "0.rnns.{layer}.module.weight_hh_l0"
"""A copy of a recurrent matrix, as the last dropout of training left it (fastai 1)."""

FLAT = re.compile(r"1\.layers\.(?P<place>[0-9]{1,3})\.(?P<rest>[a-z_]+)")
"""A name in a classifier's head of fastai 1, which is one sequence."""

QRNN = ("0.rnns.{layer}.linear.{rest}", "0.rnns.{layer}.layers.{rest}")
"""Names that only a quasi-recurrent network has."""


def to_fastai_2(name: str) -> str:
    """Return what fastai 2 calls our tensor `name`."""
    return _renamed(name, FASTAI_2)


def from_fastai_2(name: str) -> str:
    """Return what we call fastai 2's tensor `name`; a name that it does not have stays."""
    return _renamed(name, ((theirs, ours) for ours, theirs in FASTAI_2))


def as_fastai_2(name: str) -> str:
    """Return what fastai 2 calls a tensor named `name` in another layout."""
    for _ in OTHER_LAYOUTS:  # each at most once, one inside the other
        name = _renamed(name, OTHER_LAYOUTS)
    return name


def in_blocks(names: Iterable[str]) -> dict[str, str]:
    """Return fastai 2's name of each name in a head of fastai 1, if there is one.

    Each batch norm begins a block; what has no weights, such as a dropout of 0, may be absent.
    """
    flat = {name: match for name in names if (match := FLAT.fullmatch(name))}
    norms = sorted(int(m["place"]) for m in flat.values() if m["rest"] == "running_mean")
    renamed = {}
    for name, match in flat.items():
        place = int(match["place"])
        if block := bisect_right(norms, place):
            part = 0 if place in norms else 2
            renamed[name] = f"1.layers.{block - 1}.{part}.{match['rest']}"
    return renamed


def is_copy(name: str) -> bool:
    """Tell whether fastai's tensor `name` repeats another one."""
    return name in TIED or _match(DROPPED, name) is not None


def is_quasi_recurrent(name: str) -> bool:
    """Tell whether fastai's tensor `name` belongs to a QRNN."""
    return any(_match(template, name) for template in QRNN)


def _renamed(name: str, table: Iterable[tuple[str, str]]) -> str:
    for template, other in table:
        if match := _match(template, name):
            return other.format(**match.groupdict())
    return name


def _match(template: str, name: str) -> re.Match[str] | None:
    pattern = re.escape(template).replace(r"\{rest\}", "(?P<rest>.+)")
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[0-9]+)", pattern)
    return re.fullmatch(pattern, name)
