"""``profiles``: store APIs and keys for the commands that talk to them."""

from typing import Annotated, Any

import typer

from service.cli.hints import suggest, words
from service.cli.remote.profiles import Profile, Profiles, check_name, profiles_path
from service.cli.remote.target import ApiTarget, KeyOption, ask_for_key, check_key, check_url
from service.cli.tables import Column, print_table
from service.cli.terminal import BAD_USAGE, CommandError, JsonOption, print_json, shown, tell
from service.core.keys.api_key import parse_key

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The profile's name, such as staging.")]

group = typer.Typer(no_args_is_help=True)


@group.command("add")
def add_profile(
    name: NameArgument,
    api_url: Annotated[str, typer.Option("--api-url", metavar="URL", help="The API's base URL.", show_default=False)],
    key: KeyOption = None,
    *,
    is_replacing: Annotated[bool, typer.Option("--replace", help="Replace the profile of this name.")] = False,
    is_in_use: Annotated[bool, typer.Option("--use", help="Use it from now on; the first one is used anyway.")] = False,
    is_checked: Annotated[bool, typer.Option("--check/--no-check", help="Ask the API whether the key works.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Store an API's URL and a key for it. The key is asked for, or read from standard input."""
    check_name(name)
    url, known = check_url(api_url, "--api-url"), Profiles.read()
    if name in known.by_name and not is_replacing:
        raise CommandError(f"There is a profile {name} already: --replace replaces it.", BAD_USAGE)
    given = check_key(key) if key is not None else ask_for_key()
    me = _who_am_i(ApiTarget(url, given, "--api-url")) if is_checked else None
    added = known.added(name, Profile(url, given))
    if is_in_use:
        added = added.using(name)
    added.write()
    if as_json:
        print_json({"name": name, "api_url": url, "in_use": added.in_use == name, "me": me})
        return
    whose = f": {shown(me['organization_id'])}, {shown(me['key']['scopes'])}" if me else ""
    tell(f"Stored {name}{whose}, in {profiles_path()}.")
    if added.in_use != name:
        suggest(words("profiles", "use", name))


def _who_am_i(target: ApiTarget) -> Any:  # noqa: ANN401 - any JSON value
    import asyncio

    from service.cli.remote.client import ApiClient

    async def ask() -> Any:  # noqa: ANN401 - any JSON value
        async with ApiClient(target) as client:
            return await client.get("/v1/me")

    return asyncio.run(ask())


@group.command("list")
def list_profiles(*, as_json: JsonOption = False) -> None:
    """List the profiles, without their keys' secrets."""
    known = Profiles.read()
    rows = [
        {
            "name": name,
            "api_url": each.api_url,
            "key_id": parse_key(each.api_key),
            "in_use": name == known.in_use,
        }
        for name, each in sorted(known.by_name.items())
    ]
    if as_json:
        print_json({"data": rows})
        return
    columns = (Column("profile"), Column("in use"), Column("key id"), Column("api", moves=True))
    cells = [(row["name"], "yes" if row["in_use"] else "", row["key_id"], row["api_url"]) for row in rows]
    print_table(columns, cells, nothing="There are no profiles yet.")
    if not rows:
        suggest("profiles add NAME --api-url https://posthorn.example.com")


@group.command("use")
def use_profile(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Use this profile where no other API is named."""
    known = Profiles.read().using(name)
    known.write()
    if as_json:
        print_json({"name": name, "in_use": True})
    else:
        tell(f"In use: {name}, {known.find(name).api_url}.")


@group.command("remove")
def remove_profile(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Forget a profile. Its key stays valid: 'posthorn keys revoke' ends it."""
    known = Profiles.read()
    left = known.without(name)
    left.write()
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        tell(f"Removed {name}." + (" No profile is in use now." if left.in_use is None else ""))
