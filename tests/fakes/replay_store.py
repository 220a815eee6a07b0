"""Replay jobs in memory: the ReplayStore and the ReplayJobDesk."""

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from service.core.audit.actor import Actor
from service.core.deliveries.delivery import OPEN_STATES, Delivery, DeliveryKey, State
from service.core.events.uid import first_uid_from, received_at
from service.core.replays.job import (
    ENDED,
    LIVE_MAX,
    OrderRefused,
    ReplayCount,
    ReplayJob,
    ReplayOrder,
    ReplayState,
    ReplayWish,
    SkipReason,
    TooManyReplays,
    obeyed,
)
from service.core.replays.step import (
    WINDOW_MIN,
    Candidate,
    decide,
    dropped_reason,
    has_room,
    is_ripe,
    looked_at,
    most_of,
    next_window,
    tokens_after,
)
from service.core.walk import Walk
from service.ports.store import ReplayStep
from tests.fakes.database import DeliveryRow, MemoryDatabase, ReplayJobRow, ReplayPartRow

_LIVE = {ReplayState.PENDING, ReplayState.RUNNING}


class MemoryReplayStore:
    """``errors`` are raised by the next steps, before anything is changed."""

    def __init__(self, database: MemoryDatabase, *, retention_days: int = 30) -> None:
        self._database = database
        self._retention_days = retention_days
        self.errors: deque[BaseException] = deque()
        self.steps: list[tuple[str, ReplayStep]] = []

    # ------------------------------------------------------------------ what workers do

    async def next_organization(self, after: str, resting: Collection[str]) -> str | None:
        owners = {row.job.organization_id for row in self._jobs() if row.job.state in _LIVE}
        return min((each for each in owners if each > after and each not in resting), default=None)

    async def step(self, organization_id: str, after: str) -> ReplayStep | None:
        if self.errors:
            raise self.errors.popleft()
        mine = [row for row in self._jobs(organization_id) if row.job.state in _LIVE]
        row = min(mine, key=lambda each: (each.job.id <= after, each.job.id), default=None)
        if row is None:
            return None
        step = self._step(row)
        self.steps.append((organization_id, step))
        return step

    def _step(self, row: ReplayJobRow) -> ReplayStep:
        now, rate = self._database.now, row.wish.rate
        tokens = tokens_after(row.tokens, rate, now - row.measured_at)
        part = self._next_part(row, may_make=is_ripe(tokens, rate))
        if part is None:
            return ReplayStep(row.job.id, row.job.state)
        row.measured_at, row.tokens, row.last_part = now, tokens, part.endpoint_id
        row.job = replace(
            row.job, state=ReplayState.RUNNING, started_at=row.job.started_at or self._database.clock.now()
        )
        if not part.is_counted:
            part.is_counted = True
            is_counted = all(each.is_counted for each in row.parts)
            total = row.job.total_count + len(self._candidates(row, part))
            row.job = replace(row.job, total_count=total, is_counted=is_counted)
            return ReplayStep(row.job.id, ReplayState.RUNNING, has_worked=True)
        return self._make(row, part)

    def _make(self, row: ReplayJobRow, part: ReplayPartRow) -> ReplayStep:
        waiting, open_count = self._waiting(row, part)
        most = most_of(row.tokens, part.window, waiting, open_count)
        every = self._candidates(row, part)
        limit = looked_at(most)
        decided = decide(every[:limit], most)
        for candidate in decided.made:
            self._insert(row, candidate)
        row.tokens -= len(decided.made)
        part.through = decided.through or part.through
        part.is_done = decided.has_all and len(every) <= limit
        part.window = next_window(part.window, waiting, row.wish.rate)
        skipped = Counter(row.job.skipped) + Counter(decided.skipped)
        created = row.job.created_count + len(decided.made)
        state, ended_at = row.job.state, None
        if all(each.is_done for each in row.parts):
            skipped[SkipReason.EVENT_DROPPED] += max(0, row.job.total_count - created - skipped.total())
            state, ended_at = ReplayState.DONE, self._database.clock.now()
        reason = dropped_reason(skipped[SkipReason.EVENT_DROPPED]) if ended_at else None
        told = {each: skipped[each] for each in SkipReason}
        row.job = replace(row.job, state=state, reason=reason, created_count=created, skipped=told, ended_at=ended_at)
        count = sum(decided.skipped.values())
        return ReplayStep(row.job.id, state, len(decided.made), count, reason, has_worked=True)

    def _next_part(self, row: ReplayJobRow, *, may_make: bool) -> ReplayPartRow | None:
        def can_step(part: ReplayPartRow) -> bool:
            if part.is_done or not part.is_counted:
                return not part.is_done
            waiting, open_count = self._waiting(row, part)
            is_shut = self._database.is_shut_to_claims(part.endpoint_id)
            return may_make and has_room(part.window, waiting, open_count) and not is_shut

        ready = [part for part in row.parts if can_step(part)]
        return min(ready, key=lambda each: (each.endpoint_id <= row.last_part, each.endpoint_id), default=None)

    def _waiting(self, row: ReplayJobRow, part: ReplayPartRow) -> tuple[int, int]:
        of_part = [
            each
            for each in self._database.deliveries.values()
            if each.replay_job_id == row.job.id
            and each.delivery.endpoint_id == part.endpoint_id
            and each.state in OPEN_STATES
        ]
        return sum(each.delivery.attempts_made == 0 for each in of_part), len(of_part)

    def _candidates(self, row: ReplayJobRow, part: ReplayPartRow) -> list[Candidate]:
        found = self._matching(row.job.organization_id, row.wish, part.endpoint_id, row.made_at, part.through)
        today = self._database.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        oldest_kept = first_uid_from(today - timedelta(days=self._retention_days))
        return [each for each in found if each.event_uid >= oldest_kept]

    def _matching(
        self, organization_id: str, wish: ReplayWish, endpoint_id: str, ended_by: float, after: object = None
    ) -> list[Candidate]:
        database = self._database
        stored = {row.uid for row in database.events.values()}
        pairs = {(key.event_uid, key.subscription_id) for key in wish.keys}
        found = []
        for key, each in database.deliveries.items():
            at = received_at(key.event_uid)
            is_match = (
                each.delivery.organization_id == organization_id
                and each.delivery.endpoint_id == endpoint_id
                and each.state in wish.states
                and each.ended_at is not None
                and each.ended_at <= ended_by
                and (wish.event_type is None or each.delivery.event_type == wish.event_type)
                and (not pairs or (key.event_uid, key.subscription_id) in pairs)
                and (wish.since is None or at >= wish.since)
                and (wish.until is None or at < wish.until)
                and (after is None or (key.event_uid, key.subscription_id) > after)  # type: ignore[operator]
            )
            if is_match:
                same = [
                    other.replay_number
                    for other in database.deliveries
                    if (other.event_uid, other.subscription_id) == (key.event_uid, key.subscription_id)
                ]
                is_subscribed = database.subscriptions[key.subscription_id].removed_because is None
                found.append(
                    Candidate(
                        *(key.event_uid, key.subscription_id, key.replay_number),
                        *(max(same), is_subscribed, key.event_uid in stored),
                    )
                )
        return sorted(found, key=lambda each: (each.event_uid, each.subscription_id, each.replay_number))

    def _insert(self, row: ReplayJobRow, candidate: Candidate) -> None:
        database = self._database
        key = DeliveryKey(candidate.event_uid, candidate.subscription_id, candidate.newest_number + 1)
        event = next(each.event for each in database.events.values() if each.uid == candidate.event_uid)
        endpoint_id = database.subscriptions[candidate.subscription_id].endpoint_id
        now = database.clock.now()
        delivery = Delivery(key, event.organization_id, event.id, event.type, event.body, endpoint_id, now)
        made = DeliveryRow(delivery, State.PENDING, now, database.now)
        made.replay_job_id = row.job.id
        database.deliveries[key] = made
        database.line_up_replay(delivery)

    # ------------------------------------------------------------------ what people do

    async def count(self, organization_id: str, wish: ReplayWish) -> ReplayCount:
        found = [
            each
            for endpoint_id in self._endpoints_of(organization_id, wish)
            for each in self._matching(organization_id, wish, endpoint_id, self._database.now)
        ]
        skipped = Counter(because for each in found if (because := each.skipped_because) is not None)
        return ReplayCount(len(found), len(found) - skipped.total(), skipped, is_complete=True)

    async def create(self, organization_id: str, wish: ReplayWish, *, by: Actor) -> ReplayJob | TooManyReplays:
        if sum(row.job.state not in ENDED for row in self._jobs(organization_id)) >= LIVE_MAX:
            return TooManyReplays()
        now = self._database.clock.now()
        parts = [ReplayPartRow(each, WINDOW_MIN) for each in self._endpoints_of(organization_id, wish)]
        job = ReplayJob(
            id=f"rpl_{len(self._database.replay_jobs) + 1}",
            organization_id=organization_id,
            state=ReplayState.PENDING if parts else ReplayState.DONE,
            reason=None,
            endpoint_id=wish.endpoint_id,
            event_type=wish.event_type,
            ids_count=len({(key.event_uid, key.subscription_id) for key in wish.keys}),
            since=wish.since,
            until=wish.until,
            states=wish.states,
            rate=wish.rate,
            total_count=0,
            is_counted=not parts,
            created_count=0,
            skipped=dict.fromkeys(SkipReason, 0),
            open_count=0,
            created_by=by.id,
            created_at=now,
            started_at=None,
            ended_at=None if parts else now,
        )
        made_at = self._database.now
        self._database.replay_jobs[job.id] = ReplayJobRow(job, wish, parts, made_at, made_at)
        return job

    async def find(self, organization_id: str, job_id: str) -> ReplayJob | None:
        row = self._database.replay_jobs.get(job_id)
        return self._shown(row) if row is not None and row.job.organization_id == organization_id else None

    async def list(
        self,
        organization_id: str,
        walk: Walk[tuple[datetime, str]],
        *,
        states: Collection[ReplayState] = (),
    ) -> Sequence[ReplayJob]:
        jobs = [self._shown(row) for row in self._jobs(organization_id) if not states or row.job.state in states]
        ordered = sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=walk.is_descending)
        places = [(job.created_at, job.id) for job in ordered]
        start = places.index(walk.beside) + 1 if walk.beside is not None else 0
        return ordered[start:][: walk.limit]

    async def order(
        self,
        organization_id: str,
        job_id: str,
        order: ReplayOrder,
        *,
        by: Actor,  # noqa: ARG002 - it keeps no audit log
    ) -> ReplayJob | OrderRefused | None:
        row = self._database.replay_jobs.get(job_id)
        if row is None or row.job.organization_id != organization_id:
            return None
        following = obeyed(row.job.state, order)
        if isinstance(following, OrderRefused):
            return following
        if following is not row.job.state:
            row.tokens, row.measured_at = 0.0, self._database.now
            ended_at = self._database.clock.now() if following in ENDED else None
            row.job = replace(row.job, state=following, ended_at=ended_at)
        return self._shown(row)

    def _shown(self, row: ReplayJobRow) -> ReplayJob:
        mine = [each for each in self._database.deliveries.values() if each.replay_job_id == row.job.id]
        return replace(row.job, open_count=sum(each.state in OPEN_STATES for each in mine))

    def _jobs(self, organization_id: str | None = None) -> Sequence[ReplayJobRow]:
        return [
            row
            for row in self._database.replay_jobs.values()
            if organization_id is None or row.job.organization_id == organization_id
        ]

    def _endpoints_of(self, organization_id: str, wish: ReplayWish) -> Sequence[str]:
        database = self._database
        mine = [each for each in database.endpoints.values() if each.organization_id == organization_id]
        if wish.endpoint_id is not None:
            return [each.id for each in mine if each.id == wish.endpoint_id]
        if wish.keys:
            named = {key.subscription_id for key in wish.keys} & database.subscriptions.keys()
            owners = {database.subscriptions[each].endpoint_id for each in named}
            return [each.id for each in mine if each.id in owners]
        return [each.id for each in mine if wish.since is None or not each.is_removed]
