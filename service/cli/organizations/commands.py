"""``organizations``: list them."""

from typing import Annotated, Any

import typer

from service.cli.hints import suggest, words
from service.cli.terminal import JsonOption, print_json, print_line, tell

LIMIT_MAX = 10_000

group = typer.Typer(no_args_is_help=True)


@group.command("list")
def list_organizations(
    search: Annotated[str, typer.Option(help="Only those with this in their id, in any case.")] = "",
    after: Annotated[str, typer.Option(help="Continue an earlier list: its next_after.")] = "",
    *,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="Maximum number to show.")] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """List organizations by id, with what is wrong with their endpoints; into a file or a pipe only the ids."""
    import asyncio
    import sys
    from dataclasses import asdict

    from service.cli.organizations.known import organizations
    from service.core.oversight import OrganizationsWanted
    from service.settings import load_settings

    found = asyncio.run(organizations(load_settings(), OrganizationsWanted(search, after, limit + 1)))
    shown = found[:limit]
    next_after = shown[-1].id if len(found) > len(shown) else None
    if as_json:
        print_json({"data": [asdict(each) for each in shown], "next_after": next_after})
        return
    if sys.stdout.isatty():
        _print(shown)
    else:
        for each in shown:
            print_line(each.id)
    if next_after:
        tell(f"{len(shown)} shown. For the others add --after {next_after}")
    if shown:
        suggest(words("endpoints", "list", "--organization", shown[0].id))
    elif search or after:
        tell("No organization matches.")
    else:
        tell("There are no organizations yet.")
        suggest("keys create --organization org_a")


def _print(rows: Any) -> None:  # noqa: ANN401 - rows of the list, which only a listing loads
    from service.cli.tables import Column, print_table
    from service.core.oversight import COUNTED_MAX

    counts = ("endpoints", "failing", "disabled", "gated", "open")
    columns = (Column("id"), *(Column(each, is_right=True) for each in counts))
    print_table(
        columns,
        [
            (
                *(each.id, each.endpoint_count, each.failing_count, each.disabled_count, each.gated_count),
                each.open_count if each.open_count <= COUNTED_MAX else f"> {COUNTED_MAX}",
            )
            for each in rows
        ],
        nothing="",
    )
