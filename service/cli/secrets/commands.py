"""``secrets``: seal what is stored with another key."""

import typer

from service.cli.terminal import JsonOption

group = typer.Typer(no_args_is_help=True)


@group.command("rewrap")
def rewrap_secrets(*, as_json: JsonOption = False) -> None:
    """Seal everything that is stored with the first key of SECRET_KEYS, so that the others can be removed.

    Seals queries of URLs, too, that an earlier release stored in clear: run it when every process is of this one.
    The service may run meanwhile. Ctrl-C loses nothing: the next run goes on.
    """
    from service.cli.secrets import rewrapping

    rewrapping.rewrap_secrets(as_json=as_json)
