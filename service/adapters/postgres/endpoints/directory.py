"""Implements ``SubscriptionStore``: what workers read of organizations, endpoints and subscriptions."""

from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.core.endpoints.directory import StoredDirectory
from service.core.endpoints.endpoint import StoredEndpoint, StoredSecret
from service.core.events.own_type import OwnEventType


class PostgresSubscriptionStore:
    """Implements ``SubscriptionStore``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def load(self, organization_ids: Collection[str]) -> Sequence[StoredDirectory]:
        """The directories of the organizations that exist, each from one snapshot."""
        async with driver(self._engine) as connection, connection.transaction(isolation="repeatable_read"):
            wanted = list(organization_ids)
            versions = await connection.fetch(
                "SELECT id, directory_version FROM organizations WHERE id = ANY ($1)", wanted
            )
            rows = await connection.fetch(
                """SELECT e.organization_id, e.id, e.url, e.is_paused, e.sealed_headers, e.signature_style,
                          e.signature_header, e.filter, e.retry, e.timeout_seconds,
                          (SELECT array_agg((s.id, s.event_type) ORDER BY s.id) FROM subscriptions s
                            WHERE s.endpoint_id = e.id AND s.removed_at IS NULL) AS subscriptions,
                          (SELECT array_agg((k.id, k.sealed, k.expires_at) ORDER BY k.created_at DESC, k.id)
                             FROM endpoint_secrets k
                            WHERE k.endpoint_id = e.id AND coalesce(k.expires_at > now(), true)) AS secrets
                     FROM endpoints e WHERE e.organization_id = ANY ($1) AND e.removed_at IS NULL""",
                wanted,
            )
            own_types = await connection.fetch(
                "SELECT organization_id, name, schema FROM event_types WHERE organization_id = ANY ($1)", wanted
            )
        event_types: dict[str, dict[str, OwnEventType]] = {}
        for organization_id, name, schema in own_types:
            event_types.setdefault(organization_id, {})[name] = OwnEventType(name, schema)
        endpoints: dict[str, list[StoredEndpoint]] = {}
        for row in rows:
            stored = StoredEndpoint(
                row["id"],
                row["url"],
                row["is_paused"],
                tuple(StoredSecret(*secret) for secret in row["secrets"] or ()),
                tuple((number, event_type) for number, event_type in row["subscriptions"] or ()),
                row["sealed_headers"],
                row["signature_style"],
                row["signature_header"],
                row["filter"],
                row["retry"],
                row["timeout_seconds"],
            )
            endpoints.setdefault(row["organization_id"], []).append(stored)
        return [
            StoredDirectory(id_, version, tuple(endpoints.get(id_, ())), event_types.get(id_, {}))
            for id_, version in versions
        ]
