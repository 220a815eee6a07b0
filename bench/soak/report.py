"""The report of a soak: one JSON document, and a page for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench.soak.blows import Blow
from bench.soak.verdict import Verdict


def by_kind(blows: Sequence[Blow], verdict: Verdict) -> dict[str, dict[str, Any]]:
    """For each kind of fault: how often, what it repeated, and how long until all was well again."""
    repeats = Counter(copy.blow.kind for copy in verdict.copies if copy.blow is not None)
    found: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(blow.kind for blow in blows):
        same = [blow for blow in blows if blow.kind == kind]
        found[kind] = {
            "times": len(same),
            "duplicates": repeats[kind],
            "lasted_seconds": _spread([blow.lifted_at - blow.began_at for blow in same]),
            "ready_after_seconds": _spread([blow.ready_at - blow.lifted_at for blow in same]),
            "caught_up_after_seconds": _spread(
                [blow.caught_up_at - blow.lifted_at for blow in same if blow.caught_up_at is not None]
            ),
        }
    return found


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"median": round(median(values), 1), "max": round(max(values), 1)}


def each_blow(blows: Sequence[Blow], verdict: Verdict, began_at: float) -> list[dict[str, Any]]:
    """Every fault in turn."""
    repeats = Counter(copy.blow.number for copy in verdict.copies if copy.blow is not None)
    return [
        {
            "number": blow.number,
            "kind": blow.kind,
            "detail": blow.detail,
            "at_seconds": round(blow.began_at - began_at, 1),
            "lasted_seconds": round(blow.lifted_at - blow.began_at, 1),
            "ready_after_seconds": round(blow.ready_at - blow.lifted_at, 1),
            "caught_up_after_seconds": None
            if blow.caught_up_at is None
            else round(blow.caught_up_at - blow.lifted_at, 1),
            "held": len(blow.held),
            "duplicates": repeats[blow.number],
            "troubles": dict(Counter(blow.seen).most_common(6)),
        }
        for blow in blows
    ]


def each_copy(verdict: Verdict, began_at: float) -> list[dict[str, Any]]:
    """Every duplicate with its fault, in the order in which they came."""
    return [
        {
            "id": copy.pair[0],
            "path": copy.pair[1],
            "at_seconds": round(copy.at - began_at, 2),
            "again_at_seconds": round(copy.again_at - began_at, 2),
            "fault": None if copy.blow is None else copy.blow.number,
            "kind": None if copy.blow is None else copy.blow.kind,
        }
        for copy in sorted(verdict.copies, key=lambda copy: copy.again_at)
    ]


def page(report: Mapping[str, Any]) -> str:
    """For people: what was found, and a line for each kind of fault."""
    lines = [
        f"{report['confirmed']} events confirmed ({report['events_per_second']}/s)",
        f"{report['wanted']} deliveries wanted, {report['delivered']} delivered",
        f"{len(report['duplicates'])} duplicates",
        f"lost {len(report['lost'])}, unknown {len(report['unknown'])}, parked {report['parked']}",
        f"{'fault':32}{'times':>6}{'dupl.':>7}{'lasted':>9}{'ready':>9}{'caught up, median, max':>26}",
    ]
    for kind, row in report["by_kind"].items():
        caught = row["caught_up_after_seconds"] or {"median": "never", "max": "never"}
        lines.append(
            f"{kind:32}{row['times']:>6}{row['duplicates']:>7}{row['lasted_seconds']['median']:>9}"
            f"{row['ready_after_seconds']['median']:>9}{caught['median']:>19}{caught['max']:>7}"
        )
    memory = report["steady_worker"]
    lines.append(f"steady worker: {memory['last_mib']} MiB, slope {memory['slope_mib_per_hour']} MiB/h")
    lines += [f"not struck at a time: {kind}: {why}" for kind, why in report["not_struck"].items()]
    lines += [f"left out: {kind}: {why}" for kind, why in report["left_out"].items()]
    lines += [f"FAILED: {failure}" for failure in report["failures"]]
    return "\n".join(lines)
