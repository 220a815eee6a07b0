"""Commands that are loaded when they are called, so that ``--help``, ``--version`` and completion answer at once.

A module of commands says what can be typed, and imports what does the work inside the command. So its help is quick as
well (tests/cli/test_quickness.py).
"""

from functools import cached_property
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from service.cli.quick_help import load_help
from service.cli.terminal import EXIT_CODES

GROUPS: Final = {
    "organizations": ("service.cli.organizations.commands", "List organizations."),
    "keys": ("service.cli.keys.commands", "Create, list, show, rotate and revoke API keys."),
    "portal-links": ("service.cli.keys.portal_links", "Make links that sign customers in to their pages."),
    "endpoints": (
        "service.cli.endpoints.commands",
        "Add, list, change, test, recover and remove the URLs that events go to.",
    ),
    "event-types": ("service.cli.event_types.commands", "List event types, and register your own."),
    "events": ("service.cli.events.commands", "List, show, explain and publish events."),
    "messages": ("service.cli.messages.commands", "Show where a message stands, by its events."),
    "deliveries": ("service.cli.deliveries.commands", "List, show and replay deliveries."),
    "stats": ("service.cli.stats.commands", "Show figures of deliveries over time."),
    "replays": (
        "service.cli.replays.commands",
        "Replay many deliveries; list, show, pause, resume and cancel replays.",
    ),
    "parked": ("service.cli.parked.commands", "Mend and republish messages that could not become events."),
    "secrets": ("service.cli.secrets.commands", "Seal stored secrets with a new key."),
    "audit": ("service.cli.audit.commands", "See who changed what."),
    "import": (
        "service.cli.imports.commands",
        "Take over endpoints of RapidPro, Svix or Convoy; a dry run, unless --apply is given.",
    ),
    "profiles": (
        "service.cli.remote.commands",
        "Store APIs and keys, for commands that talk to a service over HTTP.",
    ),
    "config": ("service.cli.running.config", "Show the settings."),
}
"""The groups of commands: where each is, as ``group``, and what it is for."""

ALONE: Final = {
    "demo": (
        "service.cli.running.commands",
        "Run everything on this machine: database, broker, service and receivers.",
    ),
    "serve": ("service.cli.running.commands", "Receive and deliver events."),
    "dashboard": (
        "service.cli.running.commands",
        "Print a link that signs you in to the dashboard: it works once, within ten minutes.",
    ),
    "migrate": ("service.cli.running.commands", "Upgrade the database schema to this release."),
    "trigger": ("service.cli.trying.commands", "Publish sample events and print their ids."),
    "listen": (
        "service.cli.live.commands",
        "Forward events to a URL on this machine, as they come, and print what it answers.",
    ),
    "tail": ("service.cli.live.commands", "Print attempts as they are settled."),
    "sign": (
        "service.cli.trying.commands",
        "Print the signature headers that Posthorn would send with this body, one per line (for curl -H @file).",
    ),
    "verify": (
        "service.cli.trying.commands",
        "Verify a request as a receiver does: print ok, or why it is refused.",
    ),
    "rehearse": (
        "service.cli.trying.commands",
        "Rehearse a receiver: send it right and wrong requests, and say which of its answers are mistakes.",
    ),
    "doctor": (
        "service.cli.running.commands",
        "Check settings, database, migrations, clock, broker, secrets and egress; exit 1 if one fails.",
    ),
    "status": (
        "service.cli.running.commands",
        "Show the service now: processes, broker, backlog, gates, failing endpoints, and what to look at first.",
    ),
}
"""The commands of one word: where each is, in ``group``, and how its help begins."""

NO_HELP: Final = {"help": False}
"""Spares typer the default of ``--help``, None, which it would load pydantic for."""


class Lazy(TyperCommand):
    """Stands for a command or a group until it is called."""

    def __init__(self, name: str, module: str, about: str) -> None:
        super().__init__(name, help=about)
        self._module = module

    @cached_property
    def real(self) -> Any:  # noqa: ANN401 - a command or a group
        """The command or group itself; imports its module."""
        group = typer.main.get_group(import_module(self._module).group)
        made = group.commands[self.name] if self.name in ALONE else group
        for each in (made, *getattr(made, "commands", {}).values()):
            each.epilog = EXIT_CODES
        made.name, made.help = self.name, made.help or self.help
        return made

    def make_context(self, info_name: Any, args: Any, *more: Any, **extra: Any) -> Any:  # noqa: ANN401 - as typer's
        """Called with the rest of the command line, also to complete it."""
        if "--help" in args:
            load_help()
        return self.real.make_context(info_name, args, *more, default_map=NO_HELP, **extra)


class Commands(TyperGroup):
    """All commands, by name."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - as typer declares it
        super().__init__(**attributes)
        for name, (module, about) in (ALONE | GROUPS).items():
            self.add_command(Lazy(name, module, about))

    def format_help(self, *arguments: Any) -> None:  # noqa: ANN401 - as typer declares it
        """Print the list of commands."""
        load_help()
        super().format_help(*arguments)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as typer declares it
        """Run the command; of a wrong value it is said only what is wrong with it."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise
