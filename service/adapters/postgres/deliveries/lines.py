"""Lines in PostgreSQL: how the deliveries of one order key wait for each other, whichever workers claim them.

A row of ``ordered_deliveries`` is a place in a line; a row of ``line_heads`` says who of the line has begun. Its key
lets one delivery of a line begin, however many workers try. Those that wait are due at infinity, so that no claim looks
at them again before the head's end makes the next one due.

Nothing waits for a claim but the settlement of a head that the claim looks at, and a claim waits for nobody but another
claim that takes the same free line. A delivery is put off only while the head's row is locked. So whoever settles the
head comes after that, sees who was put off, and makes the next one due: no wake-up is lost.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never
from uuid import UUID

import asyncpg

from service.adapters.postgres.deliveries.rows import columns, key_row
from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.effect import AdvanceLine
from service.core.deliveries.line import Again, Head, Next, Wait, whose_turn
from service.core.endpoints.filter.filter import decode_envelope
from service.core.endpoints.order import ORDER_WAIT_SECONDS, line_of

EXAMINED_MAX: Final = 500
"""Due deliveries looked at in one claim, shared by its endpoints; of these all that must wait are put off at once."""
EXAMINED_MIN: Final = 20
SHAKEN_MAX: Final = 10_000
"""Lines looked at again in one statement; those that are left are found by ``purge_lines``."""
_FIRST_LINE: Final = UUID(int=0)

# $1..$6 the deliveries, each with its endpoint, its line and its place there.
_LINE_UP: Final = """
INSERT INTO ordered_deliveries (event_uid, subscription_id, replay_number, endpoint_id, line, place)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::text[], $5::uuid[], $6::timestamptz[])
"""

_REPLAYED: Final = """
SELECT o.event_uid, o.subscription_id, o.replay_number, o.endpoint_id, n.order_by, e.body, now() AS at
  FROM unnest($1::uuid[], $2::bigint[], $3::int[]) AS k (event_uid, subscription_id, replay_number)
  JOIN open_deliveries o USING (event_uid, subscription_id, replay_number)
  JOIN endpoints n ON n.id = o.endpoint_id AND n.order_by IS NOT NULL
  JOIN events e ON e.uid = o.event_uid
"""

# What is due of the endpoints $1, at most $2 of each, and whether the head's row of its line is locked by us now.
_DUE: Final = """
WITH due AS MATERIALIZED (
    SELECT d.*, s.line
      FROM unnest($1::text[]) AS turn (endpoint_id), LATERAL (
           SELECT event_uid, subscription_id, replay_number, endpoint_id, next_attempt_at FROM open_deliveries o
            WHERE o.state = 'pending' AND o.endpoint_id = turn.endpoint_id AND o.next_attempt_at <= now()
            ORDER BY o.next_attempt_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS d
      LEFT JOIN ordered_deliveries s USING (event_uid, subscription_id, replay_number)
), held AS MATERIALIZED (
    SELECT h.line FROM line_heads h WHERE h.line IN (SELECT line FROM due) FOR UPDATE SKIP LOCKED
)
SELECT event_uid, subscription_id, replay_number, endpoint_id, line, line IN (SELECT line FROM held) AS is_held
  FROM due ORDER BY next_attempt_at, event_uid
"""

# A statement of its own, after the locks: its snapshot has all that earlier holders of them wrote.
_STANDINGS: Final = """
SELECT l.line, h.line IS NOT NULL AS has_head,
       h.event_uid AS head_uid, h.subscription_id AS head_subscription, h.replay_number AS head_replay,
       o.state IS NOT NULL AS is_open, o.state = 'leased' AS is_leased, o.next_attempt_at <= now() AS is_due,
       extract(epoch FROM now() - h.failed_at)::float8 AS failed_seconds,
       (SELECT order_wait_seconds FROM endpoints WHERE id = l.endpoint_id) AS wait_seconds,
       next.event_uid, next.subscription_id, next.replay_number
  FROM unnest($1::text[], $2::uuid[]) AS l (endpoint_id, line)
  LEFT JOIN line_heads h ON h.line = l.line
  LEFT JOIN open_deliveries o ON o.event_uid = h.event_uid AND o.subscription_id = h.subscription_id
                             AND o.replay_number = h.replay_number
  LEFT JOIN LATERAL (
       SELECT s.event_uid, s.subscription_id, s.replay_number
         FROM ordered_deliveries s JOIN open_deliveries w USING (event_uid, subscription_id, replay_number)
        WHERE s.endpoint_id = l.endpoint_id AND s.line = l.line
          AND (s.event_uid, s.subscription_id, s.replay_number)
              IS DISTINCT FROM (h.event_uid, h.subscription_id, h.replay_number)
        ORDER BY s.place, s.event_uid, s.subscription_id, s.replay_number LIMIT 1) AS next ON true
"""

# Heads that have ended or give way; $2..$4 are those that give way, and leave the line.
_STEP_ASIDE: Final = """
WITH gone AS (
    DELETE FROM ordered_deliveries s USING unnest($2::uuid[], $3::bigint[], $4::int[])
           AS g (event_uid, subscription_id, replay_number)
     WHERE s.event_uid = g.event_uid AND s.subscription_id = g.subscription_id AND s.replay_number = g.replay_number
)
DELETE FROM line_heads WHERE line = ANY ($1)
"""

# $1..$3 the deliveries to lease, $4 the line (null: in none), $5 whether it is its head already; $6 worker, $7 lease.
# A line that another worker has taken meanwhile is left; so is a delivery that somebody else has locked.
_LEASE: Final = """
WITH chosen AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::uuid[], $5::boolean[])
        AS c (event_uid, subscription_id, replay_number, line, is_head)
), taken AS (
    INSERT INTO line_heads (line, event_uid, subscription_id, replay_number)
    SELECT line, event_uid, subscription_id, replay_number FROM chosen
     WHERE line IS NOT NULL AND NOT is_head ORDER BY line
        ON CONFLICT DO NOTHING
    RETURNING line
), free AS MATERIALIZED (
    SELECT o.event_uid, o.subscription_id, o.replay_number, c.line
      FROM chosen c JOIN open_deliveries o USING (event_uid, subscription_id, replay_number)
     WHERE o.state = 'pending' AND (c.line IS NULL OR c.is_head OR c.line IN (SELECT line FROM taken))
       FOR UPDATE OF o SKIP LOCKED
)
UPDATE open_deliveries o
   SET state = 'leased', claims_made = o.claims_made + 1, leased_by = $6, lease_expires_at = now() + $7::interval,
       next_attempt_at = least(o.next_attempt_at, now())
  FROM free
 WHERE o.event_uid = free.event_uid AND o.subscription_id = free.subscription_id
   AND o.replay_number = free.replay_number
RETURNING o.*, free.line,
          (SELECT directory_version FROM organizations WHERE id = o.organization_id) AS directory_version
"""

# $1..$3 deliveries, $4 in how many seconds each is looked at again; null: when it is made due.
_PUT_OFF: Final = """
UPDATE open_deliveries o
   SET next_attempt_at = coalesce(now() + p.seconds * interval '1 second', 'infinity')
  FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::float8[])
       AS p (event_uid, subscription_id, replay_number, seconds)
 WHERE o.event_uid = p.event_uid AND o.subscription_id = p.subscription_id AND o.replay_number = p.replay_number
   AND o.state = 'pending'
"""

# $1..$3 deliveries that were tried, $4 their lines. The heads' rows are locked in one order, so that two of these
# cannot deadlock. What is leased, although it was tried, has another worker by now: it stays the head.
_TRIED: Final = """
WITH tried AS MATERIALIZED (
    SELECT t.*, o.state FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::uuid[])
        AS t (event_uid, subscription_id, replay_number, line)
      LEFT JOIN open_deliveries o USING (event_uid, subscription_id, replay_number)
), heads AS MATERIALIZED (
    SELECT h.line, tried.state FROM line_heads h JOIN tried USING (line, event_uid, subscription_id, replay_number)
     ORDER BY h.line FOR UPDATE OF h
), ended AS (
    DELETE FROM line_heads h USING heads WHERE h.line = heads.line AND heads.state IS NULL
), gone AS (
    DELETE FROM ordered_deliveries s USING tried
     WHERE s.event_uid = tried.event_uid AND s.subscription_id = tried.subscription_id
       AND s.replay_number = tried.replay_number AND tried.state IS NULL
)
UPDATE line_heads h SET failed_at = now() FROM heads
 WHERE h.line = heads.line AND heads.state = 'pending' AND h.failed_at IS NULL
"""

# The first that waits in each line is due: a claim looks at it. One that is locked is being looked at.
_WAKE: Final = """
UPDATE open_deliveries o SET next_attempt_at = now()
  FROM unnest($1::text[], $2::uuid[]) AS l (endpoint_id, line), LATERAL (
       SELECT w.event_uid, w.subscription_id, w.replay_number
         FROM ordered_deliveries s JOIN open_deliveries w USING (event_uid, subscription_id, replay_number)
        WHERE s.endpoint_id = l.endpoint_id AND s.line = l.line AND NOT EXISTS (
              SELECT FROM line_heads h
               WHERE h.line = s.line AND h.event_uid = s.event_uid AND h.subscription_id = s.subscription_id
                 AND h.replay_number = s.replay_number)
        ORDER BY s.place, s.event_uid, s.subscription_id, s.replay_number LIMIT 1 FOR UPDATE OF w SKIP LOCKED) AS next
 WHERE o.event_uid = next.event_uid AND o.subscription_id = next.subscription_id
   AND o.replay_number = next.replay_number AND o.state = 'pending' AND o.next_attempt_at > now()
"""

# For each delivery of the event $1 that waits: the head of its line, or the first if nobody of it has begun.
_AHEAD: Final = """
SELECT s.event_uid, s.subscription_id, s.replay_number, a.event_uid, a.subscription_id, a.replay_number
  FROM ordered_deliveries s, LATERAL (
       SELECT o.event_uid, o.subscription_id, o.replay_number
         FROM (SELECT 0 AS rank, NULL::timestamptz AS place, event_uid, subscription_id, replay_number
                 FROM line_heads h WHERE h.line = s.line
                UNION ALL
               (SELECT 1, place, event_uid, subscription_id, replay_number FROM ordered_deliveries w
                 WHERE w.endpoint_id = s.endpoint_id AND w.line = s.line
                 ORDER BY place, event_uid, subscription_id, replay_number LIMIT 10)) AS before
         JOIN open_deliveries o USING (event_uid, subscription_id, replay_number)
        ORDER BY rank, before.place, o.event_uid, o.subscription_id, o.replay_number LIMIT 1) AS a
 WHERE s.event_uid = $1 AND s.subscription_id = ANY ($2::bigint[])
   AND (s.event_uid, s.subscription_id, s.replay_number) <> (a.event_uid, a.subscription_id, a.replay_number)
"""

# The lines after that of endpoint $1 and name $2, at most $3: one index probe each, however long they are.
_LINES: Final = """
WITH RECURSIVE walk AS (
    (SELECT endpoint_id, line, 1 AS step FROM ordered_deliveries
      WHERE (endpoint_id, line) > ($1::text, $2::uuid) ORDER BY endpoint_id, line LIMIT 1)
    UNION ALL
    SELECT next.endpoint_id, next.line, walk.step + 1
      FROM walk, LATERAL (
           SELECT endpoint_id, line FROM ordered_deliveries s
            WHERE (s.endpoint_id, s.line) > (walk.endpoint_id, walk.line)
            ORDER BY s.endpoint_id, s.line LIMIT 1) AS next
     WHERE walk.step < $3
)
SELECT endpoint_id, line, EXISTS (SELECT FROM line_heads h WHERE h.line = walk.line) AS has_head FROM walk ORDER BY step
"""

# Places of deliveries that have ended without their line being told, as where many were cancelled at once. $1..$3 after
# this key, where the last batch ended; $4 how many are looked at.
_PURGE_PLACES: Final = """
WITH page AS MATERIALIZED (
    SELECT event_uid, subscription_id, replay_number FROM ordered_deliveries
     WHERE (event_uid, subscription_id, replay_number) > ($1::uuid, $2::bigint, $3::int)
     ORDER BY event_uid, subscription_id, replay_number LIMIT $4
), gone AS (
    DELETE FROM ordered_deliveries s USING page p
     WHERE s.event_uid = p.event_uid AND s.subscription_id = p.subscription_id AND s.replay_number = p.replay_number
       AND NOT EXISTS (SELECT FROM open_deliveries o WHERE o.event_uid = p.event_uid
                          AND o.subscription_id = p.subscription_id AND o.replay_number = p.replay_number)
)
SELECT * FROM page ORDER BY event_uid DESC, subscription_id DESC, replay_number DESC LIMIT 1
"""

# The same for heads; $1 after this line, $2 how many are looked at. One that is locked is being settled, or looked at.
_PURGE_HEADS: Final = """
WITH page AS MATERIALIZED (
    SELECT line FROM line_heads WHERE line > $1 ORDER BY line LIMIT $2
), gone AS (
    DELETE FROM line_heads WHERE line IN (
        SELECT h.line FROM line_heads h WHERE h.line IN (SELECT line FROM page) AND NOT EXISTS (
               SELECT FROM open_deliveries o WHERE o.event_uid = h.event_uid
                  AND o.subscription_id = h.subscription_id AND o.replay_number = h.replay_number)
           FOR UPDATE SKIP LOCKED)
)
SELECT line FROM page ORDER BY line DESC LIMIT 1
"""


async def line_up(connection: asyncpg.Connection, places: Sequence[tuple[object, ...]]) -> None:
    """Give new deliveries, which this transaction has inserted, their places: key, endpoint, line, and place there."""
    await connection.execute(_LINE_UP, *columns(places, 6))


async def line_up_replays(connection: asyncpg.Connection, keys: Sequence[DeliveryKey]) -> None:
    """Give new replays their places, as if their events had happened now; in order of event where they are several."""
    rows = await connection.fetch(_REPLAYED, *columns([key_row(each) for each in keys], 3))
    envelopes = {row["event_uid"]: decode_envelope(row["body"]) for row in rows}
    places = [
        (*key_row(_key(row)), row["endpoint_id"], line, row["at"])
        for row in rows
        if (line := line_of(row["endpoint_id"], row["order_by"], envelopes[row["event_uid"]])) is not None
    ]
    if places:
        await line_up(connection, places)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a claim does with a line: whom it leases, and until when the others are put off.

    ``is_over``: the head's row goes; ``gone`` gives way. ``first`` is put off for ``seconds`` (None: until it is made
    due), the others until they are made due.
    """

    leased: DeliveryKey | None = None
    is_head: bool = False
    is_over: bool = False
    gone: DeliveryKey | None = None
    first: DeliveryKey | None = None
    seconds: float | None = None


async def lease_heads(
    connection: asyncpg.Connection, shares: Mapping[str, int], worker_name: str, lease: timedelta
) -> Sequence[asyncpg.Record]:
    """Claim what is due of these endpoints and may be sent now: the heads of lines, and what stands in none."""
    due = await connection.fetch(_DUE, list(shares), max(EXAMINED_MIN, EXAMINED_MAX // len(shares)))
    lines = {row["line"]: row["endpoint_id"] for row in due if row["line"] is not None}
    standings = await connection.fetch(_STANDINGS, list(lines.values()), list(lines)) if lines else ()
    free, verdicts = _judge(due, {row["line"]: row for row in standings}, shares)
    over = [line for line, verdict in verdicts.items() if verdict.is_over]
    if over:
        gone = [key_row(each.gone) for each in verdicts.values() if each.gone is not None]
        await connection.execute(_STEP_ASIDE, over, *columns(gone, 3))
    wanted = free + [
        (*key_row(each.leased), line, each.is_head) for line, each in verdicts.items() if each.leased is not None
    ]
    rows: Sequence[asyncpg.Record] = ()
    if wanted:
        rows = await connection.fetch(_LEASE, *columns(wanted, 5), worker_name, lease)
    put_off = _put_off(due, verdicts, {row["line"] for row in rows})
    if put_off:
        await connection.execute(_PUT_OFF, *columns(put_off, 4))
    return rows


def _judge(
    due: Sequence[asyncpg.Record], standings: Mapping[UUID, asyncpg.Record], shares: Mapping[str, int]
) -> tuple[list[tuple[object, ...]], Mapping[UUID, _Verdict]]:
    """What to lease of that which stands in no line, and what to do with each line. Lines left out stay as they are."""
    left, free, verdicts, seen = dict(shares), list[tuple[object, ...]](), dict[UUID, _Verdict](), set[UUID]()
    for row in due:
        line, endpoint_id = row["line"], row["endpoint_id"]
        if line in seen:
            continue
        has_room = left[endpoint_id] > 0
        if line is None:
            if has_room:
                free.append((*key_row(_key(row)), None, False))
                left[endpoint_id] -= 1
            continue
        seen.add(line)
        if row["is_held"] or not standings[line]["has_head"]:  # otherwise its head is being settled, or claimed
            verdict = _verdict(standings[line])
            if verdict.leased is None or has_room:
                verdicts[line] = verdict
            left[endpoint_id] -= verdict.leased is not None
    return free, verdicts


def _verdict(row: asyncpg.Record) -> _Verdict:
    head_key, head = None, None
    if row["has_head"]:
        head_key = DeliveryKey(row["head_uid"], row["head_subscription"], row["head_replay"])
        head = Head(row["is_open"], bool(row["is_leased"]), bool(row["is_due"]), row["failed_seconds"])
    first = _key(row) if row["event_uid"] is not None else None
    turn = whose_turn(head, row["wait_seconds"] or ORDER_WAIT_SECONDS)
    match turn:
        case Wait():
            return _Verdict(first=first, seconds=turn.seconds)
        case Again():
            return _Verdict(leased=head_key, is_head=True)
        case Next():
            return _Verdict(leased=first, is_over=head is not None, gone=head_key if turn.gives_way else None)
        case _:
            assert_never(turn)


def _put_off(
    due: Sequence[asyncpg.Record], verdicts: Mapping[UUID, _Verdict], leased: Collection[UUID | None]
) -> Sequence[tuple[object, ...]]:
    """Whoever waits for a head that this transaction has locked, or has made the head."""
    rows: list[tuple[object, ...]] = []
    for row in due:
        verdict = verdicts.get(row["line"])
        if verdict is None or (key := _key(row)) == verdict.leased:
            continue
        if (verdict.leased is None and not verdict.is_over) or row["line"] in leased:
            rows.append((*key_row(key), verdict.seconds if key == verdict.first else None))
    return rows


def _key(row: asyncpg.Record) -> DeliveryKey:
    return DeliveryKey(row["event_uid"], row["subscription_id"], row["replay_number"])


async def advance_lines(connection: asyncpg.Connection, advanced: Collection[AdvanceLine]) -> None:
    """Let the next of each line follow its head, if that has ended; else note that it failed, and look at the next.

    To be called last in its transaction: claims leave these lines alone until it is committed.
    """
    tried = [(*key_row(each.key), each.line) for each in advanced]
    await connection.execute(_TRIED, *columns(tried, 4))
    endpoint_ids = {each.line: each.endpoint_id for each in advanced}
    await connection.execute(_WAKE, list(endpoint_ids.values()), list(endpoint_ids))


async def ahead_of(
    connection: asyncpg.Connection, event_uid: UUID, subscription_ids: Sequence[int]
) -> Mapping[DeliveryKey, DeliveryKey]:
    """For each delivery of the event to these that waits in a line, the one that it waits for."""
    rows = await connection.fetch(_AHEAD, event_uid, subscription_ids)
    return {DeliveryKey(*row[:3]): DeliveryKey(*row[3:]) for row in rows}


async def shake_lines(connection: asyncpg.Connection, endpoint_ids: Collection[str]) -> None:
    """Look at who is first in each line of these endpoints: some deliveries before it were cancelled."""
    for endpoint_id in sorted(endpoint_ids):
        rows = await connection.fetch(_LINES, endpoint_id, _FIRST_LINE, SHAKEN_MAX)
        lines = [row["line"] for row in rows if row["endpoint_id"] == endpoint_id]
        if lines:
            await connection.execute(_WAKE, [endpoint_id] * len(lines), lines)


async def purge_lines(connection: asyncpg.Connection, batch_max: int) -> None:
    """Forget the places of deliveries that have ended, and look at who is first in each line that has no head."""
    key = (UUID(int=0), 0, 0)
    while (last := await connection.fetchrow(_PURGE_PLACES, *key, batch_max)) is not None:
        key = tuple(last)
    line = _FIRST_LINE
    while (line_last := await connection.fetchval(_PURGE_HEADS, line, batch_max)) is not None:
        line = line_last
    after = ("", _FIRST_LINE)
    while rows := await connection.fetch(_LINES, *after, batch_max):
        after = (rows[-1]["endpoint_id"], rows[-1]["line"])
        headless = [(row["endpoint_id"], row["line"]) for row in rows if not row["has_head"]]
        if headless:
            await connection.execute(_WAKE, *columns(headless, 2))
