"""``portal-links``: links that sign a customer in to the pages of the organization."""

from typing import Annotated

import typer

from service.cli.calls.running import call, print_answer
from service.cli.options import AnyOrganizationOption
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import JsonOption, print_line, shown, split_names, tell

group = typer.Typer(no_args_is_help=True)


@group.command("create")
@reaches_api
def create_portal_link(
    organization_id: AnyOrganizationOption = None,
    scopes: Annotated[str, typer.Option(help="Comma-separated: read, write, publish, admin.")] = "read",
    expires_in_seconds: Annotated[
        int | None, typer.Option(min=1, help="How long the session may last; default: the API's.")
    ] = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Make a link that signs its reader in to the organization's pages: it works once."""
    given = {"scopes": split_names(scopes), "expires_in_seconds": expires_in_seconds}
    body = {name: value for name, value in given.items() if value is not None}
    answer = call(api, organization_id, "create_portal_link", body=body)
    if as_json:
        print_answer(answer, as_json=True)
        return
    tell("It works once:")
    print_line(shown(answer["url"]))
