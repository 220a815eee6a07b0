"""``POST /v1/endpoints/{id}/rehearse``: send an endpoint's receiver right and wrong requests, and say what is wrong.

Anybody with a key could use this to send requests somewhere, so it is bounded: some thirty requests of at most 25
seconds through the guarded exit, one rehearsal at a time of an organization, and so many at once in a process.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic import Field

from service.api.errors import RETRY_AFTER_SECONDS, ApiError, Code
from service.api.instant import Instant
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation
from service.api.v1.endpoints.paths import endpoint_id_of, granted, on_endpoint, problem_of
from service.api.v1.endpoints.sampled import first_of, require_type, sample_data
from service.api.validation import AnswerModel, BodyModel
from service.core.budget import Budget
from service.core.endpoints.refusals import NoSuchEndpoint
from service.core.rehearsals.case import CaseName, Wanted
from service.core.rehearsals.findings import FindingCode, Level
from service.core.rehearsals.report import Conclusion, Report
from service.core.rehearsals.result import Verdict
from service.core.rehearsals.shown import shown_report
from service.ports.desk import EndpointDesk, EventTypeDesk
from service.ports.requests import RateBuckets

REHEARSAL_SECONDS: Final = 30
"""Between two rehearsals of an organization; the requests of one take less, so there is one at a time."""
REHEARSALS: Final = Budget("rehearsals", 1, REHEARSAL_SECONDS)
AT_ONCE_MAX: Final = 4

Rehearse = Callable[[str, str, str, str | None, int | None], Awaitable[Report | str | None]]
"""Rehearses an organization's endpoint with samples of a type. Implemented by ``flow.rehearse.Rehearsing``."""


class RehearsalWish(BodyModel):
    """What to rehearse with."""

    event_type: str | None = Field(
        default=None,
        description="The type of the events; default: the endpoint's first, or the first that its pattern covers.",
        examples=["message.sent"],
    )


class RehearsalFinding(AnswerModel):
    """A mistake of the receiver."""

    code: FindingCode
    level: Level = Field(description="`must`: events would be lost or forged; `should`: advice.")
    sentence: str = Field(description="What the receiver does.")
    remedy: str = Field(description="What follows from it, and what to do.")
    cases: list[CaseName] = Field(description="The cases that show it.")


class RehearsalRequest(AnswerModel):
    """A request of a case, and its answer."""

    event_id: str
    body_bytes: int
    wanted: Wanted
    is_fit: bool = Field(description="Whether the answer is what was wanted.")
    status: int | None = Field(description="Null without a reply.")
    duration_ms: int
    reason: str | None = Field(description="Why there was no reply.")
    detail: str | None
    text: str = Field(description="The beginning of the reply's body.")
    is_kept_connection: bool = Field(description="Whether it was sent on a connection that was used before.")


class RehearsalCase(AnswerModel):
    """A case: what was sent, and what was answered."""

    case: CaseName
    what: str = Field(description="What was sent.")
    verdict: Verdict
    why_not: str | None = Field(description="Why it was not tried, or not to its end.")
    requests: list[RehearsalRequest]


class RehearsalReport(AnswerModel):
    """What a receiver answered in every case, and what is wrong with it."""

    endpoint_id: str
    url: str
    event_type: str
    began_at: Instant
    duration_ms: int
    conclusion: Conclusion = Field(
        description="`advised`: passed, with findings that only advise; `incomplete`: some case could not be tried."
    )
    sentence: str
    findings: list[RehearsalFinding] = Field(description="The mistakes, those that matter most first.")
    cases: list[RehearsalCase]


class RehearsalOperations:
    """The handler, and its limits."""

    def __init__(self, desk: EndpointDesk, types: EventTypeDesk, buckets: RateBuckets, rehearse: Rehearse) -> None:
        self._desk = desk
        self._types = types
        self._buckets = buckets
        self._rehearse = rehearse
        self._at_once = 0

    async def rehearse(self, call: Call) -> Answer:
        """Rehearse the endpoint's receiver."""
        wish: RehearsalWish = call.body
        organization_id = call.organization_id
        own = await self._desk.own_event_types(organization_id)
        require_type(wish.event_type, own)
        endpoint = granted(await self._desk.find(organization_id, endpoint_id_of(call)))
        if refused := endpoint.ended:
            raise problem_of(refused)
        event_type = wish.event_type or first_of(endpoint.settings.event_types, own)
        data = await sample_data(self._types, organization_id, event_type)
        if self._at_once >= AT_ONCE_MAX:
            sentence = "too many receivers are being rehearsed now; try again"
            raise ApiError(503, Code.UNAVAILABLE, sentence, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        self._at_once += 1
        try:
            await self._count(call)
            granted(await self._desk.begin_rehearsal(organization_id, endpoint.id, by=call.actor))
            at_once = endpoint.settings.max_in_flight
            report = await self._rehearse(organization_id, endpoint.id, event_type, data, at_once)
        finally:
            self._at_once -= 1
        if report is None:  # it was deleted concurrently
            raise problem_of(NoSuchEndpoint(endpoint.id))
        if isinstance(report, str):
            raise ApiError(409, Code.CONFLICT, f"nothing can be sent to this endpoint now: {report}")
        shown: dict[str, Any] = {"endpoint_id": endpoint.id, **shown_report(report)}
        return Answer(200, RehearsalReport.model_validate(shown))

    async def _count(self, call: Call) -> None:
        taken = await self._buckets.take(f"rehearse:{call.organization_id}", REHEARSALS, call.key.key_id)
        if taken.is_refused:
            wait_seconds = REHEARSALS.more_in_seconds(taken.used)
            sentence = f"one rehearsal in {REHEARSAL_SECONDS} seconds; try again in {wait_seconds} seconds"
            raise ApiError(429, Code.RATE_LIMIT_EXCEEDED, sentence, headers={"Retry-After": str(wait_seconds)})

    def operation(self) -> Operation:
        """Return the operation."""
        return on_endpoint(
            "POST",
            "/rehearse",
            "rehearse_endpoint",
            "Rehearse the receiver",
            self.rehearse,
            "Sends the receiver valid events, forged ones, old ones, copies, a large one, many at once and more, and "
            "reports what it answered, what it should have, and which mistakes that shows. All of them say `test: "
            f"true`, and their ids begin with `evt_rehearsal_`. The answer takes up to {REHEARSAL_SECONDS} seconds. "
            "No event or delivery is stored, no retry follows, and an endpoint that is paused or disabled can be "
            f"rehearsed, too. An organization has one rehearsal in {REHEARSAL_SECONDS} seconds; the next one is a 429. "
            "An event type of your own needs a `sample`, as for a test.",
            answers={200: RehearsalReport},
            body=RehearsalWish,
            problems=WITH_BODY_POSSIBLE | {404, 409},
            example={"event_type": "message.sent"},
            seconds_max=float(REHEARSAL_SECONDS),
        )
