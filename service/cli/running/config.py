"""``config``: the settings."""

import typer

from service.cli.hints import suggest
from service.cli.terminal import JsonOption, print_json

group = typer.Typer(no_args_is_help=True)


@group.command("show")
def show_config(*, as_json: JsonOption = False) -> None:
    """List every setting with its value and source. Passwords and keys are hidden."""
    from service.cli.tables import Column, print_table
    from service.settings import load_settings

    shown = load_settings().redacted()
    if as_json:
        print_json(shown)
        return
    rows = [(name, each["source"], each["value"]) for name, each in shown.items()]
    columns = (Column("setting"), Column("source"), Column("value", moves=True))
    print_table(columns, rows, nothing="There are no settings.")
    suggest("doctor")
