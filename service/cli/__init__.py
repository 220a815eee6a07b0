"""The command line: ``posthorn`` (``main``)."""

import sys
from typing import Annotated

import typer

from service import __version__
from service.cli.lazy import NO_HELP, Commands
from service.cli.terminal import BAD_USAGE, EXIT_CODES, CommandError, print_line, tell

__all__ = ["main"]

application = typer.Typer(
    name="posthorn",
    cls=Commands,
    help="Posthorn delivers messaging events as signed webhooks, and records every attempt.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    context_settings={"default_map": NO_HELP | dict.fromkeys(("install_completion", "show_completion"), False)},
    pretty_exceptions_enable=False,
)


@application.callback(invoke_without_command=True)
def _global(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False
) -> None:
    if version:
        print_line(f"posthorn {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command. Errors that the user can fix are printed without a traceback."""
    try:
        application(prog_name="posthorn")
    except CommandError as error:
        tell(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        from service.settings import SettingsError

        if not isinstance(error, SettingsError):
            raise
        tell(str(error))
        sys.exit(BAD_USAGE)
