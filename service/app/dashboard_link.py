"""A link that signs its reader in to the dashboard, for those who have the database."""

import secrets
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.requests.sessions import SessionStore
from service.core.audit.actor import Actor
from service.core.session import TOKEN_BYTES, Guest, new_token
from service.settings import Settings

PATH: Final = "/dashboard/enter"


async def make_dashboard_link(
    engine: AsyncEngine,
    settings: Settings,
    organization_id: str | None,
    scopes: frozenset[str],
    lasts: timedelta,
    by: Actor,
) -> str:
    """Make a link to the organization's pages, or, without one, to every page; returns its URL."""
    token = new_token(secrets.token_bytes(TOKEN_BYTES))
    guest = Guest(organization_id, scopes, made_by=by.id)
    await SessionStore(engine).make_link(token, guest, lasts, by=by)
    base_url = settings.public_url or _own_url(settings.http_host, settings.http_port)
    return f"{base_url.rstrip('/')}{PATH}/{token.text}"


def _own_url(host: str, port: int) -> str:
    """Where a browser on this machine finds what listens on the host."""
    with suppress(ValueError):  # a name
        address = ip_address(host)
        host = "127.0.0.1" if address.is_unspecified else host
        host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}"
