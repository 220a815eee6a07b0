"""Looking up deliveries and their attempts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.in_scope import list_in_scope
from service.adapters.postgres.deliveries.list import IN_INDEX_ORDER, list_statement
from service.adapters.postgres.deliveries.rows import key_of
from service.adapters.postgres.endpoints.gates.gates import GATES_OF_E, gates_of
from service.adapters.postgres.engine import driver
from service.adapters.postgres.partitions import horizon
from service.core.deliveries.delivery import OPEN_STATES, DeliveryKey, State
from service.core.deliveries.headers import read_headers, shown_as_sent
from service.core.deliveries.outcome import OutcomeKind, masked_detail
from service.core.deliveries.view import AttemptView, DeliveryDetail, DeliveryFilter, DeliveryView
from service.core.endpoints.gates.gate import keeping_back
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule, schedule_of
from service.core.endpoints.url import masked_url
from service.core.events.view import MESSAGE_EVENTS_MAX
from service.core.reason import Reason
from service.core.walk import Stretch, Walk

LIMIT_MAX = 200
_ENDPOINTS: Final = f"SELECT e.id, e.retry, {GATES_OF_E} AS gates FROM endpoints e WHERE e.id = ANY ($1)"  # noqa: S608 - constants only


class DeliveryReader:
    """Implements ``DeliveryDesk``; only reads. ``schedule`` is that of endpoints that ask for none."""

    def __init__(self, engine: AsyncEngine, schedule: RetrySchedule = STANDARD) -> None:
        self._engine = engine
        self._schedule = schedule

    async def list(self, wanted: DeliveryFilter, walk: Walk[DeliveryKey]) -> Stretch[DeliveryView, DeliveryKey]:
        """Deliveries, by their keys: in the order of their events."""
        wanted = replace(wanted, until=wanted.until or horizon())
        async with driver(self._engine) as connection, connection.transaction(readonly=True):
            event_uids = await _event_uids(connection, wanted)
            if event_uids == []:
                return Stretch([])
            await connection.execute(IN_INDEX_ORDER)
            if wanted.scope is not None:
                found = await list_in_scope(connection, wanted, wanted.scope, walk)
            else:
                statement = list_statement(wanted, walk, event_uids=event_uids)
                found = Stretch(await connection.fetch(statement.text, *statement.arguments))
            return Stretch(await _views(connection, found.rows, self._schedule), found.reached)

    async def show(self, key: DeliveryKey, organization_id: str | None = None) -> DeliveryDetail | None:
        """One delivery with its attempts, from one snapshot; restricted to the organization if one is given."""
        async with (
            driver(self._engine) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            delivery = await read_one(connection, key, organization_id, self._schedule)
            if delivery is None:
                return None
            attempts = await connection.fetch(
                """SELECT number, outcome, reason, status, started_at, duration_ms, is_counted, detail, reply,
                          headers
                     FROM attempts WHERE event_uid = $1 AND subscription_id = $2 AND replay_number = $3
                    ORDER BY number""",
                key.event_uid,
                key.subscription_id,
                key.replay_number,
            )
            url, style, body_bytes = await connection.fetchrow(
                """SELECT url, signature_style,
                          (SELECT octet_length(body) FROM events WHERE uid = $3 AND organization_id = $1)
                     FROM endpoints WHERE organization_id = $1 AND id = $2""",
                delivery.organization_id,
                delivery.endpoint_id,
                key.event_uid,
            )
        shown = [_attempt(row, delivery.event_id) for row in attempts]
        return DeliveryDetail(delivery, shown, masked_url(url), style, body_bytes)


async def owner_of(connection: asyncpg.Connection, key: DeliveryKey) -> str | None:
    """Whose delivery it is; None if there is none."""
    owner: str | None = await connection.fetchval(
        """SELECT organization_id FROM deliveries
            WHERE event_uid = $1 AND subscription_id = $2 AND replay_number = $3""",
        key.event_uid,
        key.subscription_id,
        key.replay_number,
    )
    return owner


async def read_one(
    connection: asyncpg.Connection, key: DeliveryKey, organization_id: str | None, schedule: RetrySchedule
) -> DeliveryView | None:
    """The delivery with this key, if it belongs to the organization (None: to any)."""
    row = await connection.fetchrow(
        """SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, state,
                  reason, last_status, created_at, attempts_made,
                  CASE WHEN state = 'pending' THEN next_attempt_at END AS next_attempt_at, ended_at
             FROM deliveries
            WHERE event_uid = $1 AND subscription_id = $2 AND replay_number = $3
              AND organization_id = coalesce($4, organization_id)""",
        key.event_uid,
        key.subscription_id,
        key.replay_number,
        organization_id,
    )
    return (await _views(connection, [row], schedule))[0] if row is not None else None


async def _views(
    connection: asyncpg.Connection, rows: Sequence[asyncpg.Record], schedule: RetrySchedule
) -> Sequence[DeliveryView]:
    """The deliveries of these rows; those that are open with what their endpoints have to say of them."""
    views = list(map(_view, rows))
    waited_for = list({each.endpoint_id for each in views if each.state in OPEN_STATES})
    if not waited_for:
        return views
    endpoints = {each["id"]: each for each in await connection.fetch(_ENDPOINTS, waited_for)}
    return [_waiting(each, endpoints.get(each.endpoint_id), schedule) for each in views]


def _waiting(view: DeliveryView, endpoint: asyncpg.Record | None, schedule: RetrySchedule) -> DeliveryView:
    if view.state not in OPEN_STATES or endpoint is None:  # the endpoint may have been dropped since the row was read
        return view
    keeper = keeping_back(gates_of(endpoint["gates"]), view.next_attempt_at) if view.state == State.PENDING else None
    own = schedule_of(endpoint["retry"], schedule)
    attempts_max = len(own.planned_delays_seconds()) + 1 if own is not None else None
    return replace(view, held_by=keeper, attempts_max=attempts_max)


async def _event_uids(connection: asyncpg.Connection, wanted: DeliveryFilter) -> Sequence[UUID] | None:
    """The uids of the event, or of the message's newest events: they tell the day, so that few partitions are searched.

    None if neither is asked for.
    """
    of_event: set[UUID] | None = None
    if wanted.event_id is not None:
        rows = await connection.fetch(
            """SELECT event_uid FROM event_keys
                WHERE event_id = $1 AND organization_id = coalesce($2, organization_id)""",
            wanted.event_id,
            wanted.organization_id,
        )
        of_event = {row["event_uid"] for row in rows}
    if wanted.message_id is None:
        return None if of_event is None else sorted(of_event)
    rows = await connection.fetch(
        """SELECT uid FROM events WHERE organization_id = $1 AND message_id = $2 ORDER BY uid DESC LIMIT $3""",
        wanted.organization_id,
        wanted.message_id,
        MESSAGE_EVENTS_MAX,
    )
    return sorted(row["uid"] for row in rows if of_event is None or row["uid"] in of_event)


def _view(row: asyncpg.Record) -> DeliveryView:
    return DeliveryView(
        id=str(key_of(row)),
        event_id=row["event_id"],
        event_type=row["event_type"],
        organization_id=row["organization_id"],
        endpoint_id=row["endpoint_id"],
        subscription_id=row["subscription_id"],
        replay_number=row["replay_number"],
        state=State(row["state"]),
        reason=Reason(row["reason"]) if row["reason"] else None,
        last_status=row["last_status"],
        attempts_made=row["attempts_made"],
        created_at=row["created_at"],
        next_attempt_at=row["next_attempt_at"],
        ended_at=row["ended_at"],
    )


def _attempt(row: asyncpg.Record, event_id: str) -> AttemptView:
    recorded = read_headers(row["headers"]) if row["headers"] is not None else None
    return AttemptView(
        number=row["number"],
        outcome=OutcomeKind(row["outcome"]),
        reason=Reason(row["reason"]) if row["reason"] else None,
        status=row["status"],
        started_at=row["started_at"],
        duration_ms=row["duration_ms"],
        is_counted=row["is_counted"],
        detail=masked_detail(row["detail"]),
        reply=row["reply"],
        sent_headers=shown_as_sent(recorded.sent, event_id, row["started_at"]) if recorded is not None else None,
        reply_headers=recorded.reply if recorded is not None else None,
    )
