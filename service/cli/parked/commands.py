"""``parked``: look at the messages that could not become events, mend them and publish them again, or discard them."""

from pathlib import Path
from typing import Annotated, Final

import typer

from service.cli.terminal import JsonOption

LIST_MAX: Final = 1000
SWEEP_MAX: Final = 100_000

ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="Only those parked for one of these reasons: bad_json,bad_data.")
]
IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]...", help="The messages' ids, as 'posthorn parked list' shows them.", show_default=False
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="All messages, or all with --reason; needs --yes.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it. Without, --all only counts.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")]
LimitOption = Annotated[int, typer.Option(min=1, max=SWEEP_MAX, help="Maximum number of messages.")]

group = typer.Typer(no_args_is_help=True)


@group.command("list")
def list_parked(
    reason: ReasonOption = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=LIST_MAX, help="Maximum number to show.")] = 50,
    skip: Annotated[int, typer.Option(min=0, max=SWEEP_MAX, help="How many to pass over first.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List parked messages. They stay in the queue, in their order."""
    from service.cli.parked import work

    work.list_parked(reason, limit=limit, skip=skip, as_json=as_json)


@group.command("show")
def show_parked(
    parked_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    save: Annotated[Path | None, typer.Option("--save", help="Write the body to this new file, to mend it.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show a parked message: why it was parked, its properties and headers, and its body."""
    from service.cli.parked import work

    work.show_parked(parked_id, save, as_json=as_json)


@group.command("republish")
def republish_parked(
    ids: IdsArgument = None,
    body: Annotated[Path | None, typer.Option("--body", help="A file with the body to publish instead.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="The event type to publish it with.")] = None,
    organization_id: Annotated[
        str | None, typer.Option("--organization", help="The organization to publish it for.", show_default=False)
    ] = None,
    reason: ReasonOption = None,
    *,
    every: AllOption = False,
    limit: LimitOption = SWEEP_MAX,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Publish parked messages to the intake queue again, mended if asked; each leaves once the broker has it there."""
    from service.cli.parked import work

    work.republish_parked(
        ids,
        body,
        event_type,
        organization_id,
        reason,
        every=every,
        limit=limit,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )


@group.command("discard")
def discard_parked(
    ids: IdsArgument = None,
    reason: ReasonOption = None,
    *,
    every: AllOption = False,
    limit: LimitOption = SWEEP_MAX,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take parked messages out of the queue for good. 'parked show ID --save FILE' keeps one."""
    from service.cli.parked import work

    work.discard_parked(ids, reason, every=every, limit=limit, dry_run=dry_run, yes=yes, as_json=as_json)
