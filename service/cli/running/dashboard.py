"""``dashboard``: a link that signs its reader in to the pages."""

import asyncio
from datetime import timedelta

from service.adapters.postgres.requests.sessions import SessionStore
from service.adapters.system import command_actor
from service.app.dashboard_link import make_dashboard_link
from service.cli.database import connected
from service.cli.organizations.known import require_organization
from service.cli.terminal import print_json, print_line, tell
from service.core.keys.scope import SCOPES
from service.core.session import LINK_MAX
from service.settings import Settings, load_settings


def dashboard(organization_id: str | None, *, read_only: bool, hours: int, revoke: bool, as_json: bool) -> None:
    """Print a link, or end what was made with such links."""
    settings = load_settings()
    if revoke:
        ended = asyncio.run(_revoke(settings, organization_id))
        tell(f"{ended} sessions and links that a command made for {organization_id or 'the operator'} ended.")
        return
    scopes = frozenset({"read"}) if read_only else SCOPES
    url = asyncio.run(_link(settings, organization_id, scopes, timedelta(hours=hours)))
    if as_json:
        print_json({"url": url, "expires_in_seconds": int(LINK_MAX.total_seconds())})
        return
    if settings.public_url is None:
        tell("PUBLIC_URL is not set, so the link is for this machine.")
    tell("It works once, within ten minutes:")
    print_line(url)


async def _link(settings: Settings, organization_id: str | None, scopes: frozenset[str], lasts: timedelta) -> str:
    async with connected(settings) as engine:
        if organization_id is not None:
            await require_organization(engine, organization_id)
        return await make_dashboard_link(engine, settings, organization_id, scopes, lasts=lasts, by=command_actor())


async def _revoke(settings: Settings, organization_id: str | None) -> int:
    async with connected(settings) as engine:
        return await SessionStore(engine).revoke_made_by_command(organization_id)
