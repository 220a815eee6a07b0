"""The steps of replay jobs in PostgreSQL: each makes some deliveries and moves the cursor, in one transaction."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.lines import line_up_replays
from service.adapters.postgres.deliveries.rows import columns
from service.adapters.postgres.engine import driver
from service.adapters.postgres.replays import statements
from service.adapters.postgres.replays.search import Search
from service.core.deliveries.delivery import DeliveryKey
from service.core.events.uid import day_of, first_uid_from
from service.core.replays.job import ReplayState, SkipReason
from service.core.replays.step import (
    COUNTED_MAX,
    FULL_REST_SECONDS,
    OPEN_MAX,
    PARTS_MAX,
    Decided,
    Place,
    decide,
    dropped_reason,
    has_room,
    is_ripe,
    looked_at,
    most_of,
    next_window,
    tokens_after,
)
from service.ports.errors import RefusedError
from service.ports.store import ReplayStep


class PostgresReplayStore:
    """Implements ``ReplayStore``. A job's row stays locked for a step, so that workers share the jobs."""

    def __init__(self, engine: AsyncEngine, *, retention_days: int = 30) -> None:
        self._engine = engine
        self._retention = timedelta(days=retention_days)

    async def next_organization(self, after: str, resting: Collection[str]) -> str | None:
        """The next organization after ``after`` that has jobs to work on and is not ``resting``."""
        async with driver(self._engine) as connection:
            found: str | None = await connection.fetchval(statements.NEXT_ORGANIZATION, after, list(resting))
            return found

    async def step(self, organization_id: str, after: str) -> ReplayStep | None:
        """Take a step of the organization's next job after ``after``."""
        taken: list[str] = []
        try:
            async with driver(self._engine) as connection, connection.transaction():
                job = await connection.fetchrow(statements.TAKE_JOB, organization_id, after)
                if job is None:
                    return None
                taken.append(job["id"])
                return await _step(connection, job, self._retention)
        except RefusedError as error:  # no later step would be another
            if not taken:
                raise
            async with driver(self._engine) as connection:
                await connection.execute(statements.FAIL_JOB, taken[0], str(error))
            return ReplayStep(taken[0], ReplayState.FAILED, reason=str(error), has_worked=True)


async def _step(connection: asyncpg.Connection, job: asyncpg.Record, retention: timedelta) -> ReplayStep:
    tokens = tokens_after(job["tokens"], job["rate"], job["seconds"])
    part = await _take_part(connection, job, tokens)
    if part is None:
        return ReplayStep(job["id"], ReplayState(job["state"]))
    await connection.execute(statements.FOR_A_STEP)
    # A day that is about to be dropped gets no new deliveries: it would have to wait for them.
    oldest_kept = day_of(first_uid_from(job["now"] - retention))[0]
    search = Search.of(job, part["endpoint_id"], part["event_types"]).not_before(oldest_kept)
    if not part["is_counted"]:
        return await _count(connection, job, part, await search.with_types(connection), tokens)
    return await _make(connection, job, part, search, tokens)


async def _take_part(connection: asyncpg.Connection, job: asyncpg.Record, tokens: float) -> asyncpg.Record | None:
    """The next part that can take a step, of the few after the last one; those after them are looked at next."""
    may_make = is_ripe(tokens, job["rate"])
    parts = await connection.fetch(statements.TAKE_PARTS, job["id"], job["last_part"], PARTS_MAX, 2 * OPEN_MAX)
    if not parts and job["last_part"]:
        parts = await connection.fetch(statements.TAKE_PARTS, job["id"], "", PARTS_MAX, 2 * OPEN_MAX)
    full = [part["endpoint_id"] for part in parts if part["open_count"] >= OPEN_MAX]
    if full:
        await connection.execute(statements.REST_PARTS, job["id"], full, FULL_REST_SECONDS)
    for part in parts:
        if not part["is_counted"]:
            return part
        if may_make and not part["is_shut"] and has_room(part["window_size"], part["waiting"], part["open_count"]):
            return part
    after = parts[-1]["endpoint_id"] if len(parts) == PARTS_MAX else ""
    if after != job["last_part"] and may_make:
        await connection.execute(statements.SKIP_PARTS, job["id"], after)
    return None


async def _count(
    connection: asyncpg.Connection, job: asyncpg.Record, part: asyncpg.Record, search: Search, tokens: float
) -> ReplayStep:
    """Count on, from where the last step stopped."""
    matching, after = await search.count(connection, _place(part, "counted"), COUNTED_MAX)
    uid, subscription_id = after or (None, None)
    counted = {"counted_event_uid": uid, "counted_subscription_id": subscription_id, "is_counted": after is None}
    await _save_part(connection, part, event_types=search.event_types, **counted)
    parts = int(after is None)
    await _save_job(connection, job, part, tokens=tokens, total_count=matching, parts_counted=parts)
    return ReplayStep(job["id"], ReplayState.RUNNING, has_worked=True)


async def _make(
    connection: asyncpg.Connection, job: asyncpg.Record, part: asyncpg.Record, search: Search, tokens: float
) -> ReplayStep:
    """Make deliveries again. Dying before the COMMIT leaves neither them nor the cursor's move behind."""
    if not await connection.fetchval(statements.LOCK_SUBSCRIPTIONS, part["endpoint_id"]):
        return ReplayStep(job["id"], ReplayState(job["state"]))
    await connection.execute(statements.FORGET_ENDED, job["id"], part["endpoint_id"])
    window, waiting = part["window_size"], part["waiting"]
    most = most_of(tokens, window, waiting, part["open_count"])
    candidates, after = await search.judge(connection, _place(part, "done"), looked_at(most))
    decided = decide(candidates, most)
    made_count = await _insert(connection, job, decided)
    skipped = dict(decided.skipped)
    if made_count < len(decided.made):
        skipped[SkipReason.SUPERSEDED] = skipped.get(SkipReason.SUPERSEDED, 0) + len(decided.made) - made_count
    is_done = decided.has_all and after is None
    place = (after if decided.has_all else decided.through) or _place(part, "done")
    uid, subscription_id = place or (None, None)
    await _save_part(
        connection,
        part,
        done_event_uid=uid,
        done_subscription_id=subscription_id,
        is_done=is_done,
        window_size=next_window(window, waiting, job["rate"]),
    )
    state, reason = ReplayState.RUNNING, None
    if is_done and job["parts_left"] == 1:
        dealt_with = job["created_count"] + made_count + sum(job[f"{each}_count"] for each in SkipReason)
        dropped = max(0, job["total_count"] - dealt_with - sum(skipped.values()))
        skipped[SkipReason.EVENT_DROPPED] = skipped.get(SkipReason.EVENT_DROPPED, 0) + dropped
        state, reason = ReplayState.DONE, dropped_reason(job["event_dropped_count"] + skipped[SkipReason.EVENT_DROPPED])
    left = tokens - made_count
    await _save_job(
        connection,
        job,
        part,
        tokens=left,
        state=state,
        reason=reason,
        created_count=made_count,
        skipped=skipped,
        parts_done=int(is_done),
    )
    return ReplayStep(job["id"], state, made_count, sum(skipped.values()), reason, has_worked=True)


async def _insert(connection: asyncpg.Connection, job: asyncpg.Record, decided: Decided) -> int:
    if not decided.made:
        return 0
    rows = [(each.event_uid, each.subscription_id, each.newest_number + 1) for each in decided.made]
    made = await connection.fetch(statements.MAKE, job["organization_id"], *columns(rows, 3), job["id"])
    await line_up_replays(connection, [DeliveryKey(*row) for row in made])
    return len(made)


def _place(part: asyncpg.Record, which: str) -> Place | None:
    uid = part[f"{which}_event_uid"]
    return None if uid is None else (uid, part[f"{which}_subscription_id"])


async def _save_part(connection: asyncpg.Connection, part: asyncpg.Record, **changes: Any) -> None:  # noqa: ANN401
    saved = {**part, **changes}
    names = (
        *("event_types", "counted_event_uid", "counted_subscription_id", "is_counted"),
        *("done_event_uid", "done_subscription_id", "is_done", "window_size"),
    )
    values = [saved[name] for name in names]
    await connection.execute(statements.SAVE_PART, part["job_id"], part["endpoint_id"], *values)


async def _save_job(
    connection: asyncpg.Connection,
    job: asyncpg.Record,
    part: asyncpg.Record,
    *,
    tokens: float,
    state: ReplayState = ReplayState.RUNNING,
    reason: str | None = None,
    total_count: int = 0,
    created_count: int = 0,
    skipped: Mapping[SkipReason, int] = {},
    parts_counted: int = 0,
    parts_done: int = 0,
) -> None:
    await connection.execute(
        statements.SAVE_JOB,
        *(job["id"], state.value, reason, total_count, created_count),
        *(skipped.get(each, 0) for each in SkipReason),
        *(parts_counted, parts_done, part["endpoint_id"], tokens),
    )
