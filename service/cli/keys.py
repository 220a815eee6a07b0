"""``keys``: create, list and revoke API keys."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.requests.keys import KeyStore
from service.cli.database import connected
from service.cli.endpoints import add_command
from service.cli.hints import suggest, words
from service.cli.organizations import OrganizationOption, check_organization_id, require_organization
from service.cli.tables import Column, moment, print_table
from service.cli.terminal import (
    BAD_USAGE,
    EXIT_CODES,
    CommandError,
    JsonOption,
    known_names,
    print_json,
    print_line,
    tell,
)
from service.core.api_key import RANDOM_BYTES, SCOPES, ListedKey, StoredKey, generate_key, parse_key
from service.settings import load_settings

DAYS_MAX: Final = 36_500
RATE_LIMIT_MAX: Final = 1_000_000_000
NAME_CHARS_MAX: Final = 200

_COLUMNS: Final = (
    Column("state"),
    Column("scopes", moves=True),
    Column("limit/h", is_right=True),
    Column("last used (UTC)"),
    Column("key", moves=True),
    Column("name", moves=True),
)

keys = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


@keys.command("create", epilog=EXIT_CODES)
def create_key(
    organization_id: OrganizationOption,
    name: Annotated[str, typer.Option(help="What it is for; GET /v1/me and 'keys list' show it.")] = "",
    scopes: Annotated[str, typer.Option(help="Comma-separated: read, write, publish, admin.")] = "read,write",
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=DAYS_MAX, help="Days until it expires; default: never.")
    ] = None,
    rate_limit_per_hour: Annotated[
        int | None,
        typer.Option(min=1, max=RATE_LIMIT_MAX, help="Its own limit; default: it shares the organization's."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Create an API key, and the organization if it does not exist yet. The key is shown only once."""
    settings = load_settings()
    check_organization_id(organization_id)
    if len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise CommandError(f"--name: must be at most {NAME_CHARS_MAX} printable characters.", BAD_USAGE)
    chosen = known_names(scopes, sorted(SCOPES), "scope")
    new = generate_key(secrets.token_bytes(RANDOM_BYTES))

    async def create() -> None:
        async with connected(settings) as engine:
            await OrganizationStore(engine).create(organization_id)
            await KeyStore(engine).create_key(
                organization_id,
                new.key_id,
                new.digest,
                chosen,
                name=name,
                expires_in=timedelta(days=expires_in_days) if expires_in_days is not None else None,
                rate_limit_per_hour=rate_limit_per_hour,
            )

    asyncio.run(create())
    if as_json:
        print_json({"organization_id": organization_id, "key_id": new.key_id, "key": new.text})
        return
    tell(f"A key of {organization_id} ({', '.join(sorted(chosen))}). It is shown only once:")
    print_line(new.text)
    suggest(add_command(organization_id))


@keys.command("list", epilog=EXIT_CODES)
def list_keys(organization_id: OrganizationOption, *, as_json: JsonOption = False) -> None:
    """List the organization's keys, oldest first, including revoked ones. The last use is accurate to a minute."""
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
        (_standing(each), each.scopes, each.rate_limit_per_hour, moment(each.last_used_at), each.key_id, each.name)
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


@keys.command("revoke", epilog=EXIT_CODES)
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="Its id, or the whole key.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key: its next request is refused. Safe to repeat."""
    settings = load_settings()
    given_id = parse_key(key_id) or key_id  # who finds a leaked key has the whole key

    async def revoke() -> StoredKey | None:
        async with connected(settings) as engine:
            store = KeyStore(engine)
            await store.revoke(given_id)
            return await store.find(given_id)

    revoked = asyncio.run(revoke())
    if revoked is None:
        # Not quoted: it may be a mistyped key.
        raise CommandError("No such key; 'posthorn keys list --organization ID' lists the ids.")
    if as_json:
        print_json({"key_id": given_id, "revoked_at": revoked.revoked_at})
    else:
        tell(f"Revoked {given_id}.")
        suggest(words("keys", "list", "--organization", revoked.organization_id))
