"""``messages``: where a message stands."""

from typing import Annotated

import typer

from service.cli.calls.running import call, print_answer
from service.cli.hints import suggest, words
from service.cli.options import AnyOrganizationOption, of
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import JsonOption

group = typer.Typer(no_args_is_help=True)


@group.command("show")
@reaches_api
def show_message(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="The message's id.")],
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Show where a message stands, by the events about it."""
    answer = call(api, organization_id, "get_message", path={"message_id": message_id})
    print_answer(answer, as_json=as_json)
    if not as_json:
        suggest(words("events", "list", "--message", message_id, *of(organization_id)))
