"""``listen`` and ``tail``."""

from typing import Annotated, Final

import typer

from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import BAD_USAGE, CommandError, split_names
from service.core.events.registry import is_event_type_name

LISTEN_SECRET: Final = "POSTHORN_LISTEN_SECRET"  # noqa: S105 - the name of a variable
AT_ONCE_MAX: Final = 64
TIMEOUT_SECONDS_MAX: Final = 3600.0

group = typer.Typer()

TypesOption = Annotated[
    str,
    typer.Option(
        "--event-types",
        metavar="T,…",
        help="Only these, comma-separated: types such as message.sent, or patterns such as message.*",
        show_default=False,
    ),
]
LinesOption = Annotated[bool, typer.Option("--json", help="Print each as one JSON object on a line of its own.")]


@group.command("listen")
@reaches_api
def listen(
    api: ApiOptions,
    forward_to: Annotated[
        str,
        typer.Option(metavar="URL", help="Where to send them: http://localhost:3000/", show_default=False),
    ],
    event_types: TypesOption = "*",
    *,
    filter_text: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="JSON", help="Only events that this filter of endpoints lets through; or @FILE."
        ),
    ] = None,
    replay_since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Begin with the past, oldest first: 30m, 4h, 2d, or an ISO 8601 time."),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            metavar="WHSEC",
            help=f"Sign with this secret, not a new one; or set {LISTEN_SECRET}.",
            envvar=LISTEN_SECRET,
            show_envvar=False,
        ),
    ] = None,
    timeout_seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, max=TIMEOUT_SECONDS_MAX, help="Seconds that an answer may take.")
    ] = 15.0,
    at_once: Annotated[int, typer.Option(min=1, max=AT_ONCE_MAX, help="How many may be under way at once.")] = 1,
    as_json: LinesOption = False,
) -> None:
    """Forward events to a URL on this machine, as they come, and print what it answers.

    Each event is signed afresh with a secret that is made for this session. Real deliveries are untouched.
    Operational events come only if they are named. r sends the last event again, q quits.
    Needs a key with the scope read, and nothing but HTTP to the service.
    """
    from service.cli.live import listening

    listening.listen(
        api.required(),
        listening.Wish(
            forward_to=forward_to,
            types=check_types(event_types),
            filter=listening.check_filter(filter_text),
            since=listening.check_since(replay_since),
            secret=secret,
            timeout_seconds=timeout_seconds,
            at_once=at_once,
        ),
        as_json=as_json,
    )


@group.command("tail")
@reaches_api
def tail(
    api: ApiOptions,
    event_types: TypesOption = "",
    endpoint_id: Annotated[
        list[str] | None, typer.Option("--endpoint", help="Only attempts for this endpoint. Repeatable.")
    ] = None,
    *,
    has_failed: Annotated[bool, typer.Option("--failed", help="Only attempts that failed.")] = False,
    as_json: LinesOption = False,
) -> None:
    """Print attempts as they are settled.

    For each when, what, the answer, how long it took, and what comes next. Times are this machine's.
    Needs a key with the scope read, and nothing but HTTP to the service.
    """
    from service.cli.live import tailing

    types = check_types(event_types) if event_types else ()
    tailing.tail(api.required(), types, endpoint_id or [], has_failed=has_failed, as_json=as_json)


def check_types(text: str) -> tuple[str, ...]:
    """Event types and patterns. Raises ``CommandError``."""
    types = split_names(text)
    for each in types:
        if each != "*" and not is_event_type_name(each.removesuffix(".*") + (".x" if each.endswith(".*") else "")):
            raise CommandError(f"--event-types: {each!r} is neither an event type nor a pattern.", BAD_USAGE)
    return types or ("*",)
