"""Sealing what is stored with another key."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.clear_urls import count_clear_urls, seal_clear_urls
from service.adapters.postgres.sealed import RewrapStep, count_rows, rewrap, sealed_groups
from service.adapters.secret_box import AesSecretBox
from service.adapters.system import command_actor
from service.cli.database import connected, require_secret_keys
from service.cli.hints import suggest
from service.cli.secrets.sealed import left_behind
from service.cli.terminal import FAILED, print_json, tell
from service.core.wording import count_of
from service.settings import Settings, load_settings

PLAIN_SECONDS: Final = 5.0
"""Between two lines of progress where there is no terminal."""
TOLD_MAX: Final = 20
"""Reasons why URLs stay in clear."""


@dataclass(slots=True)
class _Rewrapped:
    """How far it has come. ``left`` says what other keys sealed when it had ended.

    ``clear_count``: URLs that stay in clear; ``why_clear`` says why, without repeating itself.
    """

    total: int
    rows_read: int = 0
    rewrapped_count: int = 0
    left: dict[str, str] = field(default_factory=dict)
    clear_count: int = 0
    why_clear: dict[str, None] = field(default_factory=dict)


def rewrap_secrets(*, as_json: bool) -> None:
    """Do it and print what was done. Raises ``typer.Exit`` if something is left."""
    settings = load_settings()
    require_secret_keys(settings)
    done, first = asyncio.run(_rewrap(settings)), settings.secret_keys[0].id
    if as_json:
        counts = {"rows_read": done.rows_read, "rewrapped_count": done.rewrapped_count, "clear_count": done.clear_count}
        print_json({"key_id": first, **counts, "left": done.left})
    else:
        tell(f"Sealed {count_of(done.rewrapped_count, 'value')} with {first!r}.")
    if done.left:
        tell(_what_is_left(done.left, first, {key.id for key in settings.secret_keys}))
    if done.clear_count:
        tell(_what_is_clear(done.clear_count, list(done.why_clear)))
    if done.left or done.clear_count:
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


def _what_is_clear(count: int, why: Sequence[str]) -> str:
    """Advice on every cause, as those of one run may differ."""
    more = [f"and {len(why) - TOLD_MAX} more"] if len(why) > TOLD_MAX else []
    lines = [f"{count_of(count, 'URL')} with a query in clear:", *why[:TOLD_MAX], *more]
    return "\n  ".join(lines) + (
        "\nStop every process of an earlier release, which makes a URL twice; remove one of each two, put missing keys "
        "back into SECRET_KEYS, and run this again."
    )


async def _rewrap(settings: Settings) -> _Rewrapped:
    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with connected(settings) as engine:
        done = _Rewrapped(await count_rows(engine) + (await count_clear_urls(engine)).url_count)
        with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
            bar = bars.add_task("rows", total=done.total)
            told_at = time.monotonic()
            async for step in _steps(engine, settings):
                done.rows_read += step.rows_read
                done.rewrapped_count += step.rewrapped_count
                done.why_clear |= dict.fromkeys(step.left)
                bars.update(bar, completed=done.rows_read, total=max(done.total, done.rows_read))
                if not console.is_terminal and time.monotonic() - told_at >= PLAIN_SECONDS:
                    tell(f"{done.rows_read} of {done.total} rows read, {done.rewrapped_count} values sealed anew")
                    told_at = time.monotonic()
        done.left = left_behind(await sealed_groups(engine), settings.secret_keys)
        done.clear_count = (await count_clear_urls(engine)).url_count
    return done


async def _steps(engine: AsyncEngine, settings: Settings) -> AsyncIterator[RewrapStep]:
    box, by = AesSecretBox(settings.secret_keys), command_actor()
    async for step in seal_clear_urls(engine, box, by=by):
        yield step
    async for step in rewrap(engine, box, by=by):
        yield step
