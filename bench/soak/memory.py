"""Resident memory and open files of one worker that lives as long as the soak."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

SAMPLE_SECONDS = 2.0
WARM_UP_SHARE = 0.2
"""The first part of a run is left out of the slope: connections, plans and directories are made then."""

MEBIBYTE = 1 << 20
HOUR_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process had at a moment."""

    at: float
    resident_mib: float
    files: int


@dataclass(slots=True)
class Memory:
    """Samples of the process that ``process_id`` names."""

    process_id: Callable[[], int]
    samples: list[Sample] = field(default_factory=list)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            process = psutil.Process(self.process_id())
            resident = process.memory_info().rss / MEBIBYTE
            self.samples.append(Sample(time.monotonic(), resident, process.num_fds()))
            await asyncio.sleep(SAMPLE_SECONDS)

    def told(self) -> dict[str, float]:
        """First, last and greatest, and the slope after the warm-up."""
        kept = self.samples[int(len(self.samples) * WARM_UP_SHARE) :]
        return {
            "first_mib": round(self.samples[0].resident_mib, 1),
            "last_mib": round(self.samples[-1].resident_mib, 1),
            "max_mib": round(max(each.resident_mib for each in self.samples), 1),
            "slope_mib_per_hour": round(HOUR_SECONDS * slope([(each.at, each.resident_mib) for each in kept]), 1),
            "files_max": max(each.files for each in self.samples),
            "files_last": self.samples[-1].files,
            "files_slope_per_hour": round(HOUR_SECONDS * slope([(each.at, each.files) for each in kept]), 1),
            "measured_minutes": round((kept[-1].at - kept[0].at) / 60, 1),
        }


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By least squares; 0 where there are too few points to say."""
    count = len(points)
    mean_x, mean_y = (sum(values) / max(count, 1) for values in ([x for x, _ in points], [y for _, y in points]))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
