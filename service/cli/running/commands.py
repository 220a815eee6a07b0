"""``serve``, and what comes before it: ``migrate``, ``doctor``, ``demo``, ``dashboard``, ``status``."""

from pathlib import Path
from typing import Annotated, Final

import typer

from service.app.role import Role
from service.cli.hints import called_as
from service.cli.terminal import JsonOption
from service.core.session import SESSION_MAX

PROCESSES_MAX: Final = 64

group = typer.Typer()


@group.command("demo")
def demo(
    events: Annotated[int, typer.Option(min=1, help="How many events to publish.")] = 200,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Exit when all have arrived, with code 1 if some did not.")
    ] = False,
) -> None:
    """Run everything on this machine: database, broker, service and receivers."""
    from service.demo.command import run_demo

    raise typer.Exit(run_demo(events=events, once=once, command=called_as(anywhere=True)))


@group.command("serve")
def serve(
    role: Annotated[Role, typer.Option(help="Everything, only the HTTP API, or only delivery.")] = Role.ALL,
    processes: Annotated[
        int, typer.Option(min=1, max=PROCESSES_MAX, help="How many processes share the port and the work.")
    ] = 1,
    ops_socket: Annotated[Path | None, typer.Option(hidden=True)] = None,
    supervisor_id: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Receive and deliver events. SIGTERM or SIGINT drains; a second one ends it at once."""
    from service.cli.running import serving

    serving.serve(role, processes, ops_socket, supervisor_id)


@group.command("dashboard")
def dashboard(
    organization_id: Annotated[
        str | None,
        typer.Option("--organization", help="Only its pages; default: every organization's."),
    ] = None,
    *,
    read_only: Annotated[bool, typer.Option("--read-only", help="Without anything that changes something.")] = False,
    hours: Annotated[
        int, typer.Option(min=1, max=SESSION_MAX.days * 24, help="How long the session may last.")
    ] = SESSION_MAX.days * 24,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Instead: end every session of the operator, and every unused link.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print a link that signs you in to the dashboard: it works once, within ten minutes."""
    from service.cli.running import dashboard as work

    work.dashboard(organization_id, read_only=read_only, hours=hours, revoke=revoke, as_json=as_json)


@group.command("migrate")
def migrate(
    grant_to: Annotated[
        str,
        typer.Option(metavar="ROLE", help="The role that the service connects as: give it what it needs, and no more."),
    ] = "",
) -> None:
    """Upgrade the database schema to this release. Safe to repeat."""
    from service.cli.running import migrating

    migrating.migrate(grant_to)


@group.command("doctor")
def doctor(*, as_json: JsonOption = False) -> None:
    """Check settings, database, migrations, clock, broker, secrets and egress; exit 1 if one fails."""
    from service.cli.running import examination

    examination.doctor(as_json=as_json)


@group.command("status")
def status(*, as_json: JsonOption = False) -> None:
    """Show the service now: processes, broker, backlog, gates, failing endpoints, and what to look at first."""
    from service.cli.running import status as work

    work.status(as_json=as_json)
