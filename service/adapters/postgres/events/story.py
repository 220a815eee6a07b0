"""What the database knows about an event and a page of the subscriptions that might have got it, from one snapshot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.both_ways import both_ways
from service.adapters.postgres.deliveries.lines import ahead_of
from service.adapters.postgres.endpoints.gates.gates import GATES_OF_E, gates_of
from service.adapters.postgres.engine import driver
from service.adapters.postgres.events.reader import uid_of
from service.core.deliveries.delivery import DeliveryKey, State
from service.core.deliveries.story import (
    COUNT_MAX,
    SURVEY_MAX,
    ExplainedEvent,
    FanOutUnderWay,
    KnownDelivery,
    KnownEndpoint,
    KnownSubscription,
    Listed,
    Section,
    Story,
    StoryPage,
)
from service.core.endpoints.subscription import patterns_covering
from service.core.endpoints.url import masked_url
from service.core.reason import Reason

# $1 event, $2 organization, $3 the patterns that cover the event's type; $4 sections, $5, $6 the place beside which the
# page lies, $7 its size. Each delivery of the event and each active subscription is read once, without sorting them: of
# what is known of a subscription the highest rank counts. Ranks rise from active subscriptions, which have no delivery,
# through a delivery and its replays to one that arrived; the last three bits of a delivery's are its section.
_ARRIVED: Final = 1 << 40
_PLACED: Final = both_ways(
    """
(SELECT 'listed' AS kind, section, id FROM placed
  WHERE section = ANY ($4::int[]) AND ($5::int IS NULL OR (section, id) < ($5, $6::bigint))
  ORDER BY section DESC, id DESC LIMIT $7)""",
    head=f"""
WITH placed AS MATERIALIZED (
    SELECT id, (CASE WHEN max(rank) < 0 THEN {Section.ASKING - 1} - max(rank) ELSE max(rank) % 8 END)::int AS section
      FROM (SELECT id, CASE WHEN event_type = ANY ($3::text[]) THEN -1 ELSE -2 END::bigint AS rank
              FROM subscriptions WHERE organization_id = $2 AND removed_at IS NULL
             UNION ALL
            SELECT subscription_id, replay_number::bigint * 8
                   + CASE WHEN state = 'leased' THEN {Section.LEASED}
                          WHEN EXISTS (SELECT FROM shut_gates g WHERE g.endpoint_id = o.endpoint_id)
                          THEN {Section.GATED} ELSE {Section.PENDING} END
              FROM open_deliveries o WHERE event_uid = $1 AND organization_id = $2
             UNION ALL
            SELECT subscription_id,
                   CASE state WHEN 'delivered' THEN {_ARRIVED + Section.DELIVERED}
                              ELSE replay_number::bigint * 8
                                   + CASE state WHEN 'dead' THEN {Section.DEAD} ELSE {Section.CANCELLED} END END
              FROM final_deliveries WHERE event_uid = $1 AND organization_id = $2) AS known
     GROUP BY id)
SELECT 'counted' AS kind, section, count(*) AS id FROM placed GROUP BY section
 UNION ALL
(SELECT 'surveyed' AS kind, section, id FROM placed WHERE section = {Section.ASKING} ORDER BY id LIMIT {SURVEY_MAX})
 UNION ALL""",  # noqa: S608 - constants only
)
# Those that were removed are the organization's whole past: they are counted up to a limit, and read by keyset.
# $1 event, $2 organization, $3 the subscription beside which the page lies, $4 its size.
_REMOVED: Final = """s.organization_id = $2 AND s.removed_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM deliveries d WHERE d.event_uid = $1 AND d.subscription_id = s.id)"""
_LIST_REMOVED: Final = both_ways(
    f"""SELECT s.id FROM subscriptions s
 WHERE {_REMOVED} AND ($3::bigint IS NULL OR s.id < ($3)) ORDER BY s.id DESC LIMIT $4"""  # noqa: S608 - constants only
)
_COUNT_REMOVED: Final = f"""
SELECT count(*) FROM (SELECT FROM subscriptions s WHERE {_REMOVED} LIMIT {COUNT_MAX}) AS c"""  # noqa: S608 - constants only
# The subscriptions $2, and those through which their endpoints may have got the event: at any time one of a pattern.
_SUBSCRIPTIONS: Final = """
SELECT s.id, s.endpoint_id, s.event_type, s.created_at, s.removed_at FROM subscriptions s
 WHERE s.organization_id = $1 AND s.id = ANY ($2::bigint[])
 UNION
SELECT s.id, s.endpoint_id, s.event_type, s.created_at, s.removed_at FROM subscriptions s
 WHERE s.organization_id = $1 AND s.event_type = ANY ($3::text[])
   AND s.endpoint_id IN (SELECT endpoint_id FROM subscriptions WHERE organization_id = $1 AND id = ANY ($2))
   AND s.created_at <= $4 AND coalesce(s.removed_at > $4, true)
 ORDER BY id
"""


class StoryReader:
    """Implements ``StoryDesk``; only reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, organization_id: str, event_id: str, page: StoryPage) -> Story | None:
        """The story of the organization's event with this id, as far as the page; None if it does not exist."""
        async with (
            driver(self._engine) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            uid = await uid_of(connection, organization_id, event_id)
            event = await connection.fetchrow(
                """SELECT uid, event_type, received_at, is_test, body FROM events
                    WHERE uid = $1 AND organization_id = $2""",
                uid,
                organization_id,
            )
            if event is None:
                return None
            patterns = list(patterns_covering(event["event_type"]))
            told = await _told(connection, organization_id, event["uid"], patterns, page)
            ids = sorted({*told.surveyed, *(each.subscription_id for each in told.listed)})
            subscriptions = await connection.fetch(_SUBSCRIPTIONS, organization_id, ids, patterns, event["received_at"])
            endpoints = await connection.fetch(
                f"""SELECT e.id, e.url, e.updated_at, e.filter, {GATES_OF_E} AS gates, e.valid_until
                      FROM endpoints e
                     WHERE e.organization_id = $1 AND e.id = ANY ($2::text[])""",  # noqa: S608 - constants only
                organization_id,
                list({row["endpoint_id"] for row in subscriptions}),
            )
            ids = [row["id"] for row in subscriptions]
            deliveries = await connection.fetch(
                """SELECT event_uid, subscription_id, replay_number, endpoint_id, state, reason, attempts_made,
                          last_status, next_attempt_at
                     FROM deliveries
                    WHERE event_uid = $1 AND organization_id = $2 AND subscription_id = ANY ($3::bigint[])""",
                *(uid, organization_id, ids),
            )
            ahead = await ahead_of(connection, event["uid"], ids)
            fan_out = await connection.fetchrow("SELECT done_through, frontier FROM fan_outs WHERE event_uid = $1", uid)
        return Story(
            ExplainedEvent(*event),
            {row["id"]: _endpoint(row) for row in endpoints},
            [KnownSubscription(*row) for row in subscriptions],
            [_delivery(row, ahead) for row in deliveries],
            FanOutUnderWay(*fan_out) if fan_out is not None else None,
            told.counts,
            frozenset(told.surveyed),
            told.listed,
        )


@dataclass(frozen=True, slots=True)
class _Told:
    """The sizes of the sections, those surveyed for the summary, and the page."""

    counts: Mapping[Section, int]
    surveyed: Sequence[int]
    listed: Sequence[Listed]


async def _told(
    connection: asyncpg.Connection, organization_id: str, uid: UUID, patterns: Sequence[str], page: StoryPage
) -> _Told:
    """Where the event's subscriptions lie; those removed without a delivery are counted up to ``COUNT_MAX``."""
    beside = page.walk.beside
    rows = await connection.fetch(
        _PLACED[page.walk.is_descending],
        *(uid, organization_id, patterns, sorted(page.sections)),
        *((beside.section, beside.subscription_id) if beside is not None else (None, None)),
        page.walk.limit,
    )
    counts = {Section(row["section"]): row["id"] for row in rows if row["kind"] == "counted"}
    counts[Section.REMOVED] = await connection.fetchval(_COUNT_REMOVED, uid, organization_id)
    listed = [Listed(Section(row["section"]), row["id"]) for row in rows if row["kind"] == "listed"]
    listed += await _removed(connection, organization_id, uid, page)
    surveyed = [row["id"] for row in rows if row["kind"] == "surveyed"]
    return _Told(counts, surveyed, sorted(listed, reverse=page.walk.is_descending)[: page.walk.limit])


async def _removed(
    connection: asyncpg.Connection, organization_id: str, uid: UUID, page: StoryPage
) -> Sequence[Listed]:
    """The page's subscriptions that were removed without a delivery; they come last."""
    walk, last_id = page.walk, None
    if Section.REMOVED not in page.sections:
        return ()
    if walk.beside is not None:
        if walk.beside.section is Section.REMOVED:
            last_id = walk.beside.subscription_id
        elif walk.is_descending:
            return ()
    rows = await connection.fetch(_LIST_REMOVED[walk.is_descending], uid, organization_id, last_id, walk.limit)
    return [Listed(Section.REMOVED, row["id"]) for row in rows]


def _endpoint(row: asyncpg.Record) -> KnownEndpoint:
    return KnownEndpoint(
        row["id"],
        masked_url(row["url"]),
        row["updated_at"],
        row["filter"],
        gates_of(row["gates"]),
        row["valid_until"],
    )


def _delivery(row: asyncpg.Record, ahead: Mapping[DeliveryKey, DeliveryKey]) -> KnownDelivery:
    state = State(row["state"])
    key = DeliveryKey(row["event_uid"], row["subscription_id"], row["replay_number"])
    return KnownDelivery(
        id=str(key),
        subscription_id=row["subscription_id"],
        endpoint_id=row["endpoint_id"],
        replay_number=row["replay_number"],
        state=state,
        reason=Reason(row["reason"]) if row["reason"] else None,
        attempts_made=row["attempts_made"],
        last_status=row["last_status"],
        next_attempt_at=row["next_attempt_at"] if state is State.PENDING else None,
        waits_for=str(ahead[key]) if state is State.PENDING and key in ahead else None,
    )
