"""``keys create`` beside the database: makes the organization, too, and may set what no key may give."""

import asyncio
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.system import command_actor, new_key
from service.cli.database import connected, endpoint_store
from service.cli.hints import add_endpoint_command, suggest
from service.cli.organizations.known import check_organization_id
from service.cli.terminal import (
    BAD_USAGE,
    CommandError,
    print_json,
    print_line,
    split_names,
    tell,
)
from service.core.endpoints.refusals import NoSuchEndpoint
from service.core.keys.api_key import ListedKey
from service.core.keys.grant import (
    NAME_CHARACTERS_MAX,
    KeyWish,
    TooManyKeys,
)
from service.core.keys.scope import SCOPES, endpoint_of, scope_problem
from service.settings import Settings, load_settings


def create_key(
    organization_id: str,
    name: str,
    scopes: str,
    expires_in_days: int | None,
    rate_limit_per_hour: int | None,
    *,
    as_json: bool,
) -> None:
    """``keys create``."""
    settings = load_settings()
    check_organization_id(organization_id)
    if len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise CommandError(f"--name: must be at most {NAME_CHARACTERS_MAX} printable characters.", BAD_USAGE)
    expires_in = timedelta(days=expires_in_days) if expires_in_days is not None else None
    wish = KeyWish(_read_scopes(scopes), name, expires_in, rate_limit_per_hour)
    new = new_key()

    async def create() -> ListedKey | TooManyKeys:
        async with connected(settings) as engine:
            await OrganizationStore(engine).create(organization_id, by=command_actor())
            await _require_endpoints(engine, settings, organization_id, wish)
            return await KeyStore(engine).create_key(organization_id, new, wish, by=command_actor())

    made = asyncio.run(create())
    if isinstance(made, TooManyKeys):
        raise CommandError(f"{organization_id}: {made.sentence}.")
    if as_json:
        print_json({"organization_id": organization_id, "key_id": new.key_id, "key": new.text})
        return
    tell(f"A key of {organization_id} ({', '.join(made.scopes)}). It is shown only once:")
    print_line(new.text)
    suggest(add_endpoint_command(organization_id))


def _read_scopes(text: str) -> frozenset[str]:
    """Read a comma-separated list of scopes. Raises ``CommandError`` for the first that is none."""
    scopes = split_names(text)
    if not scopes:
        raise CommandError(f"--scopes: give at least one of {', '.join(sorted(SCOPES))}.", BAD_USAGE)
    for problem in filter(None, map(scope_problem, scopes)):
        raise CommandError(f"--scopes: {problem}", BAD_USAGE)
    return frozenset(scopes)


async def _require_endpoints(engine: AsyncEngine, settings: Settings, organization_id: str, wish: KeyWish) -> None:
    """Raise ``CommandError`` if a scope names an endpoint that the organization does not have."""
    store = endpoint_store(engine, settings)
    for endpoint_id in filter(None, map(endpoint_of, sorted(wish.scopes))):
        found = await store.find(organization_id, endpoint_id)
        if isinstance(found, NoSuchEndpoint):
            raise CommandError(f"--scopes: {found.sentence} of {organization_id}.")
