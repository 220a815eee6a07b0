"""Response models of figures."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from pydantic import Field

from service.api.instant import Instant
from service.api.validation import AnswerModel
from service.core.endpoints.url import masked_url
from service.core.stats.overview import Counts, FailingEndpoint, HealedEndpoint, HeldEndpoint, Overview, Sparkline
from service.core.stats.period import SPARKLINE, PeriodName
from service.core.stats.sentence import failing_sentence, last_failure


class CountsShown(AnswerModel):
    """Deliveries, by where they stand now. A replay is a delivery of its own."""

    delivered: int
    waiting: int = Field(description="Open after a failure, or held back by a gate.")
    dead: int
    cancelled: int
    fresh: int = Field(description="Open, and not tried yet.")

    @classmethod
    def of(cls, counts: Counts) -> "CountsShown":
        """These counts."""
        return cls.model_validate(counts, from_attributes=True)


class BucketShown(CountsShown):
    """The deliveries of events received in `bucket_seconds` from `starts_at` on."""

    starts_at: Instant


class ReceiverTimeShown(AnswerModel):
    """How long receivers took to answer, of the attempts of deliveries that have ended; a timeout counts, too."""

    p50_ms: float | None = Field(description="Accurate to a tenth; null without attempts.")
    p95_ms: float | None
    attempts: int


class BacklogShown(AnswerModel):
    """What is open now, however old."""

    open: int
    due: int = Field(description="Would be sent by now if it were not for gates and limits.")
    held: int = Field(description="Behind a gate: paused, disabled, a Retry-After, or a breaker.")
    oldest_due_at: Instant | None
    is_capped: bool = Field(
        description="There is more than was looked at: the counts of what is open are lower bounds."
    )


class GateStats(AnswerModel):
    """The endpoints behind gates of one kind."""

    kind: str = Field(examples=["breaker"])
    endpoints: int
    open: int = Field(description="Deliveries that wait there.")
    endpoint_ids: list[str] = Field(description="Those with most deliveries first, at most 20.")
    urls: list[str] = Field(description="Of the same endpoints; a query is shown as `?***`.")
    next_probe_at: Instant | None = Field(description="When the first of them opens; null if none does by itself.")


class FailingShown(AnswerModel):
    """An endpoint without a success since `since`."""

    endpoint_id: str
    url: str = Field(description="Its query, if it has one, is shown as `?***`.")
    since: Instant
    attempts_failed: int
    open: int = Field(description="Deliveries that wait there.")
    last_failure_reason: str | None
    last_failure_status: int | None
    last_failure: str = Field(description="The same in words.", examples=["the receiver did not answer in time"])
    next_probe_at: Instant | None = Field(
        description="When it is tried again; null if that is whenever a delivery is due, or when a person resumes it."
    )
    sentence: str = Field(
        examples=["Failing since 2026-11-20T14:02:00.000000Z: the receiver did not answer in time. 212 wait."]
    )


class HealedShown(AnswerModel):
    """An endpoint at which deliveries failed at first and arrived by themselves."""

    endpoint_id: str
    url: str
    deliveries: int
    attempts_max: int = Field(description="All of them arrived with this attempt at the latest.")
    healed_at: Instant
    last_failure_reason: str | None
    last_failure_status: int | None
    last_failure: str = Field(description="The same in words.", examples=["the receiver did not answer in time"])
    sentence: str = Field(examples=["The receiver answered 503; 31 deliveries arrived by attempt 2."])


class StatsShown(AnswerModel):
    """The figures of a period."""

    period: str = Field(examples=["24h"])
    since: Instant = Field(description="The beginning of the first bucket.")
    at: Instant = Field(description="When the figures held.")
    complete_since: Instant | None = Field(
        description="null: they are complete. Otherwise, after an upgrade, what had ended before it is still being "
        "counted, and they are complete for events received since then."
    )
    bucket_seconds: int
    buckets: list[BucketShown] = Field(description="Oldest first, without gaps; the last one is under way.")
    totals: CountsShown = Field(description="Of all buckets.")
    success_rate: float | None = Field(
        description="`delivered`, of `delivered`, `waiting` and `dead`; null if there are none.", examples=[0.9931]
    )
    receiver_time: ReceiverTimeShown
    backlog: BacklogShown
    endpoints: int = Field(description="How many there are, without those gone or deleted.")
    gates: list[GateStats]
    failing_count: int
    failing: list[FailingShown] = Field(description="Most waiting deliveries first, at most 20.")
    healed: list[HealedShown] = Field(description="The latest first, at most 20.")

    @classmethod
    def of(cls, period: PeriodName, found: Overview) -> "StatsShown":
        """These figures."""
        return cls(
            period=period.value,
            since=found.since,
            at=found.at,
            complete_since=found.complete_since,
            bucket_seconds=found.period.bucket_seconds,
            buckets=[_bucket(starts, counts) for starts, counts in sorted(found.buckets.items())],
            totals=CountsShown.of(found.totals),
            success_rate=_rate(found.totals),
            receiver_time=ReceiverTimeShown(
                p50_ms=_rounded(found.times.p50_ms),
                p95_ms=_rounded(found.times.p95_ms),
                attempts=found.times.attempts_count,
            ),
            backlog=BacklogShown.model_validate(found.backlog, from_attributes=True),
            endpoints=found.endpoints_count,
            gates=_gates(found.held),
            failing_count=found.failing_count,
            failing=[_failing(each) for each in found.failing],
            healed=[_healed(each) for each in found.healed],
        )


class EndpointLine(AnswerModel):
    """The last 24 hours of an endpoint: of each hour the deliveries of its events, the oldest hour first."""

    endpoint_id: str
    delivered: list[int]
    waiting: list[int]
    dead: list[int]
    cancelled: list[int]
    fresh: list[int]
    success_rate: float | None
    open: int = Field(description="Open deliveries, however old; a lower bound where there are very many.")

    @classmethod
    def of(cls, endpoint_id: str, found: Sparkline) -> "EndpointLine":
        """This endpoint's."""
        hours = [found.buckets[starts] for starts in sorted(found.buckets)]
        states = {name: [getattr(each, name) for each in hours] for name in CountsShown.model_fields}
        return cls(endpoint_id=endpoint_id, **states, success_rate=_rate(found.totals), open=found.open)


class EndpointsStats(AnswerModel):
    """The last 24 hours of some endpoints."""

    since: Instant | None = Field(description="The beginning of the first hour.")
    bucket_seconds: int
    data: list[EndpointLine] = Field(description="In the order asked for. Zeros for an endpoint that does not exist.")

    @classmethod
    def of(cls, found: Mapping[str, Sparkline]) -> "EndpointsStats":
        """These endpoints'."""
        since = min((starts for each in found.values() for starts in each.buckets), default=None)
        data = [EndpointLine.of(endpoint_id, each) for endpoint_id, each in found.items()]
        return cls(since=since, bucket_seconds=SPARKLINE.bucket_seconds, data=data)


_NAMED_MAX = 20


def _bucket(starts: datetime, counts: Counts) -> BucketShown:
    return BucketShown(starts_at=starts, **CountsShown.of(counts).model_dump())


def _gates(held: Sequence[HeldEndpoint]) -> list[GateStats]:
    kinds = groupby(sorted(held, key=lambda each: str(each.gate.kind)), key=lambda each: str(each.gate.kind))
    return [_gate(kind, list(found)) for kind, found in kinds]


def _gate(kind: str, held: Sequence[HeldEndpoint]) -> GateStats:
    return GateStats(
        kind=kind,
        endpoints=len(held),
        open=sum(each.open for each in held),
        endpoint_ids=[each.endpoint_id for each in held[:_NAMED_MAX]],
        urls=[masked_url(each.url) for each in held[:_NAMED_MAX]],
        next_probe_at=min((each.gate.until for each in held if each.gate.until is not None), default=None),
    )


def _failing(each: FailingEndpoint) -> FailingShown:
    return FailingShown(
        endpoint_id=each.endpoint_id,
        url=masked_url(each.url),
        since=each.since,
        attempts_failed=each.attempts_failed,
        open=each.open,
        sentence=failing_sentence(each),
        next_probe_at=each.next_probe_at,
        **_last_failure(each),
    )


def _healed(each: HealedEndpoint) -> HealedShown:
    why = last_failure(each.reason, each.status)
    arrived = "1 delivery" if each.deliveries_count == 1 else f"{each.deliveries_count:,} deliveries"
    return HealedShown(
        endpoint_id=each.endpoint_id,
        url=masked_url(each.url),
        deliveries=each.deliveries_count,
        attempts_max=each.attempts_max,
        healed_at=each.healed_at,
        sentence=f"{why[:1].upper()}{why[1:]}; {arrived} arrived by attempt {each.attempts_max}.",
        **_last_failure(each),
    )


def _last_failure(each: FailingEndpoint | HealedEndpoint) -> dict[str, Any]:
    return {
        "last_failure_reason": each.reason,
        "last_failure_status": each.status,
        "last_failure": last_failure(each.reason, each.status),
    }


def _rate(counts: Counts) -> float | None:
    rate = counts.success_rate
    return None if rate is None else round(rate, 6)


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)
