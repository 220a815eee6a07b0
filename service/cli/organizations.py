"""Organizations: which there are. 'keys create' makes one."""

import asyncio
from collections.abc import Sequence

import typer

from service.cli.database import administration, connected
from service.cli.hints import suggest, words
from service.cli.terminal import EXIT_CODES, JsonOption, print_json, print_line, tell
from service.settings import load_settings

organizations = typer.Typer(no_args_is_help=True, help="Whose events are delivered.")


@organizations.command("list", epilog=EXIT_CODES)
def list_organizations(*, as_json: JsonOption = False) -> None:
    """The ids of all organizations, one a line. 'keys create' makes one."""
    settings = load_settings()

    async def find() -> Sequence[str]:
        async with connected(settings) as engine:
            return await administration(engine, settings).list_organizations()

    found = asyncio.run(find())
    if as_json:
        print_json({"data": [{"id": each} for each in found]})
        return
    for each in found:
        print_line(each)
    if found:
        suggest(words("endpoints", "list", "--organization", found[0]))
    else:
        tell("There is no organization yet.")
        suggest("keys create --organization org_a")
