"""How far probabilities can be believed: stated and found shares of right answers, in bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Of equal width (Guo et al. 2017, section 2)."""


class Reliability:
    """Counts of answers by their probability; memory does not grow with their number."""

    def __init__(self) -> None:
        """Begin with no answers."""
        self.count = np.zeros(BINS, dtype=np.int64)
        self._stated = np.zeros(BINS)
        self._right = np.zeros(BINS)

    def add(self, stated: NDArray[Any], right: NDArray[Any]) -> None:
        """Add answers: their probabilities, within [0, 1], and whether each was right."""
        places = np.minimum((stated.ravel() * BINS).astype(np.int64), BINS - 1)
        self.count += np.bincount(places, minlength=BINS)
        self._stated += np.bincount(places, stated.ravel(), minlength=BINS)
        self._right += np.bincount(places, right.ravel(), minlength=BINS)

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al. 2017, equation 3); NaN of no answers."""
        if not self.count.any():
            return float("nan")
        return float(np.abs(self._stated - self._right).sum() / self.count.sum())

    def bins(self) -> list[dict[str, float]]:
        """Return, of each bin with answers, its bounds, their number, and both shares."""
        return [
            {
                "from": place / BINS,
                "to": (place + 1) / BINS,
                "count": int(count),
                "stated": float(self._stated[place] / count),
                "right": float(self._right[place] / count),
            }
            for place, count in enumerate(self.count)
            if count
        ]


def coverage_curve(stated: NDArray[Any], right: NDArray[Any]) -> list[dict[str, float]]:
    """Return what is left, and how much of it is right, if answers below a threshold are withheld.

    `stated` and `right` are [documents]; thresholds are 0, 0.5, 0.55, ... 0.95, 0.99. A point
    without answers left is left out.
    """
    points = []
    for threshold in (0.0, *np.arange(0.5, 0.951, 0.05).round(2), 0.99):
        kept = stated >= threshold
        if kept.any():
            points.append(
                {
                    "abstain_below": float(threshold),
                    "coverage": float(kept.mean()),
                    "accuracy": float(right[kept].mean()),
                }
            )
    return points
