"""``replays``: make deliveries again, many at a time, and follow and direct the jobs that do it."""

from typing import Annotated, Any, Final

import typer

from service.cli.calls.running import call, print_page
from service.cli.options import TIME_FORM, AnyOrganizationOption, CursorOption, LimitOption, written_time
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.replays.options import DryRunOption, NoWaitOption, RateOption
from service.cli.terminal import BAD_USAGE, CommandError, JsonOption, known_names, split_names
from service.core.deliveries.delivery import FINAL_STATES, State
from service.core.replays.job import IDS_MAX, RATE_DEFAULT, ReplayState

_JobArgument = Annotated[str, typer.Argument(metavar="ID", help="The replay's id.")]

_COLUMNS: Final = {
    "state": "state",
    "made": "created_count",
    "of": "total_count",
    "created (UTC)": "created_at",
    "endpoint*": "endpoint_id",
    "type*": "event_type",
    "replay*": "id",
}

group = typer.Typer(no_args_is_help=True)


@group.command("create")
@reaches_api
def create_replay(
    organization_id: AnyOrganizationOption = None,
    endpoint_id: Annotated[str | None, typer.Option("--endpoint", help="Deliveries to this endpoint.")] = None,
    event_type: Annotated[str | None, typer.Option(help="Deliveries of events of this type.")] = None,
    ids: Annotated[str, typer.Option(help=f"These deliveries: comma-separated ids, at most {IDS_MAX}.")] = "",
    since: Annotated[str | None, typer.Option(help=f"Only events received at this time or later: {TIME_FORM}.")] = None,
    until: Annotated[str | None, typer.Option(help="Only events received before this time.")] = None,
    *,
    states: Annotated[
        str, typer.Option(help=f"Comma-separated states in which they ended: {', '.join(sorted(FINAL_STATES))}.")
    ] = State.DEAD.value,
    rate: RateOption = RATE_DEFAULT,
    dry_run: DryRunOption = False,
    no_wait: NoWaitOption = False,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Make new deliveries of old events, in their order and at a rate, and show the progress.

    The service does it: Ctrl-C ends the display, not the replay.
    """
    if not (ids or endpoint_id or event_type):
        raise CommandError("Give --endpoint, --event-type, both, or --ids.", BAD_USAGE)
    body: dict[str, Any] = {"endpoint_id": endpoint_id, "event_type": event_type, "rate": rate, "dry_run": dry_run}
    body |= {"since": written_time(since, "--since"), "until": written_time(until, "--until")}
    body |= {"ids": split_names(ids)} if ids else {"states": known_names(states, sorted(FINAL_STATES), "state")}
    asked = {name: value for name, value in body.items() if value is not None}
    from service.cli.replays.following import begin

    begin(api, organization_id, "create_replay", asked, waits=not no_wait, as_json=as_json)


@group.command("list")
@reaches_api
def list_replays(
    organization_id: AnyOrganizationOption = None,
    state: Annotated[
        list[ReplayState] | None,
        typer.Option(metavar="STATE", help=f"Only in this state: {', '.join(ReplayState)}. Repeatable."),
    ] = None,
    limit: LimitOption = 50,
    *,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """List an organization's replays, newest first."""
    page = call(api, organization_id, "list_replays", query={"state": state, "limit": limit, "cursor": cursor})
    print_page(page, _COLUMNS, nothing="No replay matches.", as_json=as_json)


@group.command("show")
@reaches_api
def show_replay(job_id: _JobArgument, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Show a replay and how far it has come."""
    _print_after(api, "get_replay", job_id, as_json=as_json)


@group.command("pause")
@reaches_api
def pause_replay(job_id: _JobArgument, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Pause a replay: it makes no more deliveries; those it has made are delivered."""
    _print_after(api, "pause_replay", job_id, as_json=as_json)


@group.command("resume")
@reaches_api
def resume_replay(job_id: _JobArgument, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Resume a replay where it stopped."""
    _print_after(api, "resume_replay", job_id, as_json=as_json)


@group.command("cancel")
@reaches_api
def cancel_replay(job_id: _JobArgument, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Cancel a replay: it makes no more deliveries; those it has made are delivered."""
    _print_after(api, "cancel_replay", job_id, as_json=as_json)


def _print_after(api: ApiOptions, name: str, job_id: str, *, as_json: bool) -> None:
    """Call an operation of one job, and print what it has become."""
    from service.cli.calls.owners import owner_of_replay
    from service.cli.replays.following import print_job

    job = call(api, None, name, path={"id": job_id}, whose=owner_of_replay(job_id))
    print_job(job, None, as_json=as_json)
