"""``keys``: create, list, rotate and revoke API keys."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from service.cli.calls.running import call, is_remote, print_answer, print_page
from service.cli.hints import suggest, words
from service.cli.options import LIMIT_MAX, AnyOrganizationOption, CursorOption, LimitOption, named, of, order_of
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import BAD_USAGE, CommandError, JsonOption, print_json, print_line, split_names, tell
from service.core.keys.api_key import parse_key
from service.core.keys.grant import EXPIRES_IN_DAYS_MAX, OVERLAP_SECONDS_MAX

_COLUMNS: Final = {
    "state": "state",
    "scopes*": "scopes",
    "limit/h": "rate_limit_per_hour",
    "last used (UTC)": "last_used_at",
    "id*": "id",
    "key*": "hint",
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
def list_keys(
    organization_id: AnyOrganizationOption = None,
    *,
    limit: LimitOption = LIMIT_MAX,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """List the organization's keys, oldest first, including revoked ones. The last use is accurate to a minute."""
    query = {"limit": limit, "cursor": cursor, **order_of(is_ascending=True)}
    page = call(api, organization_id, "list_keys", query=query)
    if as_json:
        print_json(page)
        return
    rows = [{**each, "state": _standing(each)} for each in page["data"]]
    print_page({**page, "data": rows}, _COLUMNS, nothing="There are no keys yet.", as_json=False)
    suggest(words("endpoints", "list", *of(organization_id)))


def _standing(key: Mapping[str, Any]) -> str:
    if key["revoked_at"] is not None:
        return f"revoked {key['revoked_at'][:10]}"
    if key["expires_at"] is None:
        return "active"
    has_ended = datetime.fromisoformat(key["expires_at"]) <= datetime.now(UTC)
    return f"{'expired' if has_ended else 'expires'} {key['expires_at'][:10]}"


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
    from service.cli.calls.owners import owner_of_key

    given_id = parse_key(key_id) or key_id
    body = {"overlap_seconds": overlap_seconds, "expires_in_days": expires_in_days}
    made = call(api, None, "rotate_key", path={"id": given_id}, body=body, whose=owner_of_key(given_id))
    if as_json:
        print_json(made)
        return
    tell(f"It replaces {made['replaces']}, which ends at {made['overlap_ends_at']}. It is shown only once:")
    print_line(made["key"])


@group.command("revoke")
@reaches_api
def revoke_key(
    key_id: KeyIdArgument,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Revoke a key: its next request is refused. Safe to repeat."""
    from service.cli.calls.owners import owner_of_key

    given_id = parse_key(key_id) or key_id
    if is_remote(api) and given_id != key_id:  # whoever has found a whole key may end it
        call(api, None, "revoke_leaked_key", body={"key": key_id})
    else:
        call(api, None, "revoke_key", path={"id": given_id}, whose=owner_of_key(given_id))
    if as_json:
        print_json({"key_id": given_id, "revoked": True})
    else:
        tell(f"Revoked {given_id}.")


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
