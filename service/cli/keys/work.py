"""``keys``: create, list, rotate and revoke API keys."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.system import command_actor, new_key
from service.cli.database import connected, endpoint_store
from service.cli.endpoints.work import add_command
from service.cli.hints import suggest, words
from service.cli.organizations.known import check_organization_id, require_organization
from service.cli.tables import Column, moment, print_table
from service.cli.terminal import (
    BAD_USAGE,
    CommandError,
    print_json,
    print_line,
    split_names,
    tell,
)
from service.core.endpoints.refusals import NoSuchEndpoint
from service.core.keys.api_key import ListedKey, StoredKey, parse_key
from service.core.keys.grant import (
    NAME_CHARACTERS_MAX,
    KeyEnded,
    KeyReplaced,
    KeyWish,
    TooManyKeys,
)
from service.core.keys.scope import SCOPES, endpoint_of, scope_problem
from service.settings import Settings, load_settings

NO_SUCH_KEY: Final = "No such key; 'posthorn keys list --organization ID' lists the ids."
"""The id is not quoted: it may be a mistyped key."""

_COLUMNS: Final = (
    Column("state"),
    Column("scopes", moves=True),
    Column("limit/h", is_right=True),
    Column("last used (UTC)"),
    Column("id", moves=True),
    Column("key", moves=True),
    Column("name", moves=True),
)


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
    wish = KeyWish(_read_scopes(scopes), name, _days(expires_in_days), rate_limit_per_hour)
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
    suggest(add_command(organization_id))


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


def _days(count: int | None) -> timedelta | None:
    return timedelta(days=count) if count is not None else None


def list_keys(organization_id: str, *, as_json: bool) -> None:
    """``keys list``."""
    settings = load_settings()

    async def find() -> Sequence[ListedKey]:
        async with connected(settings) as engine:
            await require_organization(engine, organization_id)
            return await KeyStore(engine).list_keys(organization_id)

    found = asyncio.run(find())
    if as_json:
        print_json({"data": [asdict(each) for each in found]})
        return
    rows = [
        (
            *(_standing(each), each.scopes, each.rate_limit_per_hour, moment(each.last_used_at)),
            *(each.key_id, each.shown, each.name),
        )
        for each in found
    ]
    print_table(_COLUMNS, rows, nothing=f"{organization_id} has no keys yet.")
    suggest(words("endpoints", "list", "--organization", organization_id))


def _standing(key: ListedKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "active"
    return f"{'expires' if key.expires_at > datetime.now(UTC) else 'expired'} {key.expires_at:%Y-%m-%d}"


def rotate_key(key_id: str, overlap_seconds: int, expires_in_days: int | None, *, as_json: bool) -> None:
    """``keys rotate``."""
    settings = load_settings()
    given_id, new = parse_key(key_id) or key_id, new_key()
    overlap, expires_in = timedelta(seconds=overlap_seconds), _days(expires_in_days)

    async def rotate() -> tuple[StoredKey, tuple[ListedKey, datetime] | KeyReplaced | KeyEnded | TooManyKeys] | None:
        async with connected(settings) as engine:
            store = KeyStore(engine)
            old = await store.find(given_id)
            if old is None:
                return None
            rotated = await store.rotate(
                *(old.organization_id, old.key_id, new),
                overlap=overlap,
                expires_in=expires_in,
                by=command_actor(),
            )
            return (old, rotated) if rotated is not None else None

    found = asyncio.run(rotate())
    if found is None:
        raise CommandError(NO_SUCH_KEY)
    old, rotated = found
    if isinstance(rotated, KeyReplaced | KeyEnded | TooManyKeys):
        raise CommandError(f"{old.key_id}: {rotated.sentence}.")
    made, ends_at = rotated
    if as_json:
        ids = {"organization_id": old.organization_id, "key_id": made.key_id, "replaces": old.key_id}
        print_json(ids | {"key": new.text, "overlap_ends_at": ends_at})
        return
    tell(f"It replaces {old.key_id}, which ends at {moment(ends_at)} UTC. It is shown only once:")
    print_line(new.text)
    suggest(words("keys", "list", "--organization", old.organization_id))


def revoke_key(key_id: str, *, as_json: bool) -> None:
    """``keys revoke``."""
    settings = load_settings()
    given_id = parse_key(key_id) or key_id  # who finds a leaked key has the whole key

    async def revoke() -> StoredKey | None:
        async with connected(settings) as engine:
            store = KeyStore(engine)
            await store.revoke(given_id, by=command_actor())
            return await store.find(given_id)

    revoked = asyncio.run(revoke())
    if revoked is None:
        raise CommandError(NO_SUCH_KEY)
    if as_json:
        print_json({"key_id": given_id, "revoked_at": revoked.revoked_at})
    else:
        tell(f"Revoked {given_id}.")
        suggest(words("keys", "list", "--organization", revoked.organization_id))
