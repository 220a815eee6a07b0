"""``secrets``: seal what is stored with another key."""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.adapters.postgres.sealed import count_rows, rewrap, sealed_groups
from service.adapters.secret_box import AesSecretBox
from service.adapters.system import command_actor
from service.cli.database import connected, require_secret_keys
from service.cli.hints import suggest
from service.cli.sealed import left_behind
from service.cli.terminal import EXIT_CODES, FAILED, JsonOption, print_json, tell
from service.core.wording import count_of
from service.settings import Settings, load_settings

PLAIN_SECONDS: Final = 5.0
"""Between two lines of progress where there is no terminal."""

secrets = typer.Typer(no_args_is_help=True, help="Seal stored secrets with a new key.")


@dataclass(slots=True)
class _Rewrapped:
    """How far it has come. ``left`` says what other keys sealed when it had ended."""

    total: int
    rows_read: int = 0
    rewrapped_count: int = 0
    left: dict[str, str] = field(default_factory=dict)


@secrets.command("rewrap", epilog=EXIT_CODES)
def rewrap_secrets(*, as_json: JsonOption = False) -> None:
    """Seal everything that is stored with the first key of SECRET_KEYS, so that the others can be removed.

    The service may run meanwhile. Ctrl-C loses nothing: the next run goes on.
    """
    settings = load_settings()
    require_secret_keys(settings)
    done, first = asyncio.run(_rewrap(settings)), settings.secret_keys[0].id
    if as_json:
        print_json(
            {"key_id": first, "rows_read": done.rows_read, "rewrapped_count": done.rewrapped_count, "left": done.left}
        )
    else:
        tell(f"Sealed {count_of(done.rewrapped_count, 'value')} with {first!r}.")
    if done.left:
        tell(_what_is_left(done.left, first, {key.id for key in settings.secret_keys}))
        raise typer.Exit(FAILED)
    if not as_json:
        suggest("doctor")


def _what_is_left(left: Mapping[str, str], first: str, known: Collection[str]) -> str:
    lines = []
    for key_id, counts in left.items():
        if key_id in known:
            advice = (
                f"restart every process whose SECRET_KEYS does not begin with {first!r}, and run this again; "
                "'posthorn doctor' says if they cannot be opened"
            )
        else:
            advice = f"put {key_id!r} back, last in SECRET_KEYS, and run this again"
        lines.append(f"Still sealed with {key_id!r}: {counts}; {advice}.")
    return "\n".join(lines)


async def _rewrap(settings: Settings) -> _Rewrapped:
    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with connected(settings) as engine:
        done = _Rewrapped(await count_rows(engine))
        with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
            bar = bars.add_task("rows", total=done.total)
            told_at = time.monotonic()
            async for step in rewrap(engine, AesSecretBox(settings.secret_keys), by=command_actor()):
                done.rows_read += step.rows_read
                done.rewrapped_count += step.rewrapped_count
                bars.update(bar, completed=done.rows_read, total=max(done.total, done.rows_read))
                if not console.is_terminal and time.monotonic() - told_at >= PLAIN_SECONDS:
                    tell(f"{done.rows_read} of {done.total} rows read, {done.rewrapped_count} values sealed anew")
                    told_at = time.monotonic()
        done.left = left_behind(await sealed_groups(engine), settings.secret_keys)
    return done
