"""Replaying a single delivery: a new one of the same event to the same subscription."""

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.deliveries.lines import line_up_replays
from service.adapters.postgres.deliveries.reader import read_one
from service.adapters.postgres.engine import driver
from service.core.audit.actor import Actor
from service.core.deliveries.delivery import OPEN_STATES, DeliveryKey
from service.core.deliveries.view import DeliveryView, ReplayRefused
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule


class Replays:
    """New deliveries of old events. Final rows never change. ``schedule`` is that of endpoints that ask for none."""

    def __init__(self, engine: AsyncEngine, schedule: RetrySchedule = STANDARD) -> None:
        self._engine = engine
        self._schedule = schedule

    async def replay(self, organization_id: str, key: DeliveryKey, *, by: Actor) -> DeliveryView | ReplayRefused | None:
        """Create a new delivery, pending and due now; None if the organization has no delivery ``key``.

        The subscription's row is locked until the commit. So two replays get two numbers; a removal happens either
        before, and is seen here, or after, and cancels the new delivery.
        """
        async with driver(self._engine) as connection, connection.transaction():
            is_active = await connection.fetchval(
                """SELECT removed_at IS NULL FROM subscriptions WHERE id = $1 AND organization_id = $2
                      FOR NO KEY UPDATE""",
                key.subscription_id,
                organization_id,
            )
            replayed = await read_one(connection, key, organization_id, self._schedule)
            if is_active is None or replayed is None:
                return None
            if replayed.state in OPEN_STATES:
                return ReplayRefused(f"the delivery is still {replayed.state}; it can be replayed once it has ended")
            if not is_active:
                return ReplayRefused("the subscription was removed, so the event cannot be sent to it again")
            number = await _insert(connection, organization_id, key)
            if number is None:
                if await connection.fetchval("SELECT EXISTS (SELECT FROM events WHERE uid = $1)", key.event_uid):
                    return ReplayRefused("a replay job is making this delivery at this moment")
                return ReplayRefused("the event is no longer stored, so there is nothing to send")
            made = DeliveryKey(key.event_uid, key.subscription_id, number)
            await line_up_replays(connection, [made])
            await audit(connection, by, "delivery.replay", organization_id, str(key), after={"delivery_id": str(made)})
            return await read_one(connection, made, organization_id, self._schedule)


async def _insert(connection: asyncpg.Connection, organization_id: str, key: DeliveryKey) -> int | None:
    """The new delivery's replay number; None when the event's body is gone, or a replay job was faster."""
    number: int | None = await connection.fetchval(
        """INSERT INTO open_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id,
                                        event_id, event_type, state, claims_made)
           SELECT e.uid, s.id,
                  (SELECT max(replay_number) + 1 FROM deliveries d WHERE d.event_uid = $2 AND d.subscription_id = $3),
                  e.organization_id, s.endpoint_id, e.event_id, e.event_type, 'pending', 0
             FROM events e, subscriptions s
            WHERE e.uid = $2 AND e.organization_id = $1 AND s.id = $3 AND s.organization_id = $1
               ON CONFLICT DO NOTHING
           RETURNING replay_number""",
        organization_id,
        key.event_uid,
        key.subscription_id,
    )
    return number
