"""Whether the receiver at an endpoint's URL was asked, and agreed."""

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from service.core.endpoints.auth import UnreadableAuth
from service.core.endpoints.settings import EndpointSettings, GrantedWish, signing_of
from service.core.endpoints.url import is_masked
from service.ports.desk import CheckOwnership


def signing_now(before: EndpointSettings, granted: GrantedWish) -> EndpointSettings:
    """The new settings, but in the style of the secrets that there are: a change of style may bring a new one."""
    if granted.overlap is None:
        return granted.settings
    was = signing_of(before)
    return replace(granted.settings, signature_style=was.style, signature_header=was.header)


async def ownership_complaint(
    check_ownership: CheckOwnership, settings: EndpointSettings, secrets: Sequence[str | None]
) -> str | None:
    """Ask the receiver of an endpoint that exists; returns what is wrong, None if it has agreed."""
    known = [each for each in secrets if each is not None]
    is_closed = settings.headers is None or isinstance(settings.auth, UnreadableAuth) or is_masked(settings.url)
    if is_closed or not known or len(known) < len(secrets):
        return "its URL, secrets, headers or auth cannot be decrypted, so nothing can be sent to it now"
    return await check_ownership(settings, known)


async def mark_verified(connection: asyncpg.Connection, organization_id: str, endpoint_id: str) -> None:
    """Store that the receiver at the endpoint's URL has just agreed; that says nothing of a URL it may get later."""
    await connection.execute(
        """UPDATE endpoints SET verified_at = now(), verified_url_digest = sha256(convert_to(url, 'UTF8'))
            WHERE organization_id = $1 AND id = $2""",
        organization_id,
        endpoint_id,
    )
