"""A URL gets an endpoint, or more subscriptions."""

from dataclasses import replace

import asyncpg

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.endpoints.caps import cap_reached
from service.adapters.postgres.endpoints.expiry import free_url
from service.adapters.postgres.endpoints.rows import (
    insert_endpoint,
    insert_subscriptions,
    read_own_event_types,
    write_settings,
)
from service.adapters.postgres.endpoints.secrets import has_secret, insert_secret, new_secret
from service.adapters.postgres.endpoints.store.known import same_or_taken
from service.adapters.postgres.endpoints.store.ownership import mark_verified
from service.adapters.postgres.endpoints.store.work import EndpointWork
from service.adapters.postgres.endpoints.urls import find_by_url
from service.adapters.postgres.endpoints.version import bump_directory, lock_directory
from service.adapters.postgres.engine import database_now, driver
from service.core.audit.actor import Actor
from service.core.endpoints.audited import endpoint_state, settings_state
from service.core.endpoints.caps import Capped
from service.core.endpoints.refusals import CapReached, InvalidWish, NoSuchOrganization, OtherSecret, UrlTaken
from service.core.endpoints.settings import NOTHING_ASKED, EndpointSettings, EndpointWish, GrantedWish
from service.core.endpoints.view import Registered
from service.ports.desk import CheckOwnership


class Creating(EndpointWork):
    """A URL gets an endpoint, or more subscriptions."""

    async def create(
        self, organization_id: str, wish: EndpointWish, check_ownership: CheckOwnership | None = None, *, by: Actor
    ) -> Registered | InvalidWish | NoSuchOrganization | UrlTaken | CapReached:
        """Create an endpoint. If just such a one has the URL already, it is returned without a secret.

        With ``check_ownership`` a new URL's receiver is asked first; unless it agrees, nothing is created.
        """
        granted = await self._judged(organization_id, wish)
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
            known_id = await find_by_url(connection, self._secret_box, organization_id, granted.settings.url)
            if known_id is not None:
                return await same_or_taken(connection, self._secret_box, organization_id, known_id, granted)
            return await self._make(
                connection, organization_id, granted.settings, granted.secret, by, is_verified=is_verified
            )

    async def _judged(self, organization_id: str, wish: EndpointWish) -> GrantedWish | InvalidWish:
        async with driver(self._engine) as connection:
            own, now = await read_own_event_types(connection, organization_id), await database_now(connection)
        return self._rules.judge(wish, NOTHING_ASKED, own, now=now)

    async def _is_known(self, organization_id: str, url: str) -> bool:
        async with driver(self._engine) as connection:
            return await find_by_url(connection, self._secret_box, organization_id, url) is not None

    async def subscribe(
        self, organization_id: str, wish: EndpointWish, *, by: Actor
    ) -> Registered | InvalidWish | NoSuchOrganization | OtherSecret | CapReached:
        """Subscribe a URL to event types, through its existing endpoint or a new one."""
        granted = await self._judged(organization_id, wish)
        if isinstance(granted, InvalidWish):
            return granted
        settings, secret = granted.settings, granted.secret
        async with driver(self._engine) as connection, connection.transaction():
            if await lock_directory(connection, organization_id) is None:
                return NoSuchOrganization(organization_id)
            known_id = await find_by_url(connection, self._secret_box, organization_id, settings.url)
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
        await free_url(connection, self._secret_box, organization_id, settings.url)
        more: dict[Capped, int] = {"endpoints": 1, "subscriptions": len({*settings.event_types}), "secrets": 1}
        if capped := await cap_reached(connection, organization_id, self._rules.caps, more):
            return capped
        await bump_directory(connection, [organization_id])
        endpoint_id = await insert_endpoint(connection, self._secret_box, organization_id, settings.url)
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
