"""An organization's endpoints: made, listed, changed, paused, ended. Each change is in force when its verb returns.

Every verb that changes something bumps the directory first: its row lock puts an organization's changes in line, so
what a verb reads afterwards stays true until it commits.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.removal import bump_directory, cancel_pending, remove_subscriptions
from service.adapters.postgres.endpoints.rows import (
    end_secrets,
    find_or_insert_endpoint,
    insert_secret,
    insert_subscriptions,
    require_fitting_secrets,
    set_paused,
)
from service.adapters.postgres.endpoints.settings import IS_GONE, SELECT_ENDPOINTS, endpoint_of, write_settings
from service.adapters.postgres.engine import driver
from service.core.endpoints.endpoint import EndpointRow, EndpointSettings
from service.core.endpoints.refusals import GoneEndpointError, NoEndpointError, TooManySecretsError, UrlTakenError
from service.core.reason import Reason
from service.ports.secrets import SecretBox
from webhook_signature.sign import KEYS_MAX

Keyset = tuple[datetime, str]
"""Where a list of endpoints goes on: ``created_at`` and id of the last one shown."""


class EndpointStore:
    """Reads and changes the endpoints of one organization at a time."""

    def __init__(self, engine: AsyncEngine, secret_box: SecretBox) -> None:
        self._engine = engine
        self._secret_box = secret_box

    async def own_event_types(self, organization_id: str) -> Collection[str]:
        """The names of the event types that the organization registered itself."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch("SELECT name FROM event_types WHERE organization_id = $1", organization_id)
        return [row["name"] for row in rows]

    async def create(
        self, organization_id: str, settings: EndpointSettings, secret: str | None
    ) -> tuple[EndpointRow, str | None]:
        """Make an endpoint, and its secret to show; or the one that has this URL, unchanged, and None."""
        async with self._changing(organization_id) as connection:
            endpoint_id, shown = await find_or_insert_endpoint(
                connection, self._secret_box, organization_id, settings.url, secret
            )
            if shown is not None:
                await write_settings(connection, self._secret_box, organization_id, endpoint_id, settings)
                await insert_subscriptions(connection, organization_id, endpoint_id, settings.url, settings.event_types)
            return await self._read(connection, organization_id, endpoint_id), shown

    async def find(self, organization_id: str, endpoint_id: str) -> EndpointRow:
        """The endpoint, also when it is gone. Raises ``NoEndpointError``."""
        async with driver(self._engine) as connection:
            return await self._read(connection, organization_id, endpoint_id)

    async def find_active(self, organization_id: str, endpoint_id: str) -> EndpointRow:
        """The endpoint, active or paused. Raises ``NoEndpointError``, ``GoneEndpointError``."""
        return _not_gone(await self.find(organization_id, endpoint_id))

    async def list(
        self, organization_id: str, *, url: str | None, state: str | None, limit: int, after: Keyset | None
    ) -> Sequence[EndpointRow]:
        """Endpoints, newest first, at most ``limit``. Removed ones are left out, but for those that are gone."""
        created_at, endpoint_id = after or (None, None)
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                f"""{SELECT_ENDPOINTS}
                     WHERE e.organization_id = $1 AND ($2::text IS NULL OR e.url = $2)
                       AND CASE $3 WHEN 'gone' THEN e.removed_at IS NOT NULL
                                   WHEN 'disabled' THEN false
                                   WHEN 'active' THEN e.removed_at IS NULL AND NOT e.is_paused
                                   WHEN 'paused' THEN e.removed_at IS NULL AND e.is_paused
                                   ELSE true END
                       AND (e.removed_at IS NULL OR {IS_GONE})
                       AND ($4::timestamptz IS NULL OR (e.created_at, e.id) < ($4, $5))
                     ORDER BY e.created_at DESC, e.id DESC LIMIT $6""",
                organization_id,
                url,
                state or "",
                created_at,
                endpoint_id,
                limit,
            )
        return [endpoint_of(row, self._secret_box) for row in rows]

    async def change(
        self, organization_id: str, endpoint_id: str, decide: Callable[[EndpointSettings], EndpointSettings]
    ) -> EndpointRow:
        """Let ``decide`` turn the settings into others; what it raises, leaves all as it was.

        An event type that is no longer wanted ends its subscription and what waits for it. Raises
        ``NoEndpointError``, ``GoneEndpointError``, ``UrlTakenError``, ``SecretMisfitError``.
        """
        async with self._changing(organization_id) as connection:
            before = _not_gone(await self._read(connection, organization_id, endpoint_id)).settings
            after = decide(before)
            if after.signature_style != before.signature_style:
                style = after.signature_style
                await require_fitting_secrets(connection, self._secret_box, organization_id, endpoint_id, style)
            if after.url != before.url:
                await _move(connection, organization_id, endpoint_id, after.url)
            await write_settings(connection, self._secret_box, organization_id, endpoint_id, after)
            # New ones first: an endpoint that has no subscription left would end.
            await insert_subscriptions(connection, organization_id, endpoint_id, after.url, after.event_types)
            unwanted = await connection.fetch(
                """SELECT id FROM subscriptions WHERE organization_id = $1 AND endpoint_id = $2
                      AND removed_at IS NULL AND event_type <> ALL ($3)""",
                organization_id,
                endpoint_id,
                list(after.event_types),
            )
            await _end(connection, [row["id"] for row in unwanted])
            return await self._read(connection, organization_id, endpoint_id)

    async def remove(self, organization_id: str, endpoint_id: str) -> None:
        """End the endpoint; a gone one leaves the list. Again changes nothing. Raises ``NoEndpointError``."""
        async with self._changing(organization_id) as connection:
            known = await connection.fetchval(
                "SELECT true FROM endpoints WHERE organization_id = $1 AND id = $2", organization_id, endpoint_id
            )
            if not known:
                raise NoEndpointError(endpoint_id)
            active = await connection.fetch(
                """SELECT id FROM subscriptions
                    WHERE organization_id = $1 AND endpoint_id = $2 AND removed_at IS NULL""",
                organization_id,
                endpoint_id,
            )
            await _end(connection, [row["id"] for row in active])
            await connection.execute(
                """UPDATE subscriptions s SET removed_because = 'deleted' FROM endpoints e
                    WHERE e.organization_id = $1 AND e.id = $2 AND s.organization_id = $1 AND s.endpoint_id = $2
                      AND s.removed_at = e.removed_at AND s.removed_because = 'gone'""",
                organization_id,
                endpoint_id,
            )

    async def set_paused(self, organization_id: str, endpoint_id: str, *, is_paused: bool) -> EndpointRow:
        """Shut or open the endpoint's gate. Raises ``NoEndpointError``, ``GoneEndpointError``."""
        async with self._changing(organization_id) as connection:
            _not_gone(await self._read(connection, organization_id, endpoint_id))
            await set_paused(connection, organization_id, endpoint_id, is_paused=is_paused)
            return await self._read(connection, organization_id, endpoint_id)

    async def rotate_secret(
        self,
        organization_id: str,
        endpoint_id: str,
        choose: Callable[[EndpointSettings], str | None],
        overlap: timedelta,
    ) -> tuple[str, datetime | None]:
        """Give the endpoint a new secret; its text, and until when older ones sign too (None: they ended at once).

        ``choose`` says which, None for a random one; what it raises, leaves all as it was. No older secret ends later
        than it would have. Raises ``NoEndpointError``, ``GoneEndpointError``, ``TooManySecretsError``.
        """
        async with self._changing(organization_id) as connection:
            endpoint = _not_gone(await self._read(connection, organization_id, endpoint_id))
            ends = [each.expires_at for each in endpoint.secrets if each.expires_at is not None]
            if overlap and len(endpoint.secrets) >= KEYS_MAX:
                raise TooManySecretsError(min(ends))
            secret = choose(endpoint.settings)
            overlap_ends_at = await end_secrets(connection, organization_id, endpoint_id, overlap)
            shown = await insert_secret(connection, self._secret_box, organization_id, endpoint_id, secret)
            return shown, overlap_ends_at

    @asynccontextmanager
    async def _changing(self, organization_id: str) -> AsyncIterator[asyncpg.Connection]:
        async with driver(self._engine) as connection, connection.transaction():
            await bump_directory(connection, [organization_id])
            yield connection

    async def _read(self, connection: asyncpg.Connection, organization_id: str, endpoint_id: str) -> EndpointRow:
        row = await connection.fetchrow(
            f"""{SELECT_ENDPOINTS} WHERE e.organization_id = $1 AND e.id = $2
                   AND (e.removed_at IS NULL OR {IS_GONE})""",
            organization_id,
            endpoint_id,
        )
        if row is None:
            raise NoEndpointError(endpoint_id)
        return endpoint_of(row, self._secret_box)


def _not_gone(endpoint: EndpointRow) -> EndpointRow:
    if endpoint.is_gone:
        raise GoneEndpointError(endpoint.id)
    return endpoint


async def _move(connection: asyncpg.Connection, organization_id: str, endpoint_id: str, url: str) -> None:
    """Let the endpoint's subscriptions follow it to ``url``, which nobody else may have."""
    other = await connection.fetchval(
        "SELECT id FROM endpoints WHERE organization_id = $1 AND url = $2 AND removed_at IS NULL", organization_id, url
    )
    if other is not None:
        raise UrlTakenError(other)
    await connection.execute(
        """UPDATE subscriptions SET target_url = $3
            WHERE organization_id = $1 AND endpoint_id = $2 AND removed_at IS NULL""",
        organization_id,
        endpoint_id,
        url,
    )
    # What the old receiver asked for does not bind the new one.
    await connection.execute("DELETE FROM gates WHERE endpoint_id = $1 AND kind = 'retry_after'", endpoint_id)


async def _end(connection: asyncpg.Connection, subscription_ids: Sequence[int]) -> None:
    removed = await remove_subscriptions(connection, subscription_ids, because="deleted")
    await cancel_pending(connection, removed, Reason.SUBSCRIPTION_DELETED)
