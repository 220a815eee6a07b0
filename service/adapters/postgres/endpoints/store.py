"""An organization's endpoints: creating, listing, changing, pausing and ending them. Nothing else writes them.

The core judges a wish before the transaction, against what was read then. The transaction locks the organization's
directory, which serialises its changes; if the directory has changed meanwhile, the wish is judged anew. So no lock
is held during a judgement, and what was judged is what is written.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.endpoints.caps import cap_reached
from service.adapters.postgres.endpoints.gates import set_paused
from service.adapters.postgres.endpoints.known import read_known
from service.adapters.postgres.endpoints.ownership import mark_verified, ownership_complaint, signing_now
from service.adapters.postgres.endpoints.removal import (
    cancel_pending,
    delete_gone,
    end_subscriptions,
    remove_subscriptions,
)
from service.adapters.postgres.endpoints.rows import (
    LIST_ENDPOINTS,
    endpoint_of,
    find_by_url,
    insert_endpoint,
    insert_subscriptions,
    move_endpoint,
    read_endpoint,
    read_own_event_types,
    write_settings,
)
from service.adapters.postgres.endpoints.secrets import (
    end_secrets,
    has_secret,
    insert_secret,
    leave_style,
    new_secret,
)
from service.adapters.postgres.endpoints.version import bump_directory, lock_directory
from service.adapters.postgres.engine import driver
from service.core.audit.actor import Actor
from service.core.audit.entry import AuditOperation
from service.core.endpoints.audited import (
    changeable_state,
    endpoint_state,
    gates_state,
    secrets_state,
    settings_state,
)
from service.core.endpoints.caps import Capped
from service.core.endpoints.refusals import (
    CapReached,
    ChangedTooOften,
    EndpointGone,
    EndpointRefusal,
    InvalidWish,
    NoSuchEndpoint,
    NoSuchOrganization,
    OtherSecret,
    TooManySecrets,
    UrlTaken,
)
from service.core.endpoints.rotation import more_secrets, too_many_secrets
from service.core.endpoints.settings import (
    NOTHING_ASKED,
    EndpointRules,
    EndpointSettings,
    EndpointWish,
    GrantedWish,
    secret_problem,
    signing_of,
)
from service.core.endpoints.view import Changed, EndpointState, EndpointView, Registered, RemovalReason, Rotated
from service.core.reason import Reason
from service.ports.desk import CheckOwnership, TimeKeyset
from service.ports.secrets import SecretBox

TRIES_MAX: Final = 20
"""How often a change is judged anew; each time, another change of the same organization was committed first."""
SIGNS_IN_ANOTHER_STYLE: Final = (
    "this secret still signs in the style that the endpoint has left; two styles must not share one"
)


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
            return await read_own_event_types(connection, organization_id)

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
        after: TimeKeyset | None = None,
    ) -> Sequence[EndpointView]:
        """Endpoints, newest first, at most ``limit``; without removed ones, but with those that are gone."""
        created_at, endpoint_id = after or (None, None)
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                LIST_ENDPOINTS, *(organization_id, url, state or "", created_at, endpoint_id, limit)
            )
        return [endpoint_of(row, self._secret_box) for row in rows]

    # ------------------------------------------------------------------ creating

    async def create(
        self, organization_id: str, wish: EndpointWish, check_ownership: CheckOwnership | None = None, *, by: Actor
    ) -> Registered | InvalidWish | NoSuchOrganization | CapReached:
        """Create an endpoint. If one has the URL already, it stays unchanged and is returned without a secret.

        With ``check_ownership`` a new URL's receiver is asked first; unless it agrees, nothing is created.
        """
        granted = self._rules.judge(wish, NOTHING_ASKED, await self.own_event_types(organization_id))
        if isinstance(granted, InvalidWish):
            return granted
        is_verified = check_ownership is not None and not await self._is_known(organization_id, granted.settings.url)
        if check_ownership is not None and is_verified:
            granted = replace(granted, secret=granted.secret or new_secret(granted.settings.signature_style))
            if complaint := await check_ownership(granted.settings, [granted.secret or ""]):
                return InvalidWish({"verify": [complaint]})
        async with driver(self._engine) as connection, connection.transaction():
            if await lock_directory(connection, organization_id) is None:
                return NoSuchOrganization(organization_id)
            known_id = await find_by_url(connection, organization_id, granted.settings.url)
            if known_id is not None:
                return Registered(await self._require(connection, organization_id, known_id), None, ())
            return await self._make(
                connection, organization_id, granted.settings, granted.secret, by, is_verified=is_verified
            )

    async def _is_known(self, organization_id: str, url: str) -> bool:
        async with driver(self._engine) as connection:
            return await find_by_url(connection, organization_id, url) is not None

    async def subscribe(
        self, organization_id: str, wish: EndpointWish, *, by: Actor
    ) -> Registered | InvalidWish | NoSuchOrganization | OtherSecret | CapReached:
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
                return await self._make(connection, organization_id, settings, secret, by, is_verified=False)
            if secret is not None and not await has_secret(
                connection, self._secret_box, organization_id, known_id, secret, is_former=False
            ):
                return OtherSecret()  # the given secret must not be ignored silently
            before = await self._require(connection, organization_id, known_id)
            growth = len({*settings.event_types} - {*before.settings.event_types})
            if capped := await cap_reached(connection, organization_id, self._rules.caps, {"subscriptions": growth}):
                return capped
            added = await insert_subscriptions(
                connection, organization_id, known_id, settings.url, settings.event_types
            )
            if added:
                await bump_directory(connection, [organization_id])
            after = await self._require(connection, organization_id, known_id)
            states = settings_state(before), settings_state(after)
            await audit(connection, by, "endpoint.subscribe", organization_id, known_id, *states)
            return Registered(after, None, tuple(added))

    async def _make(
        self,
        connection: asyncpg.Connection,
        organization_id: str,
        settings: EndpointSettings,
        secret: str | None,
        by: Actor,
        *,
        is_verified: bool,
    ) -> Registered | CapReached:
        more: dict[Capped, int] = {"endpoints": 1, "subscriptions": len({*settings.event_types}), "secrets": 1}
        if capped := await cap_reached(connection, organization_id, self._rules.caps, more):
            return capped
        await bump_directory(connection, [organization_id])
        endpoint_id = await insert_endpoint(connection, organization_id, settings.url)
        shown = await insert_secret(
            connection, self._secret_box, organization_id, endpoint_id, settings.signature_style, secret
        )
        await write_settings(connection, self._secret_box, organization_id, endpoint_id, settings)
        if is_verified:
            await mark_verified(connection, organization_id, endpoint_id)
        added = await insert_subscriptions(connection, organization_id, endpoint_id, settings.url, settings.event_types)
        made = await self._require(connection, organization_id, endpoint_id)
        await audit(connection, by, "endpoint.create", organization_id, endpoint_id, after=endpoint_state(made))
        return Registered(made, shown, tuple(added))

    # ------------------------------------------------------------------ changing

    async def change(
        self,
        organization_id: str,
        endpoint_id: str,
        wish: EndpointWish,
        check_ownership: CheckOwnership | None = None,
        *,
        by: Actor,
    ) -> Changed | EndpointRefusal:
        """Change the given fields. Leaving out an event type ends its subscription and cancels its deliveries.

        With ``check_ownership`` the receiver is asked first; unless it agrees, nothing is changed.
        """
        verified_url: str | None = None
        for _ in range(TRIES_MAX):
            with_secrets = check_ownership is not None or "signature_style" in wish.given
            async with driver(self._engine) as connection:
                known = await read_known(
                    connection, self._secret_box, organization_id, endpoint_id, with_secrets=with_secrets
                )
            if known is None:
                return NoSuchEndpoint(endpoint_id)
            granted = known.judged(wish, self._rules)
            if not isinstance(granted, GrantedWish):
                return granted
            # Asked once, however often the change is judged: another change may only have moved the endpoint.
            url = granted.settings.url
            if check_ownership is not None and url != verified_url:
                if verified_url is not None:
                    return ChangedTooOften()
                signing = signing_now(known.endpoint.settings, granted)
                if complaint := await ownership_complaint(check_ownership, signing, known.secrets):
                    return InvalidWish({"verify": [complaint]})
                verified_url = url
            async with driver(self._engine) as connection, connection.transaction():
                if await lock_directory(connection, organization_id) == known.version:
                    args = connection, organization_id, known.endpoint, granted, by
                    return await self._write(*args, is_verified=verified_url is not None)
        return ChangedTooOften()

    async def _write(
        self,
        connection: asyncpg.Connection,
        organization_id: str,
        before: EndpointView,
        granted: GrantedWish,
        by: Actor,
        *,
        is_verified: bool,
    ) -> Changed | UrlTaken | CapReached:
        after = granted.settings
        more: dict[Capped, int] = {
            "subscriptions": len({*after.event_types}) - len({*before.settings.event_types}),
            "secrets": more_secrets(before, granted.overlap) if granted.overlap is not None else 0,
        }
        if capped := await cap_reached(connection, organization_id, self._rules.caps, more):
            return capped
        if after.url != before.settings.url:
            other = await find_by_url(connection, organization_id, after.url)
            if other is not None:
                return UrlTaken(other)
            await move_endpoint(connection, organization_id, before.id, after.url)
        await bump_directory(connection, [organization_id])
        await write_settings(connection, self._secret_box, organization_id, before.id, after)
        if is_verified:
            await mark_verified(connection, organization_id, before.id)
        # Add new ones first: an endpoint without a subscription would end.
        await insert_subscriptions(connection, organization_id, before.id, after.url, after.event_types)
        await end_subscriptions(connection, organization_id, before.id, but_for=after.event_types)
        shown = None
        if granted.overlap is not None:
            left, into = signing_of(before.settings), after.signature_style
            args = connection, self._secret_box, organization_id, before.id
            shown = await leave_style(*args, left, into, granted.overlap)
        changed = await self._require(connection, organization_id, before.id)
        states = changeable_state(before), changeable_state(changed)
        await audit(connection, by, "endpoint.update", organization_id, before.id, *states)
        return Changed(changed, shown)

    async def set_paused(
        self, organization_id: str, endpoint_id: str, *, is_paused: bool, by: Actor
    ) -> EndpointView | NoSuchEndpoint | EndpointGone:
        """Pause the endpoint, or resume it from being paused or disabled."""
        async with self._changing(organization_id) as connection:
            endpoint = await self._read(connection, organization_id, endpoint_id)
            if endpoint is None:
                return NoSuchEndpoint(endpoint_id)
            if endpoint.state is EndpointState.GONE:
                return EndpointGone()
            await bump_directory(connection, [organization_id])
            await set_paused(connection, organization_id, endpoint_id, is_paused=is_paused)
            after = await self._require(connection, organization_id, endpoint_id)
            operation: AuditOperation = "endpoint.pause" if is_paused else "endpoint.resume"
            states = gates_state(endpoint), gates_state(after)
            await audit(connection, by, operation, organization_id, endpoint_id, *states)
            return after

    async def rotate_secret(
        self, organization_id: str, endpoint_id: str, secret: str | None, overlap: timedelta, *, by: Actor
    ) -> Rotated | NoSuchEndpoint | EndpointGone | TooManySecrets | InvalidWish | CapReached:
        """Add a new secret (None: a random one). Older secrets expire after ``overlap``, or sooner if already due."""
        async with self._changing(organization_id) as connection:
            endpoint = await self._read(connection, organization_id, endpoint_id)
            if endpoint is None:
                return NoSuchEndpoint(endpoint_id)
            if endpoint.state is EndpointState.GONE:
                return EndpointGone()
            if secret is not None and (why := secret_problem(secret, endpoint.settings.signature_style)):
                return InvalidWish({"secret": [why]})
            if secret and await has_secret(
                connection, self._secret_box, organization_id, endpoint_id, secret, is_former=True
            ):
                return InvalidWish({"secret": [SIGNS_IN_ANOTHER_STYLE]})
            excess = too_many_secrets(endpoint) if overlap else None
            more: dict[Capped, int] = {"secrets": more_secrets(endpoint, overlap)}
            if refused := excess or await cap_reached(connection, organization_id, self._rules.caps, more):
                return refused
            await bump_directory(connection, [organization_id])
            overlap_ends_at = await end_secrets(connection, organization_id, endpoint_id, overlap)
            style = endpoint.settings.signature_style
            shown = await insert_secret(connection, self._secret_box, organization_id, endpoint_id, style, secret)
            after = await self._require(connection, organization_id, endpoint_id)
            states = secrets_state(endpoint), secrets_state(after)
            await audit(connection, by, "endpoint.rotate_secret", organization_id, endpoint_id, *states)
            return Rotated(shown, overlap_ends_at)

    # ------------------------------------------------------------------ ending

    async def remove(self, organization_id: str, endpoint_id: str, *, by: Actor) -> NoSuchEndpoint | None:
        """Remove the endpoint, also from the list if it is gone. Repeating this changes nothing."""
        async with self._changing(organization_id) as connection:
            known = await connection.fetchval(
                "SELECT true FROM endpoints WHERE organization_id = $1 AND id = $2", organization_id, endpoint_id
            )
            if not known:
                return NoSuchEndpoint(endpoint_id)
            before = await self._read(connection, organization_id, endpoint_id)
            await end_subscriptions(connection, organization_id, endpoint_id)
            await delete_gone(connection, organization_id, endpoint_id)
            if before is not None:  # not removed before
                await audit(connection, by, "endpoint.delete", organization_id, endpoint_id, endpoint_state(before))
        return None

    async def unsubscribe(self, organization_id: str, subscription_id: int, *, by: Actor) -> bool:
        """End a subscription and cancel its deliveries; the last one ends its endpoint. False if it does not exist."""
        async with self._changing(organization_id) as connection:
            endpoint_id = await connection.fetchval(
                "SELECT endpoint_id FROM subscriptions WHERE organization_id = $1 AND id = $2 AND removed_at IS NULL",
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

    # ------------------------------------------------------------------ shared

    @asynccontextmanager
    async def _changing(self, organization_id: str) -> AsyncIterator[asyncpg.Connection]:
        async with driver(self._engine) as connection, connection.transaction():
            await lock_directory(connection, organization_id)
            yield connection

    async def _read(
        self, connection: asyncpg.Connection, organization_id: str, endpoint_id: str
    ) -> EndpointView | None:
        return await read_endpoint(connection, self._secret_box, organization_id, endpoint_id)

    async def _require(self, connection: asyncpg.Connection, organization_id: str, endpoint_id: str) -> EndpointView:
        """The endpoint, which this transaction has just read or created."""
        endpoint = await self._read(connection, organization_id, endpoint_id)
        if endpoint is None:
            raise LookupError(f"{endpoint_id} disappeared although its organization is locked")
        return endpoint
