"""An organization's endpoints: creating, listing, changing, pausing and ending them. Nothing else writes them.

The core judges a wish before the transaction, against what was read then. The transaction locks the organization's
directory, which serialises its changes; if the directory has changed meanwhile, the wish is judged anew. So no lock
is held during a judgement, and what was judged is what is written.
"""

import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.removal import cancel_pending, remove_subscriptions
from service.adapters.postgres.endpoints.rows import (
    IS_GONE,
    SELECT_ENDPOINTS,
    endpoint_of,
    find_by_url,
    insert_endpoint,
    insert_subscriptions,
    move_endpoint,
    set_paused,
    write_settings,
)
from service.adapters.postgres.endpoints.secrets import end_secrets, insert_secret, open_secrets
from service.adapters.postgres.endpoints.version import bump_directory, directory_version, lock_directory
from service.adapters.postgres.engine import driver
from service.core.endpoints.refusals import (
    ChangedTooOften,
    EndpointGone,
    EndpointRefusal,
    InvalidWish,
    NoSuchEndpoint,
    NoSuchOrganization,
    OtherSecret,
    SecretMisfit,
    TooManySecrets,
    UrlTaken,
)
from service.core.endpoints.settings import (
    NOTHING_ASKED,
    EndpointRules,
    EndpointSettings,
    EndpointWish,
    misfit,
    secret_problem,
)
from service.core.endpoints.view import EndpointState, EndpointView, Registered, RemovalReason, Rotated
from service.core.reason import Reason
from service.ports.desk import EndpointKeyset
from service.ports.secrets import SecretBox
from webhook_signature.sign import KEYS_MAX

TRIES_MAX: Final = 20
"""How often a change is judged anew; each time, another change of the same organization was committed first."""


@dataclass(frozen=True, slots=True)
class _Known:
    """An endpoint as of ``version`` of the directory, with what is needed to judge a wish about it.

    ``secrets`` are opened only for a wish that gives a signature style: no other is judged by them.
    """

    version: int | None
    endpoint: EndpointView
    own_event_types: Sequence[str]
    secrets: Sequence[str | None]


class EndpointStore:
    """Implements ``EndpointDesk``. ``rules`` define which settings are allowed."""

    def __init__(self, engine: AsyncEngine, secret_box: SecretBox, rules: EndpointRules) -> None:
        self._engine = engine
        self._secret_box = secret_box
        self._rules = rules

    # ------------------------------------------------------------------ reading

    async def own_event_types(self, organization_id: str) -> Sequence[str]:
        """The names of the event types that the organization registered."""
        async with driver(self._engine) as connection:
            return await _own_event_types(connection, organization_id)

    async def find(self, organization_id: str, endpoint_id: str) -> EndpointView | NoSuchEndpoint:
        """The endpoint, even if it is gone."""
        async with driver(self._engine) as connection:
            return await self._read(connection, organization_id, endpoint_id) or NoSuchEndpoint(endpoint_id)

    async def list(
        self,
        organization_id: str,
        *,
        url: str | None = None,
        state: EndpointState | None = None,
        limit: int,
        after: EndpointKeyset | None = None,
    ) -> Sequence[EndpointView]:
        """Endpoints, newest first, at most ``limit``; without removed ones, but with those that are gone."""
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

    # ------------------------------------------------------------------ creating

    async def create(self, organization_id: str, wish: EndpointWish) -> Registered | InvalidWish | NoSuchOrganization:
        """Create an endpoint. If one has the URL already, it stays unchanged and is returned without a secret."""
        granted = self._rules.judge(wish, NOTHING_ASKED, await self.own_event_types(organization_id))
        if isinstance(granted, InvalidWish):
            return granted
        async with driver(self._engine) as connection, connection.transaction():
            if await lock_directory(connection, organization_id) is None:
                return NoSuchOrganization(organization_id)
            known_id = await find_by_url(connection, organization_id, granted.settings.url)
            if known_id is not None:
                return Registered(await self._require(connection, organization_id, known_id), None, ())
            return await self._make(connection, organization_id, granted.settings, granted.secret)

    async def subscribe(
        self, organization_id: str, wish: EndpointWish
    ) -> Registered | InvalidWish | NoSuchOrganization | OtherSecret:
        """Subscribe a URL to event types, through its existing endpoint or a new one."""
        granted = self._rules.judge(wish, NOTHING_ASKED, await self.own_event_types(organization_id))
        if isinstance(granted, InvalidWish):
            return granted
        settings, secret = granted.settings, granted.secret
        async with driver(self._engine) as connection, connection.transaction():
            if await lock_directory(connection, organization_id) is None:
                return NoSuchOrganization(organization_id)
            known_id = await find_by_url(connection, organization_id, settings.url)
            if known_id is None:
                return await self._make(connection, organization_id, settings, secret)
            if secret is not None and not await self._signs_with(connection, organization_id, known_id, secret):
                return OtherSecret()  # the given secret must not be ignored silently
            added = await insert_subscriptions(
                connection, organization_id, known_id, settings.url, settings.event_types
            )
            if added:
                await bump_directory(connection, [organization_id])
            return Registered(await self._require(connection, organization_id, known_id), None, tuple(added))

    async def _make(
        self, connection: asyncpg.Connection, organization_id: str, settings: EndpointSettings, secret: str | None
    ) -> Registered:
        await bump_directory(connection, [organization_id])
        endpoint_id = await insert_endpoint(connection, organization_id, settings.url)
        shown = await insert_secret(connection, self._secret_box, organization_id, endpoint_id, secret)
        await write_settings(connection, self._secret_box, organization_id, endpoint_id, settings)
        added = await insert_subscriptions(connection, organization_id, endpoint_id, settings.url, settings.event_types)
        return Registered(await self._require(connection, organization_id, endpoint_id), shown, tuple(added))

    async def _signs_with(
        self, connection: asyncpg.Connection, organization_id: str, endpoint_id: str, secret: str
    ) -> bool:
        known = await open_secrets(connection, self._secret_box, organization_id, endpoint_id)
        return any(each is not None and hmac.compare_digest(each.encode(), secret.encode()) for each in known)

    # ------------------------------------------------------------------ changing

    async def change(
        self, organization_id: str, endpoint_id: str, wish: EndpointWish
    ) -> EndpointView | EndpointRefusal:
        """Change the given fields. Leaving out an event type ends its subscription and cancels its deliveries."""
        for _ in range(TRIES_MAX):
            known = await self._known(organization_id, endpoint_id, with_secrets="signature_style" in wish.given)
            if known is None:
                return NoSuchEndpoint(endpoint_id)
            after = self._judged(wish, known)
            if not isinstance(after, EndpointSettings):
                return after
            async with driver(self._engine) as connection, connection.transaction():
                if await lock_directory(connection, organization_id) == known.version:
                    return await self._write(connection, organization_id, known.endpoint, after)
        return ChangedTooOften()

    def _judged(self, wish: EndpointWish, known: _Known) -> EndpointSettings | EndpointRefusal:
        if known.endpoint.state is EndpointState.GONE:
            return EndpointGone()
        before = known.endpoint.settings
        granted = self._rules.judge(wish, before, known.own_event_types)
        if isinstance(granted, InvalidWish):
            return granted
        style = granted.settings.signature_style
        if style != before.signature_style and any(misfit(each or "", style) for each in known.secrets):
            return SecretMisfit(style)
        return granted.settings

    async def _write(
        self, connection: asyncpg.Connection, organization_id: str, before: EndpointView, after: EndpointSettings
    ) -> EndpointView | UrlTaken:
        if after.url != before.settings.url:
            other = await find_by_url(connection, organization_id, after.url)
            if other is not None:
                return UrlTaken(other)
            await move_endpoint(connection, organization_id, before.id, after.url)
        await bump_directory(connection, [organization_id])
        await write_settings(connection, self._secret_box, organization_id, before.id, after)
        # Add new ones first: an endpoint without a subscription would end.
        await insert_subscriptions(connection, organization_id, before.id, after.url, after.event_types)
        await _end_subscriptions(connection, organization_id, before.id, but_for=after.event_types)
        return await self._require(connection, organization_id, before.id)

    async def set_paused(
        self, organization_id: str, endpoint_id: str, *, is_paused: bool
    ) -> EndpointView | NoSuchEndpoint | EndpointGone:
        """Pause or resume the endpoint, by shutting or opening its gate."""
        async with self._changing(organization_id) as connection:
            endpoint = await self._read(connection, organization_id, endpoint_id)
            if endpoint is None:
                return NoSuchEndpoint(endpoint_id)
            if endpoint.state is EndpointState.GONE:
                return EndpointGone()
            await bump_directory(connection, [organization_id])
            await set_paused(connection, organization_id, endpoint_id, is_paused=is_paused)
            return await self._require(connection, organization_id, endpoint_id)

    async def rotate_secret(
        self, organization_id: str, endpoint_id: str, secret: str | None, overlap: timedelta
    ) -> Rotated | NoSuchEndpoint | EndpointGone | TooManySecrets | InvalidWish:
        """Add a new secret (None: a random one). Older secrets expire after ``overlap``, or sooner if already due."""
        async with self._changing(organization_id) as connection:
            endpoint = await self._read(connection, organization_id, endpoint_id)
            if endpoint is None:
                return NoSuchEndpoint(endpoint_id)
            if endpoint.state is EndpointState.GONE:
                return EndpointGone()
            if secret is not None and (why := secret_problem(secret, endpoint.settings.signature_style)):
                return InvalidWish({"secret": [why]})
            expiries = [each.expires_at for each in endpoint.secrets if each.expires_at is not None]
            if overlap and len(endpoint.secrets) >= KEYS_MAX:
                return TooManySecrets(min(expiries))
            await bump_directory(connection, [organization_id])
            overlap_ends_at = await end_secrets(connection, organization_id, endpoint_id, overlap)
            shown = await insert_secret(connection, self._secret_box, organization_id, endpoint_id, secret)
            return Rotated(shown, overlap_ends_at)

    # ------------------------------------------------------------------ ending

    async def remove(self, organization_id: str, endpoint_id: str) -> NoSuchEndpoint | None:
        """Remove the endpoint, also from the list if it is gone. Repeating this changes nothing."""
        async with self._changing(organization_id) as connection:
            known = await connection.fetchval(
                "SELECT true FROM endpoints WHERE organization_id = $1 AND id = $2", organization_id, endpoint_id
            )
            if not known:
                return NoSuchEndpoint(endpoint_id)
            await _end_subscriptions(connection, organization_id, endpoint_id)
            await connection.execute(
                """UPDATE subscriptions s SET removed_because = $3 FROM endpoints e
                    WHERE e.organization_id = $1 AND e.id = $2 AND s.organization_id = $1 AND s.endpoint_id = $2
                      AND s.removed_at = e.removed_at AND s.removed_because = $4""",
                organization_id,
                endpoint_id,
                RemovalReason.DELETED,
                RemovalReason.GONE,
            )
        return None

    async def unsubscribe(self, organization_id: str, subscription_id: int) -> bool:
        """End a subscription and cancel its deliveries; the last one ends its endpoint. False if it does not exist."""
        async with driver(self._engine) as connection, connection.transaction():
            found = await connection.fetchval(
                "SELECT id FROM subscriptions WHERE organization_id = $1 AND id = $2 AND removed_at IS NULL",
                organization_id,
                subscription_id,
            )
            if found is None:
                return False
            removed = await remove_subscriptions(connection, [found], because=RemovalReason.DELETED)
            await cancel_pending(connection, removed, Reason.SUBSCRIPTION_DELETED)
        return bool(removed)

    # ------------------------------------------------------------------ shared

    @asynccontextmanager
    async def _changing(self, organization_id: str) -> AsyncIterator[asyncpg.Connection]:
        async with driver(self._engine) as connection, connection.transaction():
            await lock_directory(connection, organization_id)
            yield connection

    async def _known(self, organization_id: str, endpoint_id: str, *, with_secrets: bool) -> _Known | None:
        async with driver(self._engine) as connection:
            # Read the version first: everything read after it is as new or newer, so a change in between is noticed.
            version = await directory_version(connection, organization_id)
            endpoint = await self._read(connection, organization_id, endpoint_id)
            if endpoint is None:
                return None
            own = await _own_event_types(connection, organization_id)
            secrets: Sequence[str | None] = ()
            if with_secrets:
                secrets = await open_secrets(connection, self._secret_box, organization_id, endpoint_id)
        return _Known(version, endpoint, own, secrets)

    async def _read(
        self, connection: asyncpg.Connection, organization_id: str, endpoint_id: str
    ) -> EndpointView | None:
        row = await connection.fetchrow(
            f"""{SELECT_ENDPOINTS} WHERE e.organization_id = $1 AND e.id = $2
                   AND (e.removed_at IS NULL OR {IS_GONE})""",
            organization_id,
            endpoint_id,
        )
        return endpoint_of(row, self._secret_box) if row is not None else None

    async def _require(self, connection: asyncpg.Connection, organization_id: str, endpoint_id: str) -> EndpointView:
        """The endpoint, which this transaction has just read or created."""
        endpoint = await self._read(connection, organization_id, endpoint_id)
        if endpoint is None:
            raise LookupError(f"{endpoint_id} disappeared although its organization is locked")
        return endpoint


async def _own_event_types(connection: asyncpg.Connection, organization_id: str) -> Sequence[str]:
    rows = await connection.fetch("SELECT name FROM event_types WHERE organization_id = $1", organization_id)
    return [row["name"] for row in rows]


async def _end_subscriptions(
    connection: asyncpg.Connection, organization_id: str, endpoint_id: str, *, but_for: Sequence[str] = ()
) -> None:
    """End the endpoint's subscriptions and cancel their pending deliveries."""
    unwanted = await connection.fetch(
        """SELECT id FROM subscriptions WHERE organization_id = $1 AND endpoint_id = $2
              AND removed_at IS NULL AND event_type <> ALL ($3) ORDER BY id""",
        organization_id,
        endpoint_id,
        list(but_for),
    )
    removed = await remove_subscriptions(connection, [row["id"] for row in unwanted], because=RemovalReason.DELETED)
    await cancel_pending(connection, removed, Reason.SUBSCRIPTION_DELETED)
