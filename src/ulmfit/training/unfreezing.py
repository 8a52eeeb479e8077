"""Which layer groups train when: a plan is a sequence of phases, plain data.

Group 0 is the lowest layer; the last group is the newest, nearest the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ulmfit.errors import ConfigError


@dataclass(frozen=True)
class Phase:
    """A stretch of training during which the same layer groups train."""

    trainable: tuple[int, ...]
    """Indices of the layer groups that train, ascending."""

    epochs: float
    """Length of the phase, above 0."""

    restarts: bool
    """Whether a cycle of the schedule begins with this phase; otherwise the last one goes on.
    True of every plan's first phase."""


Plan = tuple[Phase, ...]


def unfreezing_plan(name: str, groups: int, epochs: float) -> Plan:
    """Return the named plan for `groups` layer groups; its phases add up to `epochs`.

    - `gradual`: the last group, then one more an epoch, all for the rest; one cycle of the
      schedule over the whole (Howard & Ruder 2018, section 3.3).
    - `published`: the last group, the last two, all, each with a cycle of its own (the
      scripts published with the paper).
    - `last`: the last group only.
    - `chain_thaw`: the last group alone, then each other group alone from the first, then
      all, each with a cycle of its own (Felbo et al. 2017, section 3.3).
    - `full`: all from the start.

    Every phase but the last takes one epoch and the last one the rest. Where that would
    leave the last phase less than an epoch, all phases share the epochs equally.

    Raises `ConfigError` for any other name.
    """
    everything = tuple(range(groups))
    last = everything[-1:]
    match name:
        case "gradual":
            steps = [everything[first:] for first in reversed(everything)]
            return _phases(steps, epochs, own_cycles=False)
        case "published":
            steps = [last, everything[-2:], everything]
            return _phases(steps, epochs, own_cycles=True)
        case "last":
            return _phases([last], epochs, own_cycles=False)
        case "chain_thaw":
            alone = [(group,) for group in everything[:-1]]
            return _phases([last, *alone, everything], epochs, own_cycles=True)
        case "full":
            return _phases([everything], epochs, own_cycles=False)
    raise ConfigError(
        f"setting 'unfreezing': found {name!r}; choose gradual, published, last, chain_thaw or full"
    )


def _phases(trainable: Sequence[tuple[int, ...]], epochs: float, own_cycles: bool) -> Plan:
    """Lay the sets of groups out over `epochs`; with few groups equal sets are one phase."""
    distinct = list(dict.fromkeys(trainable))
    each = min(1.0, epochs / len(distinct))
    rest = epochs - each * (len(distinct) - 1)
    lengths = [each] * (len(distinct) - 1) + [rest]
    return tuple(
        Phase(groups, length, restarts=own_cycles or place == 0)
        for place, (groups, length) in enumerate(zip(distinct, lengths, strict=True))
    )
