"""Effects in PostgreSQL: what settling does beyond the deliveries themselves."""

from collections.abc import Sequence
from typing import assert_never

import asyncpg

from service.adapters.postgres.deliveries import statements
from service.adapters.postgres.deliveries.rows import columns
from service.adapters.postgres.endpoints.removal import cancel_pending, remove_subscriptions
from service.core.deliveries.effect import Effect, EndSubscription, ShutGate
from service.core.endpoints.view import RemovalReason
from service.core.reason import Reason


async def obey(connection: asyncpg.Connection, effects: Sequence[Effect]) -> None:
    """Apply the effects, in the transaction that settles.

    Subscriptions come first: ending one locks its organization, and changes made by people lock the organization before
    its gates. One order of locks prevents deadlocks.
    """
    ended: list[EndSubscription] = []
    shut: list[tuple[str, str, float]] = []
    for effect in effects:
        match effect:
            case EndSubscription():
                ended.append(effect)
            case ShutGate():
                shut.append((effect.endpoint_id, effect.kind.value, effect.seconds))
            case _:
                assert_never(effect)
    if ended:
        ids = [each.subscription_id for each in ended]
        urls = [each.leading_to for each in ended]
        removed = await remove_subscriptions(connection, ids, because=RemovalReason.GONE, leading_to=urls)
        await cancel_pending(connection, removed, Reason.GONE)
    if shut:
        await connection.execute(statements.SHUT_GATES, *columns(shut, 3))
