"""The oracle's verdict on a whole soak, with what the database knows of every id that is not as promised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from bench.soak.blows import Blow, Copy, copies
from tests.end_to_end.oracle import Findings, Line, judge, read_database
from tests.end_to_end.town import Town

KNOWN_MAX = 50
"""So many ids are looked up."""

WRONG_TIMES = frozenset({"too_old", "too_new"})
"""What a receiver complains of when a worker's clock is wrong."""

KNOWN = """
SELECT d.event_id, s.target_url, d.state, d.reason, d.leased_by, d.lease_expires_at, d.next_attempt_at, d.claims_made,
       (SELECT array_agg(format('%s %s %s %s', a.number, a.outcome, a.reason, a.detail) ORDER BY a.number)
          FROM attempts a WHERE a.event_uid = d.event_uid AND a.subscription_id = d.subscription_id) AS attempts
  FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id WHERE d.event_id = ANY ($1)
"""


@dataclass(slots=True)
class Verdict:
    """What became of every event. ``failures`` are sentences; it is empty if all went as promised."""

    confirmed: int
    wanted: int
    delivered: int
    lost: Sequence[str]
    unknown: Sequence[str]
    copies: Sequence[Copy]
    refused_for_their_time: int
    parked: int
    failures: list[str] = field(default_factory=list)
    known: list[dict[str, Any]] = field(default_factory=list)

    @property
    def unexplained(self) -> list[Copy]:
        """Deliveries that were repeated though no fault was near."""
        return [copy for copy in self.copies if copy.blow is None]


async def judge_all(town: Town, blows: Sequence[Blow], parked: int) -> Verdict:
    """Hold the producer's ledger, the receiver's and the database against each other."""
    connection = await asyncpg.connect(town.database_url)
    try:
        database = await read_database(connection)
        lines, refused = _without_wrong_times(town.ledger.lines(), blows)
        found = judge(town.published, lines, database)
        unknown = sorted({*found.uninvited, *(set(database.digests) - set(town.published))})
        accepted = {(line.id, line.path) for line in lines if line.is_accepted}
        verdict = Verdict(
            confirmed=len(town.published),
            wanted=sum(len(paths) for paths in town.published.values()),
            delivered=len(accepted),
            lost=sorted({*found.unrecorded, *found.lost}),
            unknown=unknown,
            copies=copies(lines, blows),
            refused_for_their_time=refused,
            parked=parked,
        )
        _name_failures(verdict, found)
        if verdict.failures:
            ids = [name.partition(" ")[0] for name in _named(found, unknown, verdict.unexplained)]
            rows = await connection.fetch(KNOWN, list(dict.fromkeys(ids))[:KNOWN_MAX])
            verdict.known = [{key: _plain(value) for key, value in row.items()} for row in rows]
    finally:
        await connection.close()
    return verdict


def _without_wrong_times(lines: Sequence[Line], blows: Sequence[Blow]) -> tuple[list[Line], int]:
    """Leave out what a receiver refused while a worker's clock was wrong, and count it."""
    windows = [(blow.began_at, blow.ready_at) for blow in blows if blow.kind == "clock shifted"]
    kept = [
        line
        for line in lines
        if not (line.complaint in WRONG_TIMES and any(begin <= line.at <= end for begin, end in windows))
    ]
    return kept, len(lines) - len(kept)


def _name_failures(verdict: Verdict, found: Findings) -> None:
    if wrong := found.wrong():
        verdict.failures += wrong.splitlines()
    if verdict.unknown and not found.uninvited:
        verdict.failures.append(f"unknown: {len(verdict.unknown)}: {', '.join(verdict.unknown)}")
    if verdict.unexplained:
        names = ", ".join(f"{copy.pair[0]} at {copy.pair[1]}" for copy in verdict.unexplained)
        verdict.failures.append(f"repeated without a fault: {len(verdict.unexplained)}: {names}")
    if verdict.parked:
        verdict.failures.append(f"parked: {verdict.parked} messages that are good events")


def _named(found: Findings, unknown: Sequence[str], unexplained: Sequence[Copy]) -> list[str]:
    classes: Mapping[str, Sequence[str]] = {
        name: getattr(found, name) for name in ("unrecorded", "lost", "not_ended", "ended_wrongly", "attempts_missing")
    }
    return [*(each for names in classes.values() for each in names), *unknown, *(copy.pair[0] for copy in unexplained)]


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, int | str | list) else str(value)
