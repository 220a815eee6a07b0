"""The oracle: what was published, what the receiver saw and what the database says, held against each other."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path

import asyncpg

Pair = tuple[str, str]
"""An event's id and the path of an endpoint that it is for."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the receiver's ledger. ``at_once``: how many requests to this path it had then, this one included."""

    id: str
    path: str
    complaint: str | None
    sha256: str
    attempt: str | None
    status: int
    at: float = 0.0
    at_once: int = 1
    replay: str | None = None

    @property
    def is_accepted(self) -> bool:
        return self.complaint is None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Row:
    """A delivery in the database, with the numbers of its attempts.

    ``resent``: how many of them made their request again, as the kept-alive connection had gone stale.
    """

    state: str
    reason: str | None
    attempts: tuple[int, ...]
    accepted_attempts: int
    resent: int = 0


@dataclass(frozen=True, slots=True)
class Database:
    """All there is to know of the deliveries: rows by pair, and each event's body by id."""

    rows: Mapping[Pair, Row]
    digests: Mapping[str, str]


@dataclass(slots=True)
class Findings:
    """The ids in each class of wrong. Duplicates are allowed after a crash, within bounds, and stand apart."""

    unrecorded: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    uninvited: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    not_ended: list[str] = field(default_factory=list)
    ended_wrongly: list[str] = field(default_factory=list)
    attempts_missing: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)

    def wrong(self) -> str:
        """Every class that is not empty, with its ids; nothing where all is well."""
        return "\n".join(
            f"{each.name}: {len(found)}: {', '.join(found)}"
            for each in fields(self)
            if each.name != "duplicates" and (found := getattr(self, each.name))
        )


class LedgerReader:
    """The receiver's ledger as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._lines: list[Line] = []

    def lines(self) -> Sequence[Line]:
        """All whole lines so far."""
        with self._path.open("rb") as file:
            file.seek(self._position)
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._position += len(whole)
        self._lines += [Line(**json.loads(line)) for line in whole.splitlines()]
        return self._lines

    def accepted(self) -> set[Pair]:
        """What the receiver has taken."""
        return {(line.id, line.path) for line in self.lines() if line.is_accepted}


async def read_database(connection: asyncpg.Connection) -> Database:
    """Read every delivery, its attempts, and its event."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = await connection.fetch(
            r"""SELECT d.event_id, regexp_replace(s.target_url, '^\w+://[^/]+', '') AS path, d.state, d.reason,
                       array(SELECT number FROM attempts a WHERE a.event_uid = d.event_uid
                                AND a.subscription_id = d.subscription_id ORDER BY number) AS attempts,
                       (SELECT count(*) FROM attempts a WHERE a.event_uid = d.event_uid
                           AND a.subscription_id = d.subscription_id AND a.outcome = 'accepted') AS accepted,
                       (SELECT count(*) FROM attempts a WHERE a.event_uid = d.event_uid
                           AND a.subscription_id = d.subscription_id AND a.detail LIKE '%on a second connection%') AS resent
                  FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id"""
        )
        bodies = await connection.fetch("SELECT event_id, body FROM events")
    return Database(
        {
            (event_id, path): Row(state, reason, tuple(attempts), accepted, resent)
            for event_id, path, state, reason, attempts, accepted, resent in rows
        },
        {event_id: sha256(body).hexdigest() for event_id, body in bodies},
    )


def judge(published: Mapping[str, Iterable[str]], lines: Sequence[Line], database: Database) -> Findings:
    """Name every event that is not as promised. ``published``: confirmed ids, each with the paths that want it."""
    wanted = {(event_id, path) for event_id, paths in published.items() for path in paths}
    # Whoever subscribes between the publishing and the recording gets the event as well, and then must get it.
    wanted |= {pair for pair in database.rows if pair[0] in published}
    found = Findings(unrecorded=sorted(set(published) - set(database.digests)))
    _judge_requests(found, wanted, lines, database)
    requests = Counter((line.id, line.path) for line in lines if line.complaint is None)
    accepted = {(line.id, line.path) for line in lines if line.is_accepted}
    for pair in sorted(wanted):
        row = database.rows.get(pair)
        is_gone = pair[1].startswith("/gone/")
        if pair not in accepted and not is_gone:
            found.lost.append(_name(pair))
        if row is None or row.state in {"pending", "leased"}:
            found.not_ended.append(f"{_name(pair)} ({row.state if row else 'no row'})")
            continue
        if row.state != ("cancelled" if is_gone else "delivered"):
            found.ended_wrongly.append(f"{_name(pair)} ({row.state}: {row.reason})")
        is_complete = row.attempts == tuple(range(1, len(row.attempts) + 1))
        is_complete &= len(row.attempts) + row.resent >= requests[pair]
        if not is_complete or (row.state == "delivered" and not row.accepted_attempts):
            found.attempts_missing.append(f"{_name(pair)} ({row.attempts} of {requests[pair]} requests)")
    return found


def _judge_requests(found: Findings, wanted: set[Pair], lines: Sequence[Line], database: Database) -> None:
    digests: dict[str, set[str]] = defaultdict(set)
    times_accepted: Counter[Pair] = Counter()
    for line in lines:
        pair = (line.id, line.path)
        if line.complaint is not None:
            found.unverified.append(f"{_name(pair)} ({line.complaint})")
        if pair not in wanted:
            found.uninvited.append(_name(pair))
        digests[line.id].add(line.sha256)
        times_accepted[pair] += line.is_accepted
    for event_id, seen in digests.items():
        if seen - {database.digests.get(event_id)}:
            found.differing.append(event_id)
    found.duplicates = [_name(pair) for pair, times in times_accepted.items() for _ in range(times - 1)]


def _name(pair: Pair) -> str:
    return f"{pair[0]} at {pair[1]}"
