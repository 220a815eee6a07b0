"""``replays``: make deliveries again, many at a time, and follow and direct the jobs that do it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.replays.jobs import ReplayJobs
from service.adapters.system import command_actor
from service.cli.database import connected, endpoint_store
from service.cli.hints import suggest, words
from service.cli.options import time_of
from service.cli.organizations.known import require_organization
from service.cli.tables import Column, moment, print_table
from service.cli.terminal import (
    BAD_USAGE,
    CommandError,
    known_names,
    print_fields,
    print_json,
    split_names,
    tell,
)
from service.core.deliveries.delivery import FINAL_STATES, DeliveryKey, State
from service.core.endpoints.refusals import NoSuchEndpoint
from service.core.replays.job import (
    IDS_MAX,
    OrderRefused,
    ReplayCount,
    ReplayJob,
    ReplayOrder,
    ReplayState,
    ReplayWish,
    SkipReason,
    TooManyReplays,
)
from service.core.walk import Walk
from service.settings import Settings, load_settings

POLL_SECONDS: Final = 0.5
PLAIN_SECONDS: Final = 5.0

_COLUMNS: Final = (
    Column("state"),
    Column("made", is_right=True),
    Column("skipped", is_right=True),
    Column("of", is_right=True),
    Column("created (UTC)"),
    Column("what", moves=True),
    Column("replay", moves=True),
)


def create_replay(
    organization_id: str,
    endpoint_id: str | None,
    event_type: str | None,
    ids: str,
    since: str | None,
    until: str | None,
    *,
    states: str,
    rate: int,
    dry_run: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    """``replays create``."""
    if ids:
        if any((endpoint_id, event_type, since, until)):
            raise CommandError("--ids: give either ids or filters, not both.", BAD_USAGE)
        wish = ReplayWish(keys=_keys(ids), states=tuple(sorted(FINAL_STATES)), rate=rate)
    else:
        if endpoint_id is None and event_type is None:
            raise CommandError("Give --endpoint, --event-type, both, or --ids.", BAD_USAGE)
        wish = ReplayWish(
            endpoint_id,
            event_type,
            since=None if since is None else time_of(since, "--since"),
            until=None if until is None else time_of(until, "--until"),
            states=tuple(map(State, known_names(states, sorted(FINAL_STATES), "state"))),
            rate=rate,
        )
    begin(organization_id, wish, is_dry=dry_run, waits=not no_wait, as_json=as_json)


def begin(
    organization_id: str, wish: ReplayWish, *, is_dry: bool, waits: bool, as_json: bool, resumes: bool = False
) -> None:
    """Count, or make a job and follow it; with ``as_json`` only print what was made.

    ``resumes``: also resume the endpoint that the job is about.
    """
    settings = load_settings()

    async def make() -> ReplayCount | ReplayJob:
        async with connected(settings) as engine:
            await require_organization(engine, organization_id)
            endpoints = endpoint_store(engine, settings)
            if wish.endpoint_id is not None:
                await _require_endpoint(endpoints, organization_id, wish.endpoint_id, resumes=resumes)
            jobs = ReplayJobs(engine)
            if is_dry:
                return await jobs.count(organization_id, wish)
            made = await jobs.create(organization_id, wish, by=command_actor())
            if isinstance(made, TooManyReplays):
                raise CommandError(f"{organization_id}: {made.sentence}.")
            if resumes and wish.endpoint_id is not None:
                by = command_actor()
                await endpoints.set_paused(organization_id, wish.endpoint_id, is_paused=False, by=by)
            return made

    made = asyncio.run(make())
    if isinstance(made, ReplayCount):
        _print_counted(made, as_json=as_json)
    elif as_json:
        print_json(_shown(made))
    elif waits:
        tell(f"Replaying as {made.id}. Ctrl-C ends this display, not the replay.")
        _print_job(asyncio.run(_follow(settings, made)))
    else:
        _print_job(made)


async def _require_endpoint(endpoints: EndpointStore, organization_id: str, endpoint_id: str, *, resumes: bool) -> None:
    found = await endpoints.find(organization_id, endpoint_id)
    if isinstance(found, NoSuchEndpoint):
        lists = f"'posthorn endpoints list --organization {organization_id}' lists its endpoints"
        raise CommandError(f"{organization_id} has no endpoint {endpoint_id!r}: {lists}.")
    if resumes and found.ended is not None:
        raise CommandError(f"{endpoint_id} cannot be resumed: {found.ended.sentence}.")


def _keys(text: str) -> tuple[DeliveryKey, ...]:
    names = split_names(text)
    keys = [(name, DeliveryKey.parse(name)) for name in names]
    bad = [name for name, key in keys if key is None]
    if bad or not names or len(names) > IDS_MAX:
        why = f"{bad[0]!r} is not a delivery's id" if bad else f"must be 1 to {IDS_MAX} ids"
        raise CommandError(f"--ids: {why}; 'posthorn deliveries list' shows them.", BAD_USAGE)
    return tuple(key for _, key in keys if key is not None)


def _print_counted(counted: ReplayCount, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(counted))
        return
    at_least = "" if counted.is_complete else "at least "
    print_fields(
        {
            "match": f"{at_least}{counted.total_count}",
            "would be replayed": f"{at_least}{counted.replayable_count}",
            **_skipped(counted.skipped),
        }
    )
    tell("Nothing was stored. The same without --dry-run does it.")


async def _follow(settings: Settings, job: ReplayJob) -> ReplayJob:
    """Show the progress until the job has ended."""
    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with connected(settings) as engine:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
            bar = bars.add_task(job.state, total=None)
            told_at = time.monotonic()
            while job.ended_at is None:
                total = job.total_count if job.is_counted else None
                bars.update(bar, description=job.state, completed=_dealt_with(job), total=total)
                if not console.is_terminal and time.monotonic() - told_at >= PLAIN_SECONDS:
                    tell(f"{job.state}: {_dealt_with(job)} of {job.total_count}")
                    told_at = time.monotonic()
                await asyncio.sleep(POLL_SECONDS)
                job = await ReplayJobs(engine).find(job.organization_id, job.id) or job
            bars.update(bar, description=job.state, completed=_dealt_with(job), total=job.total_count)
    return job


def _dealt_with(job: ReplayJob) -> int:
    return job.created_count + job.skipped_count


def list_replays(organization_id: str, state: list[ReplayState] | None, limit: int, *, as_json: bool) -> None:
    """``replays list``."""
    settings = load_settings()

    async def find() -> Sequence[ReplayJob]:
        async with connected(settings) as engine:
            await require_organization(engine, organization_id)
            return await ReplayJobs(engine).list(organization_id, Walk(limit), states=state or ())

    found = asyncio.run(find())
    if as_json:
        print_json({"data": list(map(_shown, found))})
        return
    rows = [
        (job.state, job.created_count, job.skipped_count, job.total_count, moment(job.created_at), _what(job), job.id)
        for job in found
    ]
    print_table(_COLUMNS, rows, nothing="No replay matches.")
    if found:
        suggest(words("replays", "show", found[0].id))


def _what(job: ReplayJob) -> str:
    named = f"{job.ids_count} deliveries by id" if job.ids_count else None
    return " ".join(filter(None, (job.endpoint_id, job.event_type, named)))


def show_replay(job_id: str, *, as_json: bool) -> None:
    """``replays show``."""

    async def find(jobs: ReplayJobs, organization_id: str) -> ReplayJob | OrderRefused | None:
        return await jobs.find(organization_id, job_id)

    _on_one(job_id, find, as_json=as_json)


def pause_replay(job_id: str, *, as_json: bool) -> None:
    """``replays pause``."""
    _order(job_id, ReplayOrder.PAUSE, as_json=as_json)


def resume_replay(job_id: str, *, as_json: bool) -> None:
    """``replays resume``."""
    _order(job_id, ReplayOrder.RESUME, as_json=as_json)


def cancel_replay(job_id: str, *, as_json: bool) -> None:
    """``replays cancel``."""
    _order(job_id, ReplayOrder.CANCEL, as_json=as_json)


def _order(job_id: str, order: ReplayOrder, *, as_json: bool) -> None:
    async def obey(jobs: ReplayJobs, organization_id: str) -> ReplayJob | OrderRefused | None:
        return await jobs.order(organization_id, job_id, order, by=command_actor())

    _on_one(job_id, obey, as_json=as_json)


Act = Callable[[ReplayJobs, str], Awaitable[ReplayJob | OrderRefused | None]]


def _on_one(job_id: str, act: Act, *, as_json: bool) -> None:
    """Do something with a job and print it."""
    settings = load_settings()

    async def run(engine: AsyncEngine) -> ReplayJob | OrderRefused | None:
        jobs = ReplayJobs(engine)
        owner = await jobs.owner_of(job_id)
        return None if owner is None else await act(jobs, owner)

    async def connect_and_run() -> ReplayJob | OrderRefused | None:
        async with connected(settings) as engine:
            return await run(engine)

    found = asyncio.run(connect_and_run())
    if found is None:
        lists = "'posthorn replays list --organization …' lists an organization's"
        raise CommandError(f"There is no replay {job_id!r}: {lists}.")
    if isinstance(found, OrderRefused):
        raise CommandError(f"{job_id}: {found.sentence}.")
    if as_json:
        print_json(_shown(found))
    else:
        _print_job(found)


def _shown(job: ReplayJob) -> dict[str, Any]:
    return asdict(job)


def _skipped(counts: Mapping[SkipReason, int]) -> dict[str, int]:
    return {f"skipped: {reason.replace('_', ' ')}": count for reason, count in counts.items() if count}


def _print_job(job: ReplayJob) -> None:
    fields = _shown(job)
    skipped = {
        f"skipped: {reason.replace('_', ' ')}": count for reason, count in fields.pop("skipped").items() if count
    }
    print_fields({name: value for name, value in (fields | skipped).items() if value is not None})
    if job.ended_at is None:
        command = "resume" if job.state is ReplayState.PAUSED else "pause"
        suggest(words("replays", "show", job.id), words("replays", command, job.id))
    else:
        suggest(words("deliveries", "list", "--organization", job.organization_id))
