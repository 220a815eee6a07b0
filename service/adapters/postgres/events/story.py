"""What the database knows about an event and a page of the subscriptions that might have got it, from one snapshot."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

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

# $1 event, $2 organization. Of a subscription's deliveries the one that arrived counts, else the latest replay.
_TOLD: Final = f"""
WITH told AS (
    SELECT DISTINCT ON (subscription_id) subscription_id, endpoint_id, state
      FROM deliveries WHERE event_uid = $1 AND organization_id = $2
     ORDER BY subscription_id, state = 'delivered' DESC, replay_number DESC
), placed AS (
    SELECT subscription_id AS id,
           CASE state WHEN 'dead' THEN {Section.DEAD} WHEN 'cancelled' THEN {Section.CANCELLED}
                      WHEN 'leased' THEN {Section.LEASED} WHEN 'delivered' THEN {Section.DELIVERED}
                      ELSE CASE WHEN EXISTS (SELECT FROM shut_gates g WHERE g.endpoint_id = told.endpoint_id)
                                THEN {Section.GATED} ELSE {Section.PENDING} END END AS section
      FROM told
)"""  # noqa: S608 - constants only
# $3 sections; $4, $5 the section and the subscription shown last; $6 the limit.
_LIST_TOLD: Final = f"""{_TOLD}
SELECT section, id FROM placed WHERE section = ANY ($3::int[]) AND (section, id) > ($4::int, $5::bigint)
 ORDER BY section, id LIMIT $6"""  # noqa: S608 - constants only
_COUNT_TOLD: Final = f"{_TOLD} SELECT section, count(*) FROM placed GROUP BY section"  # noqa: S608 - constants only
_UNTOLD: Final = """s.organization_id = $2
   AND NOT EXISTS (SELECT FROM deliveries d WHERE d.event_uid = $1 AND d.subscription_id = s.id)"""
# Without a delivery. $3 the patterns that cover the event's type; $4 the subscription shown last; $5 the limit.
_LIST_UNTOLD: Final = {
    Section.ASKING: f"""
SELECT one.id FROM unnest($3::text[]) AS p (pattern), LATERAL (
       SELECT s.id FROM subscriptions s
        WHERE {_UNTOLD} AND s.event_type = p.pattern AND s.removed_at IS NULL AND s.id > $4
        ORDER BY s.id LIMIT $5) AS one
 ORDER BY one.id LIMIT $5""",  # noqa: S608 - constants only
    Section.OTHER_TYPE: f"""
SELECT s.id FROM subscriptions s
 WHERE {_UNTOLD} AND s.event_type <> ALL ($3::text[]) AND s.removed_at IS NULL AND s.id > $4
 ORDER BY s.id LIMIT $5""",  # noqa: S608 - constants only
    Section.REMOVED: f"""
SELECT s.id FROM subscriptions s
 WHERE {_UNTOLD} AND ($3::text[] IS NOT NULL) AND s.removed_at IS NOT NULL AND s.id > $4
 ORDER BY s.id LIMIT $5""",  # noqa: S608 - constants only
}
_COUNT_UNTOLD: Final = " UNION ALL ".join(
    f"""SELECT {section}, count(*) FROM (
         SELECT FROM subscriptions s WHERE {_UNTOLD} AND {which} LIMIT {COUNT_MAX}) AS c"""  # noqa: S608 - constants only
    for section, which in (
        (Section.ASKING, "s.event_type = ANY ($3::text[]) AND s.removed_at IS NULL"),
        (Section.OTHER_TYPE, "s.event_type <> ALL ($3::text[]) AND s.removed_at IS NULL"),
        (Section.REMOVED, "s.removed_at IS NOT NULL"),
    )
)
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
            told = _Told(connection, organization_id, event)
            counts = await told.counts()
            listed = await told.listed(page)
            surveyed = await told.untold(Section.ASKING, 0, SURVEY_MAX)
            ids = sorted({*surveyed, *(each.subscription_id for each in listed)})
            subscriptions = await connection.fetch(
                _SUBSCRIPTIONS, organization_id, ids, told.patterns, event["received_at"]
            )
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
            counts,
            frozenset(surveyed),
            listed,
        )


class _Told:
    """The subscriptions of one event, by section."""

    def __init__(self, connection: asyncpg.Connection, organization_id: str, event: asyncpg.Record) -> None:
        self._connection = connection
        self._organization_id = organization_id
        self._uid: UUID = event["uid"]
        self.patterns = list(patterns_covering(event["event_type"]))

    async def counts(self) -> Mapping[Section, int]:
        """How many subscriptions each section has; those without a delivery are counted up to ``COUNT_MAX``."""
        told = await self._connection.fetch(_COUNT_TOLD, self._uid, self._organization_id)
        untold = await self._connection.fetch(_COUNT_UNTOLD, self._uid, self._organization_id, self.patterns)
        return {Section(section): count for section, count in (*told, *untold)}

    async def listed(self, page: StoryPage) -> Sequence[Listed]:
        """The page: section after section, each in the order of the subscriptions' ids."""
        after = page.after or Listed(Section.DEAD, 0)
        wanted = sorted(each for each in page.sections if each >= after.section)
        with_delivery = [each for each in wanted if each <= Section.DELIVERED]
        found: list[Listed] = []
        if with_delivery:
            rows = await self._connection.fetch(
                _LIST_TOLD,
                *(self._uid, self._organization_id, with_delivery, after.section, after.subscription_id, page.limit),
            )
            found = [Listed(Section(row["section"]), row["id"]) for row in rows]
        for section in wanted[len(with_delivery) :]:
            if len(found) < page.limit:
                last_id = after.subscription_id if section == after.section else 0
                ids = await self.untold(section, last_id, page.limit - len(found))
                found += [Listed(section, each) for each in ids]
        return found

    async def untold(self, section: Section, last_id: int, limit: int) -> Sequence[int]:
        """The ids of subscriptions without a delivery, after ``last_id``."""
        rows = await self._connection.fetch(
            _LIST_UNTOLD[section], self._uid, self._organization_id, self.patterns, last_id, limit
        )
        return [row["id"] for row in rows]


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
