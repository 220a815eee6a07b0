"""The receivers' times, counted in slots that each are 20 % wider than the one before: counts that can be added up."""

from collections.abc import Mapping
from math import ceil, log
from typing import Final

SLOT_RATIO: Final = 1.2
"""An estimate lies in the middle of its slot, so it is off by a tenth at most."""


def slot_of(milliseconds: int) -> int:
    """The least ``n`` with ``SLOT_RATIO ** n`` of at least so many milliseconds. The counting in SQL does the same."""
    return ceil(log(max(milliseconds, 1)) / log(SLOT_RATIO))


def percentile(counts: Mapping[int, int], ratio: float) -> float | None:
    """The time that this part of the attempts did not exceed, in ms; None of none."""
    rank, seen = ratio * sum(counts.values()), 0
    for slot in sorted(counts):
        seen += counts[slot]
        if seen and seen >= rank:
            return float(SLOT_RATIO ** (slot - 0.5)) if slot else 1.0
    return None
