"""A rehearsal: send a receiver every case, and report what it answered.

The requests leave through a ``Sender``, one after the other but for those of the case that sends many at once. Nothing
is stored, and no delivery, lane or breaker hears of it. If we die here, there is no report, and nothing else is lost.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from msgspec import structs

from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.endpoint import Endpoint
from service.core.rehearsals.case import CASES, Case, CaseName, Stage, stranger_key
from service.core.rehearsals.report import Report
from service.core.rehearsals.result import CaseResult, Sent, sent
from service.flow.directory.opening import Opening
from service.ports.exit import Sender
from service.ports.store import SubscriptionStore
from service.ports.surroundings import Clock

REHEARSAL_SECONDS_MAX: Final = 25.0
"""For all cases together; what has not been tried by then is left out."""
SECONDS_LEFT_MIN: Final = 1.0
"""What a request must have left, to say anything about the receiver."""
TIMEOUT_SECONDS: Final = 15.0
_RANDOM_BYTES: Final = 32
_NAME_BYTES: Final = 6

NO_TIME: Final = f"all cases together have {REHEARSAL_SECONDS_MAX:g} s, which were over"
NOTHING_ACCEPTED: Final = "it did not accept the valid event, so this would show nothing"

NewBytes = Callable[[int], bytes]
"""So many random bytes."""


class Rehearsing:
    """Rehearses endpoints that are stored."""

    def __init__(
        self, store: SubscriptionStore, opening: Opening, sender: Sender, clock: Clock, new_bytes: NewBytes
    ) -> None:
        self._store = store
        self._open = opening
        self._sender = sender
        self._clock = clock
        self._new_bytes = new_bytes

    async def __call__(
        self, organization_id: str, endpoint_id: str, event_type: str, data: str | None, at_once: int | None
    ) -> Report | str | None:
        """The report; a sentence if nothing can be sent to the endpoint; None if it was removed.

        ``data``: the sample of an own type, as JSON; None: one is made.
        ``at_once``: how many requests the endpoint takes
        at the same time; None: as many as come.
        """
        for holder, stored in await self._store.endpoints([endpoint_id]):
            if holder == organization_id:
                endpoint = self._open(organization_id, stored)
                return await rehearse(endpoint, event_type, self._sender, self._clock, self._new_bytes, at_once, data)
        return None


async def rehearse(
    endpoint: Endpoint,
    event_type: str,
    sender: Sender,
    clock: Clock,
    new_bytes: NewBytes,
    at_once: int | None = None,
    data: str | None = None,
) -> Report | str:
    """Send the receiver at the endpoint's URL every case. Returns a sentence if nothing can be sent to it."""
    now = clock.now()
    if endpoint.problem is not None:
        return endpoint.problem
    if endpoint.signed("evt_1", b"", now) is None:
        return "a signing secret of this endpoint cannot be decrypted; check SECRET_KEYS"
    stage = Stage(
        endpoint,
        event_type,
        new_bytes(_NAME_BYTES).hex(),
        stranger_key(endpoint.style, new_bytes(_RANDOM_BYTES)),
        now,
        endpoint.timeout_seconds or TIMEOUT_SECONDS,
        data=data,
    )
    if at_once is not None:
        stage = replace(stage, at_once=min(at_once, stage.at_once))
    return await _Rehearsal(stage, sender, clock).run()


class _Rehearsal:
    """One rehearsal under way."""

    def __init__(self, stage: Stage, sender: Sender, clock: Clock) -> None:
        self._stage = stage
        self._sender = sender
        self._clock = clock
        self._began = clock.monotonic()

    async def run(self) -> Report:
        """Try every case."""
        stage = self._stage
        results: dict[CaseName, CaseResult] = {}
        for case in CASES:
            if unfit := case.unfit(stage.endpoint.style):
                results[case.name] = CaseResult(case, (), unfit, is_unfit=True)
            elif _is_hopeless(results):
                results[case.name] = CaseResult(case, (), NOTHING_ACCEPTED)
            else:
                results[case.name] = await self._try(case)
        duration_ms = int((self._clock.monotonic() - self._began) * 1000)
        return Report(stage.endpoint.url, stage.event_type, stage.began_at, duration_ms, tuple(results.values()))

    async def _try(self, case: Case) -> CaseResult:
        requests = case.make(self._stage, self._clock.now())
        answered: list[Sent] = []
        if case.is_at_once:
            if self._seconds_left() < SECONDS_LEFT_MIN:
                return CaseResult(case, (), NO_TIME)
            answers = await asyncio.gather(*map(self._send, requests))
            pairs = zip(requests, answers, strict=True)
            answered = [self._judged(case, number, *each) for number, each in enumerate(pairs)]
        else:
            for number, request in enumerate(requests):
                if self._seconds_left() < SECONDS_LEFT_MIN:
                    return CaseResult(case, tuple(answered), NO_TIME)
                answered.append(self._judged(case, number, request, await self._send(request)))
        return CaseResult(case, tuple(answered), _not_the_receivers(answered))

    async def _send(self, request: Request) -> Reply | Fault:
        left = self._seconds_left()
        return await self._sender.send(
            structs.replace(request, timeout_seconds=min(request.timeout_seconds, left), limit_seconds=left)
        )

    def _judged(self, case: Case, number: int, request: Request, answer: Reply | Fault) -> Sent:
        event_id = request.headers["X-Event-ID"]
        return sent(case, number, event_id, len(request.body), answer, self._clock.now())

    def _seconds_left(self) -> float:
        return REHEARSAL_SECONDS_MAX - (self._clock.monotonic() - self._began)


def _is_hopeless(results: dict[CaseName, CaseResult]) -> bool:
    """Whether it refused the valid event; other spellings of it say why, unless there was no answer at all."""
    valid = results.get(CaseName.VALID)
    if valid is None or all(each.is_accepted for each in valid.sent):
        return False
    return CaseName.SPELLINGS in results or any(each.status is None for each in valid.sent)


def _not_the_receivers(answered: Sequence[Sent]) -> str:
    """What kept Posthorn itself from sending; "" if nothing did."""
    return next((each.told for each in answered if each.is_ours), "")
