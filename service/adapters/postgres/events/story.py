"""What the database knows about an event and every subscription that might have got it, from one snapshot."""

from collections.abc import Mapping

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.lines import ahead_of
from service.adapters.postgres.endpoints.gates import GATES_OF_E, gates_of
from service.adapters.postgres.engine import driver
from service.adapters.postgres.events.reader import uid_of
from service.core.deliveries.delivery import DeliveryKey, State
from service.core.deliveries.story import (
    ExplainedEvent,
    FanOutUnderWay,
    KnownDelivery,
    KnownEndpoint,
    KnownSubscription,
    Story,
)
from service.core.endpoints.url import masked_url
from service.core.reason import Reason


class StoryReader:
    """Implements ``StoryDesk``; only reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, organization_id: str, event_id: str) -> Story | None:
        """The story of the organization's event with this id; None if it does not exist."""
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
            deliveries = await connection.fetch(
                """SELECT event_uid, subscription_id, replay_number, endpoint_id, state, reason, attempts_made,
                          last_status, next_attempt_at
                     FROM deliveries WHERE event_uid = $1 AND organization_id = $2""",
                uid,
                organization_id,
            )
            ahead = await ahead_of(connection, event["uid"])
            # Subscriptions removed before the event are explained too, so all are read: an organization has few.
            endpoints = await connection.fetch(
                f"""SELECT e.id, e.url, e.updated_at, e.filter, {GATES_OF_E} AS gates
                      FROM endpoints e WHERE e.organization_id = $1""",  # noqa: S608 - constants only
                organization_id,
            )
            subscriptions = await connection.fetch(
                """SELECT id, endpoint_id, event_type, created_at, removed_at
                     FROM subscriptions WHERE organization_id = $1 ORDER BY id""",
                organization_id,
            )
            fan_out = await connection.fetchrow("SELECT done_through, frontier FROM fan_outs WHERE event_uid = $1", uid)
        return Story(
            ExplainedEvent(*event),
            {row["id"]: _endpoint(row) for row in endpoints},
            [KnownSubscription(*row) for row in subscriptions],
            [_delivery(row, ahead) for row in deliveries],
            FanOutUnderWay(*fan_out) if fan_out is not None else None,
        )


def _endpoint(row: asyncpg.Record) -> KnownEndpoint:
    return KnownEndpoint(row["id"], masked_url(row["url"]), row["updated_at"], row["filter"], gates_of(row["gates"]))


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
