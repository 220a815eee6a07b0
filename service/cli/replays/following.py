"""What becomes of a replay: whose it is, how it is shown, and how its progress is followed to the end."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from service.cli.calls.calling import Calls, calling
from service.cli.calls.running import print_answer
from service.cli.hints import suggest, words
from service.cli.options import of
from service.cli.remote.target import ApiOptions
from service.cli.terminal import print_json, tell
from service.core.replays.job import ReplayState

PLAIN_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.5
_POLL_SECONDS_MAX: Final = 5.0
"""Each look is a request of the organization's budget, so a replay that lasts is looked at less often."""


def begin(
    api: ApiOptions,
    organization_id: str | None,
    name: str,
    body: Mapping[str, Any],
    *,
    path: Mapping[str, str] | None = None,
    waits: bool,
    as_json: bool,
) -> None:
    """Call an operation that counts, or makes a job; then follow it if it ``waits``, unless ``as_json``."""

    async def run() -> Mapping[str, Any]:
        async with calling(api, organization_id) as calls:
            made: Mapping[str, Any] = await calls.call(name, path=path or {}, body=body)
            if "id" not in made or as_json or not waits:
                return made
            tell(f"Replaying as {made['id']}. Ctrl-C ends this display, not the replay.")
            return await _followed(calls, made)

    answer = asyncio.run(run())
    if "id" in answer:
        print_job(answer, organization_id, as_json=as_json)
        return
    print_answer(answer, as_json=as_json)
    if not as_json:
        tell("Nothing was stored. The same without --dry-run does it.")


def print_job(job: Mapping[str, Any], organization_id: str | None, *, as_json: bool) -> None:
    """Print a job: what is set of it, and why deliveries were skipped if any were."""
    if as_json:
        print_json(job)
        return
    skipped = {name: count for name, count in job["skipped"].items() if count}
    print_answer({**job, "skipped": skipped}, as_json=False)
    if job["ended_at"] is None:
        command = "resume" if job["state"] == ReplayState.PAUSED else "pause"
        suggest(words("replays", "show", job["id"]), words("replays", command, job["id"]))
    else:
        suggest(words("deliveries", "list", *of(organization_id)))


async def _followed(calls: Calls, job: Mapping[str, Any]) -> Mapping[str, Any]:
    """Show the progress until the job has ended."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(job["state"], total=None)
        began_at = told_at = time.monotonic()
        while job["ended_at"] is None:
            total = job["total_count"] if job["is_counted"] else None
            bars.update(bar, description=job["state"], completed=_dealt_with(job), total=total)
            if not console.is_terminal and time.monotonic() - told_at >= PLAIN_SECONDS:
                tell(f"{job['state']}: {_dealt_with(job)} of {job['total_count']}")
                told_at = time.monotonic()
            await asyncio.sleep(min(_POLL_SECONDS_MAX, _POLL_SECONDS + (time.monotonic() - began_at) / 10))
            job = await calls.call("get_replay", path={"id": job["id"]})
        bars.update(bar, description=job["state"], completed=_dealt_with(job), total=job["total_count"])
    return job


def _dealt_with(job: Mapping[str, Any]) -> int:
    return sum(map(int, (job["created_count"], *job["skipped"].values())))
