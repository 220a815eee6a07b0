"""The command line: ``posthorn`` (``main``)."""

import sys
from typing import Annotated

import typer

from service import __version__
from service.cli.audit import audit
from service.cli.deliveries import deliveries
from service.cli.doctor import doctor
from service.cli.endpoints import endpoints
from service.cli.hints import called_as, suggest
from service.cli.imports import imports
from service.cli.keys import keys
from service.cli.migrate import migrate
from service.cli.organizations import organizations
from service.cli.rehearsing import rehearse
from service.cli.replays import replays
from service.cli.secrets import secrets
from service.cli.serving import serve
from service.cli.signing import sign, verify
from service.cli.tables import Column, print_table
from service.cli.terminal import (
    BAD_USAGE,
    EXIT_CODES,
    CommandError,
    JsonOption,
    print_json,
    print_line,
    tell,
)
from service.cli.trigger import trigger
from service.settings import SettingsError, load_settings

__all__ = ["main"]

application = typer.Typer(
    name="posthorn",
    help="Posthorn delivers messaging events as signed webhooks, and records every attempt.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config = typer.Typer(no_args_is_help=True, help="Show the settings.")


def demo(
    events: Annotated[int, typer.Option(min=1, help="How many events to publish.")] = 200,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Exit when all have arrived, with code 1 if some did not.")
    ] = False,
) -> None:
    """Run everything on this machine: database, broker, service and receivers."""
    from service.demo.command import run_demo  # noqa: PLC0415 - only the demo needs the embedded parts

    raise typer.Exit(run_demo(events=events, once=once, command=called_as(anywhere=True)))


@config.command("show", epilog=EXIT_CODES)
def show_config(*, as_json: JsonOption = False) -> None:
    """List every setting with its value and source. Passwords and keys are hidden."""
    shown = load_settings().redacted()
    if as_json:
        print_json(shown)
        return
    rows = [(name, each["value"], each["source"]) for name, each in shown.items()]
    columns = (Column("setting"), Column("source"), Column("value", moves=True))
    print_table(columns, [(name, source, value) for name, value, source in rows], nothing="There are no settings.")
    suggest("doctor")


@application.callback(invoke_without_command=True)
def _global(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False
) -> None:
    if version:
        print_line(f"posthorn {__version__}")
        raise typer.Exit


for command in (demo, serve, migrate, trigger, sign, verify, rehearse, doctor):
    application.command(epilog=EXIT_CODES)(command)
for name, group in {
    "organizations": organizations,
    "keys": keys,
    "endpoints": endpoints,
    "deliveries": deliveries,
    "replays": replays,
    "secrets": secrets,
    "audit": audit,
    "import": imports,
    "config": config,
}.items():
    application.add_typer(group, name=name, epilog=EXIT_CODES)


def main() -> None:
    """Run the command. Errors that the user can fix are printed without a traceback."""
    try:
        application(prog_name="posthorn")
    except CommandError as error:
        tell(str(error))
        sys.exit(error.exit_code)
    except SettingsError as error:
        tell(str(error))
        sys.exit(BAD_USAGE)
