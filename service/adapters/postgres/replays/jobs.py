"""Replay jobs as people make, see and direct them."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.both_ways import both_ways
from service.adapters.postgres.deliveries.rows import columns
from service.adapters.postgres.endpoints.ids import new_id
from service.adapters.postgres.engine import driver
from service.adapters.postgres.replays.search import Search
from service.adapters.postgres.replays.statements import FOR_A_STEP
from service.core.audit.actor import Actor, ActorKind
from service.core.audit.entry import AuditOperation
from service.core.audit.entry import State as AuditState
from service.core.deliveries.delivery import State
from service.core.replays.job import (
    LIVE_MAX,
    OrderRefused,
    ReplayCount,
    ReplayJob,
    ReplayOrder,
    ReplayState,
    ReplayWish,
    SkipReason,
    TooManyReplays,
    obeyed,
)
from service.core.replays.step import STEP_MAX, WINDOW_MIN
from service.core.walk import Walk
from service.ports.desk import TimeKeyset

COUNT_SECONDS_MAX: Final = 1.5
_OPEN_SHOWN_MAX: Final = 10_000

_COLUMNS: Final = """j.id, j.organization_id, j.state, j.reason, j.endpoint_id, j.event_type,
       cardinality(j.event_uids) AS ids_count, j.since, j.until, j.states, j.rate, j.total_count,
       j.parts_uncounted = 0 AS is_counted, j.created_count, j.superseded_count, j.subscription_removed_count,
       j.event_dropped_count, j.created_by, j.created_at, j.started_at, j.ended_at"""
_SHOWN: Final = f"""SELECT {_COLUMNS}, (SELECT count(*) FROM (
       SELECT FROM replay_made m JOIN open_deliveries o USING (event_uid, subscription_id, replay_number)
        WHERE m.job_id = j.id LIMIT {_OPEN_SHOWN_MAX}) AS o) AS open_count
  FROM replay_jobs j"""  # noqa: S608 - constants
_LIST: Final = both_ways(
    """
 WHERE j.organization_id = $1 AND ($2::text[] IS NULL OR j.state = ANY ($2))
   AND ($3::timestamptz IS NULL OR (j.created_at, j.id) < ($3, $4::text))
 ORDER BY j.created_at DESC, j.id DESC LIMIT $5""",
    head=_SHOWN,
)

# The endpoints whose deliveries a job is about: the one named, those of the deliveries named, or all the organization
# had in that time. $1 organization, $2 endpoint, $3 events, $4 subscriptions, $5 since.
_OF_ONE: Final = "SELECT id FROM endpoints WHERE organization_id = $1 AND id = $2"
_OF_NAMED: Final = """SELECT DISTINCT s.endpoint_id AS id
  FROM unnest($2::uuid[], $3::bigint[]) AS k (event_uid, subscription_id)
  JOIN subscriptions s ON s.id = k.subscription_id WHERE s.organization_id = $1"""
_OF_ALL: Final = """SELECT id FROM endpoints
 WHERE organization_id = $1 AND (removed_at IS NULL OR removed_at >= coalesce($2, '-infinity'::timestamptz))"""

_INSERT: Final = """
INSERT INTO replay_jobs (id, organization_id, endpoint_id, event_type, event_uids, subscription_ids, since, until,
                         states, rate, created_by, parts_uncounted, parts_left, state, ended_at)
SELECT $1, $2, $3, $4, $5::uuid[], $6::bigint[], $7, $8, $9::text[], $10, $11, $12, $12,
       CASE WHEN $12 = 0 THEN 'done' ELSE 'pending' END, CASE WHEN $12 = 0 THEN now() END
"""


class ReplayJobs:
    """Implements ``ReplayJobDesk``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def count(self, organization_id: str, wish: ReplayWish) -> ReplayCount:
        """What a job would do, as far as can be counted in ``COUNT_SECONDS_MAX``. Nothing is stored."""
        ends_at = time.monotonic() + COUNT_SECONDS_MAX
        total, skipped, is_complete = 0, Counter[SkipReason](), True
        async with driver(self._engine) as connection, connection.transaction(readonly=True):
            await connection.execute(FOR_A_STEP)
            now = await connection.fetchval("SELECT now()")
            for endpoint_id in await _endpoints_of(connection, organization_id, wish):
                search = await _search(wish, endpoint_id, now).with_types(connection)
                after, is_last = None, False
                while not is_last and time.monotonic() < ends_at:
                    candidates, after = await search.judge(connection, after, STEP_MAX)
                    total += len(candidates)
                    skipped.update(because for each in candidates if (because := each.skipped_because) is not None)
                    is_last = after is None
                if not is_last:
                    is_complete = False
                    break
        return ReplayCount(total, total - skipped.total(), skipped, is_complete)

    async def create(self, organization_id: str, wish: ReplayWish, *, by: Actor) -> ReplayJob | TooManyReplays:
        """Store a job, with a part for each endpoint. Only one at a time for an organization: it has a limit."""
        job_id = new_id("rpl")
        keys = _pairs(wish)
        async with driver(self._engine) as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 7))", organization_id)
            live = "SELECT count(*) FROM replay_jobs WHERE organization_id = $1 AND ended_at IS NULL"
            if await connection.fetchval(live, organization_id) >= LIVE_MAX:
                return TooManyReplays()
            endpoint_ids = await _endpoints_of(connection, organization_id, wish)
            await connection.execute(
                _INSERT,
                *(job_id, organization_id, wish.endpoint_id, wish.event_type, *keys, wish.since, wish.until),
                *([state.value for state in wish.states], wish.rate, _name_of(by), len(endpoint_ids)),
            )
            await connection.execute(
                "INSERT INTO replay_parts (job_id, endpoint_id, window_size) SELECT $1, unnest($2::text[]), $3",
                *(job_id, endpoint_ids, WINDOW_MIN),
            )
            job = _job(await connection.fetchrow(f"{_SHOWN} WHERE j.id = $1", job_id))
            await audit(connection, by, "replay.create", organization_id, job_id, after=_asked(job))
        return job

    async def find(self, organization_id: str, job_id: str) -> ReplayJob | None:
        """The organization's job with this id; None if it does not exist."""
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(_OWN, organization_id, job_id)
        return None if row is None else _job(row)

    async def owner_of(self, job_id: str) -> str | None:
        """The organization whose job this is; None if it does not exist."""
        async with driver(self._engine) as connection:
            found: str | None = await connection.fetchval(
                "SELECT organization_id FROM replay_jobs WHERE id = $1", job_id
            )
            return found

    async def list(
        self,
        organization_id: str,
        walk: Walk[TimeKeyset],
        *,
        states: Collection[ReplayState] = (),
    ) -> Sequence[ReplayJob]:
        """Jobs in these states (none: in any), by (created_at, id)."""
        created_at, job_id = walk.beside or (None, None)
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                _LIST[walk.is_descending], *(organization_id, list(states) or None, created_at, job_id, walk.limit)
            )
        return list(map(_job, rows))

    async def order(
        self, organization_id: str, job_id: str, order: ReplayOrder, *, by: Actor
    ) -> ReplayJob | OrderRefused | None:
        """Pause, resume or cancel a job; waits for its current step, which takes milliseconds."""
        async with driver(self._engine) as connection, connection.transaction():
            state = await connection.fetchval(
                "SELECT state FROM replay_jobs WHERE organization_id = $1 AND id = $2 FOR UPDATE",
                *(organization_id, job_id),
            )
            if state is None:
                return None
            following = obeyed(ReplayState(state), order)
            if isinstance(following, OrderRefused):
                return following
            if following != state:
                await connection.execute(
                    """UPDATE replay_jobs SET state = $2, tokens = 0, measured_at = now(),
                              ended_at = CASE WHEN $2 = 'cancelled' THEN now() END WHERE id = $1""",
                    *(job_id, following.value),
                )
                states = {"state": state}, {"state": following.value}
                await audit(connection, by, _OPERATIONS[order], organization_id, job_id, *states)
            row = await connection.fetchrow(_OWN, organization_id, job_id)
        return _job(row)


_OPERATIONS: Final[Mapping[ReplayOrder, AuditOperation]] = {
    ReplayOrder.PAUSE: "replay.pause",
    ReplayOrder.RESUME: "replay.resume",
    ReplayOrder.CANCEL: "replay.cancel",
}
_OWN: Final = f"{_SHOWN} WHERE j.organization_id = $1 AND j.id = $2"


async def _endpoints_of(connection: asyncpg.Connection, organization_id: str, wish: ReplayWish) -> Sequence[str]:
    if wish.endpoint_id is not None:
        rows = await connection.fetch(_OF_ONE, organization_id, wish.endpoint_id)
    elif wish.keys:
        rows = await connection.fetch(_OF_NAMED, organization_id, *_pairs(wish))
    else:
        rows = await connection.fetch(_OF_ALL, organization_id, wish.since)
    return [row["id"] for row in rows]


def _search(wish: ReplayWish, endpoint_id: str, now: datetime) -> Search:
    uids, subscription_ids = _pairs(wish)
    row = {
        "event_type": wish.event_type,
        "event_uids": uids,
        "subscription_ids": subscription_ids,
        "since": wish.since,
        "until": wish.until,
        "states": [state.value for state in wish.states],
        "created_at": now,
    }
    return Search.of(row, endpoint_id, None)


def _pairs(wish: ReplayWish) -> Sequence[list[object]]:
    """Events and subscriptions of the deliveries named, each pair once."""
    return columns(sorted({(key.event_uid, key.subscription_id) for key in wish.keys}), 2)


def _name_of(by: Actor) -> str:
    return by.id if by.kind is ActorKind.API_KEY else by.kind.value


def _asked(job: ReplayJob) -> AuditState:
    """What was asked for."""
    names = ("endpoint_id", "event_type", "ids_count", "since", "until", "states", "rate")
    return {name: getattr(job, name) for name in names}


def _job(row: asyncpg.Record) -> ReplayJob:
    return ReplayJob(
        id=row["id"],
        organization_id=row["organization_id"],
        state=ReplayState(row["state"]),
        reason=row["reason"],
        endpoint_id=row["endpoint_id"],
        event_type=row["event_type"],
        ids_count=row["ids_count"],
        since=row["since"],
        until=row["until"],
        states=tuple(map(State, row["states"])),
        rate=row["rate"],
        total_count=row["total_count"],
        is_counted=row["is_counted"],
        created_count=row["created_count"],
        skipped={each: row[f"{each}_count"] for each in SkipReason},
        open_count=row["open_count"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )
