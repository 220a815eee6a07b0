"""What was committed since a snapshot, of events and attempts, in order and in bounded pages."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.core.deliveries.delivery import State
from service.core.deliveries.outcome import OutcomeKind, masked_detail
from service.core.reason import Reason
from service.core.stream.position import OF_ATTEMPT, OF_EVENT, Cursor, Place, Position, Snapshot, end_of
from service.core.stream.told import CloseReason, Recorded, RecordedAttempt, RecordedEvent
from service.ports.errors import ReadTooSlowError, UnavailableError
from service.ports.stream import READ_SECONDS_MAX, Organizations, Stretch

SCANNED_MAX: Final = 5_000
"""Rows of each table that one statement looks at, whosever they are; and what the last transaction has beyond that."""
ROWS_MAX: Final = 500
BYTES_MAX: Final = 4 * 1024 * 1024
"""Of the events' bodies; one that is larger is read by itself."""

# The plan is made once for each connection: with a partition for each day it takes longer to make than to run. Without
# statistics of the actual values only index lookups are right at any size of the tables.
_PLANNED_ONCE: Final = """
SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off;
SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_bitmapscan = off;
SET LOCAL max_parallel_workers_per_gather = 0"""

# Rows that a restored dump brought along name transactions of another server, which this one may reach one day. They
# are older than anything that a stream tells of.
_IS_OURS: Final = "{time} > now() - interval '1 day'"

# Each part is bounded before it is sorted: the late transactions, and those since. $1 a snapshot to read up to, or
# null; $2 the late transactions, $3 the first one since; $4..$9 the place after which to read.
_ROWS: Final = """
(SELECT {columns} FROM {table}
  WHERE recorded_in = ANY ($2::text[]::xid8[]) AND {wanted}
  ORDER BY recorded_in, {key} LIMIT $13::int)
 UNION ALL
(SELECT {columns} FROM {table}
  WHERE recorded_in >= $3::text::xid8 AND recorded_in < (SELECT pg_snapshot_xmax(until) FROM span)
    AND recorded_in <= (SELECT coalesce(last, pg_snapshot_xmax(until)) FROM stop, span) AND {wanted}
  ORDER BY recorded_in, {key} LIMIT $13::int)"""

# "|| ''" keeps the planner from the organization's own indexes, which would read all that it ever had.
_WANTED: Final = f"""{{organization}} || '' = ANY ({{organizations}}::text[])
    AND ROW(recorded_in, {{kind}}, {{place}}) > ROW($4::text::xid8, $5::int, $6::uuid, $7::bigint, $8::int, $9::int)
    AND pg_visible_in_snapshot(recorded_in, (SELECT until FROM span)) AND {_IS_OURS}"""  # noqa: S608 - constants only

_EVENTS: Final = _ROWS.format(
    table="events",
    key="uid",
    columns=f"""recorded_in, {OF_EVENT} AS kind, uid AS event_uid, 0::bigint AS subscription_id, 0 AS replay_number,
       0 AS number, organization_id, event_type, body, octet_length(body) AS bytes, NULL::timestamptz AS started_at,
       NULL::int AS duration_ms, NULL::text AS outcome, NULL::text AS reason, NULL::int AS status,
       NULL::boolean AS is_counted, NULL::text AS detail, NULL::text AS reply""",
    wanted=_WANTED.format(
        organization="organization_id",
        organizations="$10",
        kind=OF_EVENT,
        place="uid, 0::bigint, 0, 0",
        time="received_at",
    ),
)

_ATTEMPTS: Final = _ROWS.format(
    table="attempts JOIN subscriptions s ON s.id = subscription_id",
    key="event_uid, subscription_id, replay_number, number",
    columns=f"""recorded_in, {OF_ATTEMPT}, event_uid, subscription_id, replay_number, number, s.organization_id,
       NULL::text, NULL::bytea, 0, started_at, duration_ms, outcome::text, reason::text, status, is_counted, detail,
       reply""",
    wanted=_WANTED.format(
        organization="s.organization_id",
        organizations="$11",
        kind=OF_ATTEMPT,
        place="event_uid, subscription_id, replay_number, number",
        time="started_at",
    ),
)

_STOP: Final = """SELECT recorded_in FROM {table} WHERE recorded_in >= $3::text::xid8
                   AND recorded_in < (SELECT pg_snapshot_xmax(until) FROM span)
                 ORDER BY recorded_in OFFSET $12::int LIMIT 1"""

# Which server gives out the transactions' ids. A standby that is promoted begins a new timeline; until its first
# checkpoint is over only the second place names it.
_SERVER: Final = """(SELECT format('%s.%s', system_identifier, greatest(timeline_id, min_recovery_end_timeline))
    FROM pg_control_system(), pg_control_checkpoint(), pg_control_recovery())"""

# What an attempt left its delivery in: if others follow it, that was to try again.
_READ: Final = f"""
WITH span AS MATERIALIZED (
    SELECT coalesce($1::text::pg_snapshot, pg_current_snapshot()) AS until
), stop AS MATERIALIZED (
    SELECT least(({_STOP.format(table="events")}), ({_STOP.format(table="attempts")})) AS last
), found AS MATERIALIZED (
    SELECT *, count(*) OVER () AS found_count,
           sum(bytes) OVER (ORDER BY recorded_in, kind, event_uid, subscription_id, replay_number, number) - bytes
               AS bytes_before
      FROM (SELECT * FROM ({_EVENTS} UNION ALL {_ATTEMPTS}) AS each
             ORDER BY recorded_in, kind, event_uid, subscription_id, replay_number, number LIMIT $13::int) AS first
)
SELECT {_SERVER} AS server, span.until::text AS until, stop.last::text::bigint AS last, now() AS at,
       found.recorded_in::text::bigint, found.kind, found.event_uid, found.subscription_id, found.replay_number,
       found.number, found.organization_id,
       coalesce(found.event_type, d.event_type) AS event_type, found.body, found.started_at, found.duration_ms,
       found.outcome, found.reason, found.status, found.is_counted, found.detail, found.reply, found.found_count,
       d.event_id, d.endpoint_id, later.number IS NOT NULL AS is_followed,
       CASE WHEN d.ended_at IS NULL THEN 'pending' ELSE d.state END AS state,
       CASE WHEN d.state = 'pending' THEN d.next_attempt_at END AS next_attempt_at
  FROM span CROSS JOIN stop
  LEFT JOIN found ON found.bytes_before < $14::int
  LEFT JOIN LATERAL (
       SELECT event_id, event_type, endpoint_id, state, next_attempt_at, ended_at FROM deliveries
        WHERE found.kind = {OF_ATTEMPT} AND event_uid = found.event_uid AND subscription_id = found.subscription_id
          AND replay_number = found.replay_number) AS d ON true
  LEFT JOIN LATERAL (
       SELECT number FROM attempts a
        WHERE found.kind = {OF_ATTEMPT} AND a.event_uid = found.event_uid
          AND a.subscription_id = found.subscription_id AND a.replay_number = found.replay_number
          AND a.number > found.number ORDER BY a.number LIMIT 1) AS later ON true
 ORDER BY found.recorded_in, found.kind, found.event_uid, found.subscription_id, found.replay_number, found.number
"""  # noqa: S608 - constants only

_NO_UID: Final = UUID(int=0)
_INDEXES: Final = ["events_by_transaction", "attempts_by_transaction"]
_NOW: Final = f"""
SELECT {_SERVER} AS server, pg_current_snapshot()::text AS snapshot, now() AS at,
       (SELECT count(*) FROM pg_index WHERE indexrelid::regclass::text = ANY ($1) AND indisvalid) AS index_count
"""  # noqa: S608 - constants only


class StreamReader:
    """Implements ``StreamStore``; only reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def now(self) -> Cursor:
        """The cursor after all that is committed by now. Raises ``UnavailableError`` while a day lacks its index."""
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(_NOW, _INDEXES)
        if row["index_count"] < len(_INDEXES):
            raise UnavailableError("days are still being indexed for the stream by 'posthorn migrate'")
        return Cursor.at(row["at"], Position(Snapshot.read(row["snapshot"]), server=row["server"]))

    async def read(
        self, organizations: Organizations, after: Position, seconds_max: float = READ_SECONDS_MAX
    ) -> Stretch:
        """At most ``ROWS_MAX`` rows after the position, with ``BYTES_MAX`` of bodies."""
        async with driver(self._engine) as connection:
            try:
                rows = await _rows(connection, organizations, after, seconds_max)
            except asyncpg.QueryCanceledError as error:
                raise ReadTooSlowError(f"reading for the stream took longer than {seconds_max:g} s") from error
        until, last, server = Snapshot.read(rows[0]["until"]), rows[0]["last"], rows[0]["server"]
        found = rows if rows[0]["kind"] is not None else []
        reached = Position(until, server=server)
        if found and (len(found) == ROWS_MAX or len(found) < found[0]["found_count"]):
            reached = Position(after.seen, until, _place(found[-1]), server)
        elif last is not None:
            reached = Position(after.seen, until, end_of(last), server)
        told = [_event(row) if row["kind"] == OF_EVENT else _attempt(row) for row in found if _is_known(row)]
        return Stretch(told, reached, rows[0]["at"])

    async def ended_keys(self, key_ids: Collection[str]) -> Mapping[str, CloseReason]:
        """Those of the API keys that were revoked or have expired, by the database's clock; or are gone."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                """SELECT asked.id, k.revoked_at IS NULL AND k.expires_at IS NOT NULL AS has_expired
                     FROM unnest($1::text[]) AS asked (id) LEFT JOIN api_keys k ON k.id = asked.id
                    WHERE k.id IS NULL OR k.revoked_at IS NOT NULL OR k.expires_at <= now()""",
                list(key_ids),
            )
        return {row["id"]: CloseReason.KEY_EXPIRED if row["has_expired"] else CloseReason.KEY_REVOKED for row in rows}


async def _rows(
    connection: asyncpg.Connection, organizations: Organizations, after: Position, seconds_max: float
) -> Sequence[asyncpg.Record]:
    place = after.after or Place(0, 0, _NO_UID)
    async with connection.transaction(readonly=True):
        await connection.execute(f"{_PLANNED_ONCE}; SET LOCAL statement_timeout = {seconds_max * 1000:.0f}")
        rows: Sequence[asyncpg.Record] = await connection.fetch(
            _READ,
            str(after.until) if after.until is not None else None,
            list(map(str, after.late)),
            str(after.since),
            *(str(place.transaction), place.kind, place.event_uid),
            *(place.subscription_id, place.replay_number, place.number),
            *(list(organizations.of_events), list(organizations.of_attempts)),
            *(SCANNED_MAX, ROWS_MAX, BYTES_MAX),
        )
    return rows


def _place(row: asyncpg.Record) -> Place:
    return Place(
        row["recorded_in"],
        row["kind"],
        row["event_uid"],
        row["subscription_id"],
        row["replay_number"],
        row["number"],
    )


def _is_known(row: asyncpg.Record) -> bool:
    """An attempt whose delivery is past retention is not told of."""
    return row["kind"] == OF_EVENT or row["event_id"] is not None


def _event(row: asyncpg.Record) -> Recorded:
    return RecordedEvent(_place(row), row["organization_id"], row["event_type"], row["body"])


def _attempt(row: asyncpg.Record) -> Recorded:
    is_followed = row["is_followed"]
    return RecordedAttempt(
        place=_place(row),
        organization_id=row["organization_id"],
        event_id=row["event_id"],
        event_type=row["event_type"],
        endpoint_id=row["endpoint_id"],
        started_at=row["started_at"],
        duration_ms=row["duration_ms"],
        outcome=OutcomeKind(row["outcome"]),
        reason=Reason(row["reason"]) if row["reason"] else None,
        status=row["status"],
        is_counted=row["is_counted"],
        detail=masked_detail(row["detail"]),
        reply=row["reply"],
        state=State.PENDING if is_followed else State(row["state"]),
        next_attempt_at=None if is_followed else row["next_attempt_at"],
    )
