"""An endpoint ends, or one of its subscriptions."""

from collections.abc import Container

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.endpoints.removal import (
    cancel_pending,
    delete_ended,
    end_subscriptions,
    remove_subscriptions,
)
from service.adapters.postgres.endpoints.store.work import EndpointWork
from service.core.audit.actor import Actor
from service.core.endpoints.audited import endpoint_state, settings_state
from service.core.endpoints.refusals import NoSuchEndpoint, OtherVersion
from service.core.endpoints.view import RemovalReason
from service.core.reason import Reason


class Ending(EndpointWork):
    """An endpoint ends, or one of its subscriptions."""

    async def remove(
        self, organization_id: str, endpoint_id: str, *, only_at: Container[int] | None = None, by: Actor
    ) -> NoSuchEndpoint | OtherVersion | None:
        """Remove the endpoint, also from the list of those that have ended. Repeating this changes nothing."""
        async with self._changing(organization_id) as connection:
            known = await connection.fetchval(
                "SELECT true FROM endpoints WHERE organization_id = $1 AND id = $2", organization_id, endpoint_id
            )
            if not known:
                return NoSuchEndpoint(endpoint_id)
            before = await self._read(connection, organization_id, endpoint_id)
            if before is not None and only_at is not None and before.version not in only_at:
                return OtherVersion()
            await end_subscriptions(connection, organization_id, endpoint_id)
            await delete_ended(connection, organization_id, endpoint_id)
            if before is not None:  # not removed before
                await audit(connection, by, "endpoint.delete", organization_id, endpoint_id, endpoint_state(before))
        return None

    async def unsubscribe(self, organization_id: str, subscription_id: int, *, by: Actor) -> bool:
        """End a subscription and cancel its deliveries; the last one ends its endpoint. False if it does not exist."""
        async with self._changing(organization_id) as connection:
            endpoint_id = await connection.fetchval(
                """SELECT s.endpoint_id FROM subscriptions s JOIN endpoints e ON e.id = s.endpoint_id
                    WHERE s.organization_id = $1 AND s.id = $2 AND s.removed_at IS NULL
                      AND coalesce(e.valid_until > now(), true)""",
                organization_id,
                subscription_id,
            )
            if endpoint_id is None:
                return False
            before = await self._require(connection, organization_id, endpoint_id)
            removed = await remove_subscriptions(connection, [subscription_id], because=RemovalReason.DELETED)
            await cancel_pending(connection, removed, Reason.SUBSCRIPTION_DELETED)
            after = await self._read(connection, organization_id, endpoint_id)  # None: it has ended with its last one
            states = settings_state(before), settings_state(after) if after is not None else None
            await audit(connection, by, "endpoint.unsubscribe", organization_id, endpoint_id, *states)
        return bool(removed)
