"""``keys``: create, list, rotate and revoke API keys."""

from typing import Annotated, Final

import typer

from service.cli.calls.running import call, is_remote, print_answer, print_page
from service.cli.options import LIMIT_MAX, AnyOrganizationOption, named
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import BAD_USAGE, CommandError, JsonOption, split_names
from service.core.keys.api_key import parse_key
from service.core.keys.grant import EXPIRES_IN_DAYS_MAX, OVERLAP_SECONDS_MAX

_COLUMNS: Final = {
    "scopes*": "scopes",
    "last used (UTC)": "last_used_at",
    "expires (UTC)": "expires_at",
    "revoked (UTC)": "revoked_at",
    "id*": "id",
    "name*": "name",
}
RATE_LIMIT_MAX: Final = 1_000_000_000

KeyIdArgument = Annotated[str, typer.Argument(metavar="KEY_ID", help="Its id, or the whole key.")]

group = typer.Typer(no_args_is_help=True)


@group.command("create")
@reaches_api
def create_key(
    organization_id: AnyOrganizationOption = None,
    name: Annotated[str, typer.Option(help="What it is for; GET /v1/me and 'keys list' show it.")] = "",
    scopes: Annotated[
        str, typer.Option(help="Comma-separated: read, write, publish, admin; or publish:TYPE, read:EP, write:EP.")
    ] = "read,write",
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=EXPIRES_IN_DAYS_MAX, help="Days until it expires; default: never.")
    ] = None,
    rate_limit_per_hour: Annotated[
        int | None,
        typer.Option(min=1, max=RATE_LIMIT_MAX, help="Its own limit; default: it shares the organization's."),
    ] = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Create an API key, and the organization if it does not exist yet. The key is shown only once."""
    if is_remote(api):
        if rate_limit_per_hour is not None:
            raise CommandError("--rate-limit-per-hour: only beside the database, by who runs the service.", BAD_USAGE)
        body = {"name": name, "scopes": split_names(scopes), "expires_in_days": expires_in_days}
        print_answer(call(api, organization_id, "create_key", body=body), as_json=as_json)
        return
    from service.cli.keys import work

    work.create_key(named(organization_id), name, scopes, expires_in_days, rate_limit_per_hour, as_json=as_json)


@group.command("list")
@reaches_api
def list_keys(organization_id: AnyOrganizationOption = None, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """List the organization's keys, oldest first, including revoked ones. The last use is accurate to a minute."""
    if is_remote(api):
        page = call(api, organization_id, "list_keys", query={"limit": LIMIT_MAX, "order": "asc"})
        print_page(page, _COLUMNS, nothing="There are no keys yet.", as_json=as_json)
        return
    from service.cli.keys import work

    work.list_keys(named(organization_id), as_json=as_json)


@group.command("rotate")
@reaches_api
def rotate_key(
    key_id: KeyIdArgument,
    overlap_seconds: Annotated[
        int, typer.Option(min=0, max=OVERLAP_SECONDS_MAX, help="How long the old key stays valid; 0: not at all.")
    ] = 86_400,
    expires_in_days: Annotated[
        int | None,
        typer.Option(min=1, max=EXPIRES_IN_DAYS_MAX, help="Days until the new key expires; default: with the old one."),
    ] = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Make another key with the same scopes, name and rate limit; the old one ends after an overlap."""
    if is_remote(api):
        body = {"overlap_seconds": overlap_seconds, "expires_in_days": expires_in_days}
        print_answer(
            call(api, None, "rotate_key", path={"id": parse_key(key_id) or key_id}, body=body), as_json=as_json
        )
        return
    from service.cli.keys import work

    work.rotate_key(key_id, overlap_seconds, expires_in_days, as_json=as_json)


@group.command("revoke")
@reaches_api
def revoke_key(
    key_id: KeyIdArgument,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Revoke a key: its next request is refused. Safe to repeat."""
    if is_remote(api):
        whole = parse_key(key_id) is not None  # whoever has found a key may end it
        if whole:
            call(api, None, "revoke_leaked_key", body={"key": key_id})
        else:
            call(api, None, "revoke_key", path={"id": key_id})
        print_answer({"key_id": parse_key(key_id) or key_id, "revoked": True}, as_json=as_json)
        return
    from service.cli.keys import work

    work.revoke_key(key_id, as_json=as_json)


@group.command("show")
@reaches_api
def show_key(
    key_id: KeyIdArgument,
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Show a key: its scopes, last use, expiry, and what replaced it; never the key itself."""
    answer = call(api, organization_id, "get_key", path={"id": parse_key(key_id) or key_id})
    print_answer(answer, as_json=as_json)


@group.command("whoami")
@reaches_api
def show_own_key(*, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Say which organization and scopes the key has that commands use over HTTP, and how much of its limit is left."""
    print_answer(call(api, None, "get_me", needs_key=True), as_json=as_json)
