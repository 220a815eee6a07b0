"""Organizations, keys, endpoints and subscriptions: what people change, and what workers read of it."""

import secrets
from base64 import b64encode
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.adapters.postgres.removal import bump_directory, cancel_pending, remove_subscriptions
from service.core.reason import Reason
from service.core.subscription import StoredDirectory, StoredEndpoint, StoredSecret
from service.ports import SecretBox

# Crockford's alphabet in lower case: no letter that can be mistaken for a digit.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A random id such as ``ep_7k2m9x4c1v8b3n6h`` (80 bits)."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(16))}"


class PostgresSubscriptionStore:
    """Implements ``SubscriptionStore``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def load(self, organization_ids: Collection[str]) -> Sequence[StoredDirectory]:
        """The directories of those organizations that exist, each as one snapshot shows it."""
        async with driver(self._engine) as connection, connection.transaction(isolation="repeatable_read"):
            wanted = list(organization_ids)
            versions = await connection.fetch(
                "SELECT id, directory_version FROM organizations WHERE id = ANY ($1)", wanted
            )
            rows = await connection.fetch(
                """SELECT e.organization_id, e.id, e.url, e.is_paused,
                          (SELECT array_agg((s.id, s.event_type) ORDER BY s.id) FROM subscriptions s
                            WHERE s.endpoint_id = e.id AND s.removed_at IS NULL) AS subscriptions,
                          (SELECT array_agg((k.id, k.sealed, k.expires_at) ORDER BY k.created_at DESC, k.id)
                             FROM endpoint_secrets k
                            WHERE k.endpoint_id = e.id AND coalesce(k.expires_at > now(), true)) AS secrets
                     FROM endpoints e WHERE e.organization_id = ANY ($1) AND e.removed_at IS NULL""",
                wanted,
            )
        endpoints: dict[str, list[StoredEndpoint]] = {}
        for row in rows:
            stored = StoredEndpoint(
                row["id"],
                row["url"],
                row["is_paused"],
                tuple(StoredSecret(*secret) for secret in row["secrets"] or ()),
                tuple((number, event_type) for number, event_type in row["subscriptions"] or ()),
            )
            endpoints.setdefault(row["organization_id"], []).append(stored)
        return [StoredDirectory(id_, version, tuple(endpoints.get(id_, ()))) for id_, version in versions]


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint as its maker is told of it: ``secret`` is shown this once, and None for one that existed."""

    id: str
    url: str
    event_types: tuple[str, ...]
    secret: str | None


@dataclass(frozen=True, slots=True)
class ListedEndpoint:
    """An endpoint as anybody may see it."""

    id: str
    url: str
    event_types: tuple[str, ...]
    is_paused: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is kept of an API key."""

    key_id: str
    organization_id: str
    digest: bytes
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None


class Administration:
    """What people and the command line change. Every change of a directory bumps its version, in one commit."""

    def __init__(self, engine: AsyncEngine, secret_box: SecretBox) -> None:
        self._engine = engine
        self._secret_box = secret_box

    async def create_organization(self, organization_id: str) -> None:
        """Make an organization; one that exists stays as it is."""
        async with driver(self._engine) as connection:
            await connection.execute(
                "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING", organization_id
            )

    async def has_organization(self, organization_id: str) -> bool:
        """Whether it exists."""
        async with driver(self._engine) as connection:
            return bool(await connection.fetchval("SELECT true FROM organizations WHERE id = $1", organization_id))

    async def create_key(self, organization_id: str, key_id: str, digest: bytes, scopes: Collection[str]) -> None:
        """Keep a key's digest."""
        async with driver(self._engine) as connection:
            await connection.execute(
                "INSERT INTO api_keys (id, organization_id, digest, scopes) VALUES ($1, $2, $3, $4)",
                key_id,
                organization_id,
                digest,
                sorted(scopes),
            )

    async def find(self, key_id: str) -> StoredKey | None:
        """The key with this id, whatever its organization."""
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(
                "SELECT id, organization_id, digest, scopes, expires_at, revoked_at FROM api_keys WHERE id = $1", key_id
            )
        if row is None:
            return None
        key, organization, digest, scopes, expires_at, revoked_at = row
        return StoredKey(key, organization, digest, frozenset(scopes), expires_at, revoked_at)

    async def add_endpoint(
        self, organization_id: str, url: str, event_types: Sequence[str], secret: str | None = None
    ) -> NewEndpoint:
        """Subscribe a URL to event types. A URL the organization has already keeps its endpoint and its secret."""
        async with driver(self._engine) as connection, connection.transaction():
            # The row lock puts two such calls for one organization in line, so the second finds the first's endpoint.
            await bump_directory(connection, [organization_id])
            endpoint_id = await connection.fetchval(
                "SELECT id FROM endpoints WHERE organization_id = $1 AND url = $2 AND removed_at IS NULL",
                organization_id,
                url,
            )
            shown = None
            if endpoint_id is None:
                endpoint_id = new_id("ep")
                shown = secret or "whsec_" + b64encode(secrets.token_bytes(32)).decode()
                await connection.execute(
                    "INSERT INTO endpoints (id, organization_id, url) VALUES ($1, $2, $3)",
                    endpoint_id,
                    organization_id,
                    url,
                )
                secret_id = new_id("sec")
                sealed = self._secret_box.seal(
                    shown, organization_id=organization_id, endpoint_id=endpoint_id, secret_id=secret_id
                )
                await connection.execute(
                    """INSERT INTO endpoint_secrets (id, organization_id, endpoint_id, sealed, hint)
                       VALUES ($1, $2, $3, $4, $5)""",
                    secret_id,
                    organization_id,
                    endpoint_id,
                    sealed,
                    shown[-4:],
                )
            await connection.execute(
                """INSERT INTO subscriptions (organization_id, endpoint_id, event_type, target_url)
                   SELECT $1, $2, event_type, $3 FROM unnest($4::text[]) AS event_type
                       ON CONFLICT (organization_id, event_type, target_url) WHERE removed_at IS NULL DO NOTHING""",
                organization_id,
                endpoint_id,
                url,
                list(event_types),
            )
            subscribed = await connection.fetch(
                "SELECT event_type FROM subscriptions WHERE endpoint_id = $1 AND removed_at IS NULL ORDER BY id",
                endpoint_id,
            )
        return NewEndpoint(endpoint_id, url, tuple(row["event_type"] for row in subscribed), shown)

    async def list_endpoints(self, organization_id: str) -> Sequence[ListedEndpoint]:
        """The organization's endpoints, oldest first."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                """SELECT e.id, e.url, array_agg(s.event_type ORDER BY s.id) AS event_types, e.is_paused, e.created_at
                     FROM endpoints e JOIN subscriptions s ON s.endpoint_id = e.id AND s.removed_at IS NULL
                    WHERE e.organization_id = $1 AND e.removed_at IS NULL GROUP BY e.id ORDER BY e.created_at, e.id""",
                organization_id,
            )
        return [ListedEndpoint(id_, url, tuple(types), paused, at) for id_, url, types, paused, at in rows]

    async def remove_endpoint(self, organization_id: str, endpoint_id: str) -> bool:
        """End an endpoint and its subscriptions, and cancel what waits for it. False when there is none."""
        async with driver(self._engine) as connection, connection.transaction():
            ids = await connection.fetch(
                """SELECT s.id FROM subscriptions s
                    WHERE s.organization_id = $1 AND s.endpoint_id = $2 AND s.removed_at IS NULL ORDER BY s.id""",
                organization_id,
                endpoint_id,
            )
            removed = await remove_subscriptions(connection, [row["id"] for row in ids], because="deleted")
            await cancel_pending(connection, removed, Reason.SUBSCRIPTION_DELETED)
        return bool(removed)

    async def pause_endpoint(self, organization_id: str, endpoint_id: str, paused: bool) -> bool:  # noqa: FBT001
        """Shut or open the endpoint's gate. False when there is no such endpoint."""
        async with driver(self._engine) as connection, connection.transaction():
            await bump_directory(connection, [organization_id])  # first, as everywhere: one order of locks
            found = await connection.fetchval(
                """UPDATE endpoints SET is_paused = $3
                    WHERE organization_id = $1 AND id = $2 AND removed_at IS NULL RETURNING true""",
                organization_id,
                endpoint_id,
                paused,
            )
            if not found:
                return False
            if paused:
                await connection.execute(
                    """INSERT INTO gates (endpoint_id, kind, until) VALUES ($1, 'paused', 'infinity')
                           ON CONFLICT DO NOTHING""",
                    endpoint_id,
                )
            else:
                await connection.execute("DELETE FROM gates WHERE endpoint_id = $1 AND kind = 'paused'", endpoint_id)
        return True
