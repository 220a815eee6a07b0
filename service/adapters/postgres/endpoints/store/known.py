"""An endpoint as it was read, and what a wish about it comes to: decided before the transaction that writes it."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from service.adapters.postgres.endpoints.rows import read_endpoint, read_own_event_types
from service.adapters.postgres.endpoints.secrets import has_secret, is_among, open_secrets
from service.adapters.postgres.endpoints.version import directory_version
from service.adapters.postgres.engine import database_now
from service.core.endpoints.refusals import (
    EndpointRefusal,
    InvalidWish,
    OtherSecret,
    OtherVersion,
    SecretMisfit,
    UrlTaken,
)
from service.core.endpoints.rules import EndpointRules
from service.core.endpoints.settings import EndpointWish, GrantedWish, differing
from service.core.endpoints.signing.rotation import too_many_secrets
from service.core.endpoints.signing.secret import misfit
from service.core.endpoints.view import Changed, EndpointView, Registered
from service.ports.secrets import SecretBox


@dataclass(frozen=True, slots=True)
class Known:
    """An endpoint as of ``version`` of the directory, and ``now``, with what is needed to judge a wish about it.

    ``secrets``, which sign in the endpoint's style, are opened only for a wish that gives one or another style, or
    whose challenge they sign: no other needs them.
    """

    version: int | None
    now: datetime
    endpoint: EndpointView
    own_event_types: Sequence[str]
    secrets: Sequence[str | None]

    def judged(
        self, wish: EndpointWish, rules: EndpointRules, only_at: Container[int] | None, *, is_for_a_check: bool
    ) -> GrantedWish | Changed | EndpointRefusal:
        """What the wish, meant for one of these versions, comes to. ``Changed`` at once: it is for what there is.

        But if the receiver is asked (``is_for_a_check``), that it agrees is to be written.
        """
        if only_at is not None and self.endpoint.version not in only_at:
            return OtherVersion()
        granted = self._granted(wish, rules)
        if not isinstance(granted, GrantedWish) or is_for_a_check:
            return granted
        return granted if differing(self.endpoint.settings, granted.settings) else Changed(self.endpoint)

    def _granted(self, wish: EndpointWish, rules: EndpointRules) -> GrantedWish | EndpointRefusal:
        before = self.endpoint.settings
        if refused := self.endpoint.ended:
            return refused
        former = [each.former for each in self.endpoint.secrets if each.former is not None]
        granted = rules.judge(wish, before, self.own_event_types, former, now=self.now)
        if isinstance(granted, InvalidWish):
            return granted
        if granted.secret is not None and not is_among(granted.secret, self.secrets):
            return OtherSecret()
        style = granted.settings.signature_style
        if granted.overlap is not None:
            return (granted.overlap and too_many_secrets(self.endpoint)) or granted
        if style != before.signature_style and any(misfit(each or "", style) for each in self.secrets):
            return SecretMisfit(style)
        return granted


async def read_known(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str, *, with_secrets: bool
) -> Known | None:
    """Read an endpoint, holding no lock; None if it does not exist."""
    # Read the version first: everything read after it is as new or newer, so a change in between is noticed.
    version = await directory_version(connection, organization_id)
    endpoint = await read_endpoint(connection, secret_box, organization_id, endpoint_id)
    if endpoint is None:
        return None
    own = await read_own_event_types(connection, organization_id)
    secrets: Sequence[str | None] = ()
    if with_secrets:
        secrets = await open_secrets(connection, secret_box, organization_id, endpoint_id, are_former=False)
    return Known(version, await database_now(connection), endpoint, own, secrets)


async def same_or_taken(
    connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, endpoint_id: str, granted: GrantedWish
) -> Registered | UrlTaken:
    """The endpoint that has the URL of a new one, if a new one would be the same; else what would differ."""
    known = await read_endpoint(connection, secret_box, organization_id, endpoint_id)
    if known is None:
        raise LookupError(f"{endpoint_id} disappeared although its organization is locked")
    others = [*differing(known.settings, granted.settings)]
    if granted.secret is not None and not await has_secret(
        connection, secret_box, organization_id, endpoint_id, granted.secret, is_former=False
    ):
        others.append("secret")
    return UrlTaken(endpoint_id, others) if others else Registered(known, None, ())
