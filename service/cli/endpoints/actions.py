"""What can be done with an endpoint, besides changing it."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.calls.running import call, print_answer
from service.cli.endpoints.arguments import EndpointArgument
from service.cli.hints import suggest, words
from service.cli.options import TIME_FORM, AnyOrganizationOption, YesOption, confirm, of, read_json, written_time
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.replays.options import DryRunOption, NoWaitOption, RateOption
from service.cli.terminal import JsonOption, tell
from service.core.replays.job import RATE_DEFAULT

group = typer.Typer()


@group.command("check")
@reaches_api
def check_settings(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The settings of a new endpoint, as JSON; - is stdin.")],
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Say what would be refused of an endpoint's settings, and how many events its filter would let through."""
    print_answer(call(api, organization_id, "check_endpoint", body=read_json(file, "FILE")), as_json=as_json)


@group.command("pause")
@reaches_api
def pause_endpoint(
    endpoint_id: EndpointArgument,
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Pause an endpoint: its deliveries wait, also new ones, until it is resumed."""
    print_answer(call(api, organization_id, "pause_endpoint", path={"id": endpoint_id}), as_json=as_json)
    if not as_json:
        suggest(words("endpoints", "resume", endpoint_id, *of(organization_id)))


@group.command("resume")
@reaches_api
def resume_endpoint(
    endpoint_id: EndpointArgument,
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Resume an endpoint that is paused, or that was disabled because it failed for days. What waits is due at once."""
    print_answer(call(api, organization_id, "resume_endpoint", path={"id": endpoint_id}), as_json=as_json)
    if not as_json:
        suggest(words("endpoints", "show", endpoint_id, *of(organization_id)))


@group.command("test")
@reaches_api
def send_test(
    endpoint_id: EndpointArgument,
    organization_id: AnyOrganizationOption = None,
    event_type: Annotated[str | None, typer.Option(help="Its type; default: one that the endpoint gets.")] = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Send an endpoint a test event, marked with test: true."""
    body = {"event_type": event_type} if event_type is not None else {}
    answer = call(api, organization_id, "test_endpoint", path={"id": endpoint_id}, body=body)
    print_answer(answer, as_json=as_json)
    if not as_json:
        suggest(words("deliveries", "show", answer["id"]))


@group.command("rotate")
@reaches_api
def rotate_secret(
    endpoint_id: EndpointArgument,
    organization_id: AnyOrganizationOption = None,
    overlap_seconds: Annotated[
        int | None, typer.Option(min=0, help="How long older secrets also sign; 0 ends them at once; default: a day.")
    ] = None,
    secret: Annotated[str | None, typer.Option(help="whsec_<base64>; default: generated.")] = None,
    *,
    yes: YesOption = False,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Replace an endpoint's secret. It is shown only once. The old one also signs until the overlap ends."""
    if overlap_seconds == 0:
        confirm("The old secret ends at once: receivers that have only it refuse everything.", yes=yes)
    given = {"overlap_seconds": overlap_seconds, "secret": secret}
    body = {name: value for name, value in given.items() if value is not None}
    answer = call(api, organization_id, "rotate_endpoint_secret", path={"id": endpoint_id}, body=body)
    print_answer(answer, as_json=as_json)
    if not as_json:
        tell("Give the new one to the receiver; it is shown only once.")


@group.command("end-overlap")
@reaches_api
def end_overlap(
    endpoint_id: EndpointArgument,
    organization_id: AnyOrganizationOption = None,
    *,
    yes: YesOption = False,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """End the older secrets of a rotation now: only the newest signs. Repeating it changes nothing."""
    confirm("The older secrets end at once: receivers that have only those refuse everything.", yes=yes)
    print_answer(call(api, organization_id, "end_secret_overlap", path={"id": endpoint_id}), as_json=as_json)


@group.command("stats")
@reaches_api
def show_stats(
    endpoint_id: EndpointArgument,
    organization_id: AnyOrganizationOption = None,
    hours: Annotated[int, typer.Option(min=1, help="Of the last so many hours.")] = 24,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Show how an endpoint does: deliveries by state and reason, success rate, latency."""
    answer = call(api, organization_id, "get_endpoint_stats", path={"id": endpoint_id}, query={"hours": hours})
    print_answer(answer, as_json=as_json)


@group.command("rehearse")
@reaches_api
def rehearse_endpoint(
    endpoint_id: EndpointArgument,
    organization_id: AnyOrganizationOption = None,
    event_type: Annotated[str | None, typer.Option(help="The type of the events.")] = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Send an endpoint right and wrong requests, from the service, and say which of its answers are mistakes."""
    body = {"event_type": event_type} if event_type is not None else {}
    answer = call(api, organization_id, "rehearse_endpoint", path={"id": endpoint_id}, body=body)
    print_answer(answer, as_json=as_json)


@group.command("recover")
@reaches_api
def recover_endpoint(
    endpoint_id: EndpointArgument,
    since: Annotated[
        str, typer.Option(help=f"Only events received at this time or later: {TIME_FORM}.", show_default=False)
    ],
    organization_id: AnyOrganizationOption = None,
    rate: RateOption = RATE_DEFAULT,
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Also resume it if it is paused or disabled.")] = False,
    dry_run: DryRunOption = False,
    no_wait: NoWaitOption = False,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Replay what failed at an endpoint since then: makes a replay job and shows its progress."""
    from service.cli.replays.following import begin

    body = {"since": written_time(since, "--since"), "rate": rate, "resume": resume, "dry_run": dry_run}
    path = {"id": endpoint_id}
    begin(api, organization_id, "recover_endpoint", body, path=path, waits=not no_wait, as_json=as_json)
