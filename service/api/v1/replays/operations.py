"""``/v1/replays`` and ``recover``: make deliveries again, many at a time."""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from pydantic import BaseModel

from service.api.errors import ApiError, Code
from service.api.lists.keyset import Keyset
from service.api.lists.page import Page, by_time, read_page
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation
from service.api.v1.endpoints.paths import endpoint_id_of, granted, on_endpoint, problem_of
from service.api.v1.replays.answers import ReplayCounted, ReplayShown
from service.api.v1.replays.bodies import NewReplay, Recovery, ReplaysQuery
from service.core.replays.job import OrderRefused, ReplayJob, ReplayOrder, ReplayWish, TooManyReplays
from service.ports.desk import EndpointDesk, ReplayJobDesk, TimeKeyset

PATH: Final = "/v1/replays"
TAG: Final = "replays"

_ID: Final = re.compile(r"rpl_[0-9a-z]{1,40}")
_CREATES: Final[Mapping[int, type[BaseModel] | None]] = {200: ReplayCounted, 202: ReplayShown}
_NEWEST: Final = (
    "Only the newest delivery of an event to a subscription counts: what was replayed since, or is on its way, is "
    "skipped and counted, and so is what went to a subscription that was removed. "
)
_BY_TIME: Final[Keyset[ReplayJob, TimeKeyset]] = by_time(lambda job: (job.created_at, job.id))


class ReplayOperations:
    """Handlers of ``/v1/replays``, and of an endpoint's recovery."""

    def __init__(self, desk: ReplayJobDesk, endpoints: EndpointDesk) -> None:
        self._desk = desk
        self._endpoints = endpoints

    async def create(self, call: Call) -> Answer:
        """Store a job, or only count."""
        body: NewReplay = call.body
        wish = body.wish()
        if wish.endpoint_id is not None:
            granted(await self._endpoints.find(call.organization_id, wish.endpoint_id))
        return await self._begin(call, wish, is_dry=body.dry_run)

    async def recover(self, call: Call) -> Answer:
        """Replay what failed at the endpoint."""
        body: Recovery = call.body
        endpoint = granted(await self._endpoints.find(call.organization_id, endpoint_id_of(call)))
        if refused := endpoint.ended:
            raise problem_of(refused)
        answer = await self._begin(call, body.wish(endpoint.id), is_dry=body.dry_run)
        # Dying on this line leaves a job whose deliveries wait at the shut gate. The same request again resumes the
        # endpoint, and its second job skips what the first one has made.
        if body.resume:
            organization_id, by = call.organization_id, call.actor
            granted(await self._endpoints.set_paused(organization_id, endpoint.id, is_paused=False, by=by))
        return answer

    async def _begin(self, call: Call, wish: ReplayWish, *, is_dry: bool) -> Answer:
        if is_dry:
            return Answer(200, ReplayCounted.of(await self._desk.count(call.organization_id, wish)))
        made = await self._desk.create(call.organization_id, wish, by=call.actor)
        if isinstance(made, TooManyReplays):
            raise ApiError(409, Code.CONFLICT, made.sentence)
        return Answer(202, ReplayShown.of(made))

    async def list(self, call: Call) -> Answer:
        """List one page of jobs."""
        query: ReplaysQuery = call.query
        page = await read_page(
            query, _BY_TIME, partial(self._desk.list, call.organization_id, states=query.state or ())
        )
        return Answer(200, Page[ReplayShown](data=list(map(ReplayShown.of, page.rows)), **page.links))

    async def show(self, call: Call) -> Answer:
        """Show one job."""
        found = await self._desk.find(call.organization_id, _id_of(call))
        if found is None:
            raise _no_replay(call)
        return Answer(200, ReplayShown.of(found))

    def _obey(self, order: ReplayOrder) -> Callable[[Call], Awaitable[Answer]]:
        async def obey(call: Call) -> Answer:
            found = await self._desk.order(call.organization_id, _id_of(call), order, by=call.actor)
            if found is None:
                raise _no_replay(call)
            if isinstance(found, OrderRefused):
                raise ApiError(409, Code.CONFLICT, found.sentence)
            return Answer(200, ReplayShown.of(found))

        return obey

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "POST",
                PATH,
                name="create_replay",
                summary="Replay deliveries",
                description="Makes new deliveries of old events, in the background, in the order in which each "
                "endpoint's events were received: the same `webhook-id` and body, and a `webhook-replay` header. "
                + _NEWEST
                + "With `dry_run` nothing is stored, and the answer is 200 with the counts. 404 for an endpoint that "
                "does not exist, 409 while too many replays are unfinished.",
                tag=TAG,
                scope="write",
                handler=self.create,
                answers=_CREATES,
                body=NewReplay,
                problems=WITH_BODY_POSSIBLE | {404, 409},
                example={"event_type": "message.sent", "since": "2026-11-20T00:00:00Z", "dry_run": True},
            ),
            on_endpoint(
                "POST",
                "/recover",
                "recover_endpoint",
                "Replay what failed at an endpoint",
                self.recover,
                "Makes a replay job for all that ended as `dead` or `cancelled` since then, but what went to a "
                "subscription that was removed. With `resume` it also ends `paused` and `disabled`: one request brings "
                "an endpoint back with what it missed. " + _NEWEST + "409 if the endpoint is gone, or while too many "
                "replays are unfinished.",
                answers=_CREATES,
                body=Recovery,
                problems=WITH_BODY_POSSIBLE | {404, 409},
                example={"since": "2026-11-20T00:00:00Z", "resume": True},
            ),
            Operation(
                "GET",
                PATH,
                name="list_replays",
                summary="List replay jobs",
                description="Newest first. A job that has ended is kept as long as events are.",
                tag=TAG,
                scope="read",
                handler=self.list,
                query=ReplaysQuery,
                answers={200: Page[ReplayShown]},
            ),
            *self._on_each(),
        )

    def _on_each(self) -> tuple[Operation, ...]:
        return (
            self._on_one("GET", "", "get_replay", "Get a replay job", self.show, problems=frozenset({404})),
            self._on_one(
                "POST",
                "/pause",
                "pause_replay",
                "Pause a replay job",
                self._obey(ReplayOrder.PAUSE),
                "It makes no more deliveries until it is resumed; those it has made are delivered.",
            ),
            self._on_one(
                "POST",
                "/resume",
                "resume_replay",
                "Resume a replay job",
                self._obey(ReplayOrder.RESUME),
                "It goes on from where it stopped.",
            ),
            self._on_one(
                "POST",
                "/cancel",
                "cancel_replay",
                "Cancel a replay job",
                self._obey(ReplayOrder.CANCEL),
                "It makes no more deliveries; those it has made are delivered.",
            ),
        )

    def _on_one(
        self,
        method: str,
        action: str,
        name: str,
        summary: str,
        handler: Callable[[Call], Awaitable[Answer]],
        description: str = "",
        problems: frozenset[int] = frozenset({404, 409}),
    ) -> Operation:
        return Operation(
            method,
            f"{PATH}/{{id}}{action}",
            name=name,
            summary=summary,
            description=description,
            tag=TAG,
            scope="read" if method == "GET" else "write",
            handler=handler,
            answers={200: ReplayShown},
            problems=problems,
        )


def _id_of(call: Call) -> str:
    job_id = call.path("id")
    if not _ID.fullmatch(job_id):
        raise _no_replay(call)
    return job_id


def _no_replay(call: Call) -> ApiError:
    return ApiError(404, Code.NOT_FOUND, f"no replay {call.path('id')[:80]!r}")
