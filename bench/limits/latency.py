"""How late events arrived, and which did not."""

from collections.abc import Collection, Mapping, Sequence

Figures = dict[str, float]


def summary(milliseconds: Collection[float]) -> Figures:
    """The count, the median, the 95th and 99th percentile, and the most."""
    ordered = sorted(milliseconds)
    if not ordered:
        return {"count": 0}
    return {"count": len(ordered)} | {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 2)
        for name, part in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99), ("max_ms", 1.0))
    }


def lateness(numbers: Collection[int], sent: Mapping[int, int], arrived: Mapping[int, Sequence[int]]) -> Figures:
    """From just before the write to the broker's socket to the first arrival at the receiver, of these events."""
    late = [(min(arrived[number]) - sent[number]) / 1e6 for number in numbers if number in arrived]
    copies = sum(len(arrived.get(number, ())) for number in numbers)
    return summary(late) | {"missing": len(numbers) - len(late), "extra": copies - len(late)}


def by_second(numbers: Collection[int], sent: Mapping[int, int], arrived: Mapping[int, Sequence[int]]) -> list[float]:
    """The 95th percentile of each second in which events were published, from the first one on."""
    if not numbers:
        return []
    first_ns = min(sent[number] for number in numbers)
    seconds: dict[int, list[float]] = {}
    for number in numbers:
        if number in arrived:
            second = (sent[number] - first_ns) // 1_000_000_000
            seconds.setdefault(second, []).append((min(arrived[number]) - sent[number]) / 1e6)
    return [summary(seconds[second])["p95_ms"] for second in sorted(seconds)]


def ratio(now: Mapping[str, float], idle: Mapping[str, float], name: str) -> float | None:
    """How many times as late; None where nothing arrived to compare."""
    return round(now[name] / idle[name], 2) if name in now and name in idle else None
