"""An endpoint's settings change."""

from collections.abc import Container
from typing import Final

import asyncpg

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.endpoints.caps import cap_reached
from service.adapters.postgres.endpoints.expiry import free_url
from service.adapters.postgres.endpoints.removal import end_subscriptions
from service.adapters.postgres.endpoints.rows import insert_subscriptions, move_endpoint, write_settings
from service.adapters.postgres.endpoints.secrets import leave_style
from service.adapters.postgres.endpoints.store.known import read_known
from service.adapters.postgres.endpoints.store.ownership import mark_verified, ownership_complaint, signing_now
from service.adapters.postgres.endpoints.store.work import EndpointWork
from service.adapters.postgres.endpoints.urls import find_by_url
from service.adapters.postgres.endpoints.version import bump_directory, lock_directory
from service.adapters.postgres.engine import driver
from service.core.audit.actor import Actor
from service.core.endpoints.audited import changeable_state
from service.core.endpoints.caps import Capped
from service.core.endpoints.refusals import (
    CapReached,
    ChangedTooOften,
    EndpointRefusal,
    InvalidWish,
    NoSuchEndpoint,
    UrlTaken,
)
from service.core.endpoints.settings import EndpointWish, GrantedWish, signing_of
from service.core.endpoints.signing.rotation import more_secrets
from service.core.endpoints.view import Changed, EndpointView
from service.ports.desk import CheckOwnership

TRIES_MAX: Final = 20
"""How often a change is judged anew; each time, another change of the same organization was committed first."""
_ABOUT_SECRETS: Final = frozenset({"signature_style", "secret"})


class Changing(EndpointWork):
    """An endpoint's settings change."""

    async def change(
        self,
        organization_id: str,
        endpoint_id: str,
        wish: EndpointWish,
        check_ownership: CheckOwnership | None = None,
        *,
        only_at: Container[int] | None = None,
        by: Actor,
    ) -> Changed | EndpointRefusal:
        """Change the given fields. Leaving out an event type ends its subscription and cancels its deliveries.

        With ``check_ownership`` the receiver is asked first; unless it agrees, nothing is changed. ``only_at`` are the
        versions that the change is meant for. A wish for what there is changes nothing.
        """
        verified_url: str | None = None
        for _ in range(TRIES_MAX):
            with_secrets = check_ownership is not None or not wish.given.keys().isdisjoint(_ABOUT_SECRETS)
            async with driver(self._engine) as connection:
                known = await read_known(
                    connection, self._secret_box, organization_id, endpoint_id, with_secrets=with_secrets
                )
            if known is None:
                return NoSuchEndpoint(endpoint_id)
            granted = known.judged(wish, self._rules, only_at, is_for_a_check=check_ownership is not None)
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
            other = await find_by_url(connection, self._secret_box, organization_id, after.url)
            if other is not None:
                return UrlTaken(other)
            await free_url(connection, self._secret_box, organization_id, after.url)
            await move_endpoint(connection, self._secret_box, organization_id, before.id, after.url)
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
