"""Response models of endpoints."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final, Literal

from pydantic import Field

from service.api.instant import Instant
from service.api.v1.endpoints.bodies import Filter, Retry
from service.api.v1.endpoints.queries import State
from service.api.v1.endpoints.style import Style
from service.api.validation import AnswerModel
from service.core.endpoints.auth import HIDDEN, expiry_of, masked_auth, shown_auth
from service.core.endpoints.gates.gate import HEEDED_WITHIN_SECONDS, Gate, GateKind
from service.core.endpoints.health import Health, Percentiles, Stats
from service.core.endpoints.retry_schedule import RetrySchedule, schedule_of
from service.core.endpoints.url import masked_url
from service.core.endpoints.view import EndpointView


class HealthShown(AnswerModel):
    """Deliveries of the last 24 hours: the newest five of each event type, and those being retried."""

    status: Literal["healthy", "failing", "idle"] = Field(
        description="`failing`: the newest outcome is a failure; `idle`: there was no outcome."
    )
    consecutive_failures: int = Field(description="Failed deliveries since the last success, among those examined.")
    last_success_at: Instant | None
    last_failure_at: Instant | None
    last_failure_reason: str | None
    last_failure_status: int | None = Field(description="The HTTP status of the last failure; null without a reply.")

    @classmethod
    def of(cls, stored: Health) -> "HealthShown":
        """Build it from the stored counts."""
        is_failing = stored.failures_in_a_row > 0
        return cls(
            status="failing" if is_failing else "healthy" if stored.last_success_at else "idle",
            consecutive_failures=stored.failures_in_a_row,
            last_success_at=stored.last_success_at,
            last_failure_at=stored.last_failure_at,
            last_failure_reason=stored.last_failure_reason,
            last_failure_status=stored.last_failure_status,
        )


_PUBLIC_KEY: Final = Field(
    description="Of the style `ed25519`, what the receiver verifies with (`whpk_…`); null for the other styles.",
    examples=["whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="],
)
_SECRET: Final = Field(
    description="Give it to the receiver; it is shown only once. null for the style `ed25519`, whose private key is "
    "never shown."
)


class SecretShown(AnswerModel):
    """An active signing secret, or pair of keys."""

    hint: str = Field(description="Its last four characters; the public key's, of a pair.")
    signature_style: Style = Field(description="The endpoint's, or the one that it has left while this secret stays.")
    public_key: str | None = _PUBLIC_KEY
    created_at: Instant
    expires_at: Instant | None = Field(description="When it expires, after a rotation; null for the newest.")


class GateShown(AnswerModel):
    """Why an endpoint's deliveries wait now, without using attempts."""

    kind: str = Field(description="One of " + ", ".join(f"`{each}`" for each in GateKind) + ".", examples=["paused"])
    reason: str = Field(examples=["the receiver asked for a pause (Retry-After)"])
    since: Instant | None = Field(description="null for `rate_limit` and `max_in_flight`, which shut and open often.")
    in_effect_at: Instant | None = Field(
        description=f"{HEEDED_WITHIN_SECONDS:g} seconds after `since`: no request begins later. Until then a worker "
        "that holds deliveries in memory may not have heard of the gate."
    )
    until: Instant | None = Field(
        description="When it opens by itself; null for `paused` and `disabled`, which end when the endpoint is "
        "resumed, for `max_in_flight`, which ends with a request, and for a `breaker` that is trying the endpoint."
    )

    @classmethod
    def of(cls, gates: Iterable[Gate]) -> "list[GateShown]":
        """These gates."""
        return [cls.model_validate(each, from_attributes=True) for each in gates]


class AuthShown(AnswerModel):
    """How Posthorn proves itself to the receiver."""

    type: Literal["oauth2", "mtls", "unreadable"] = Field(
        description="`unreadable`: it cannot be decrypted; nothing is sent until it is set again."
    )
    token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = Field(default=None, examples=[HIDDEN])
    scope: str | None = None
    certificate: str | None = None
    private_key: str | None = Field(default=None, examples=[HIDDEN])


class ScheduleShown(AnswerModel):
    """When attempts are made, each delay give or take a fifth."""

    attempts_max: int
    delays_seconds: list[float] = Field(description="Between one attempt and the next.")

    @classmethod
    def of(cls, retry: object, service_schedule: RetrySchedule) -> "ScheduleShown | None":
        """Spell a ``retry`` out, as far as its age limit lets it go; None if it is not a valid one."""
        schedule = schedule_of(retry, service_schedule)
        if schedule is None:
            return None
        delays = list(schedule.planned_delays_seconds())
        return cls(attempts_max=len(delays) + 1, delays_seconds=delays)


class EndpointUrlShown(AnswerModel):
    """Which endpoint has which URL."""

    id: str = Field(examples=["ep_7k2m9x4c1v8b3n6h"])
    url: str = Field(description="With `?***` instead of its query.", examples=["https://example.com/hooks"])


class EndpointShown(AnswerModel):
    """An endpoint: a URL that webhooks go to."""

    id: str = Field(examples=["ep_7k2m9x4c1v8b3n6h"])
    url: str = Field(
        description="Its query, if it has one, is shown as `?***` in lists, and to keys without the scope `write`. So "
        "is that of a `token_url`. What is masked may be sent back as `url`: it then stays as it is."
    )
    event_types: list[str]
    description: str
    headers: dict[str, str] | None = Field(
        description=f"The names of the extra headers, each with `{HIDDEN}`; null if they cannot be decrypted."
    )
    auth: AuthShown | None = Field(description="What is secret in it is `***`.")
    auth_expires_at: Instant | None = Field(
        description="When the client certificate expires: replace it before, as receivers refuse it then."
    )
    signature_style: Style
    signature_header: str | None
    filter: Filter | None
    retry: Retry | None
    schedule: ScheduleShown | None = Field(
        description="`retry` in numbers, also where it is null: the service's own; null if nothing can be read of it."
    )
    timeout_seconds: float | None
    rate_limit_per_second: float | None
    max_in_flight: int | None
    order_by: str | None
    order_wait_seconds: float | None
    metadata: dict[str, str]
    valid_until: Instant | None = Field(description="From then on the receiver gets nothing more; null: no end.")
    state: State = Field(
        description="`paused`, `disabled`: deliveries wait until the endpoint is resumed. `gone`: it ended because the "
        "receiver answered 410. `expired`: it ended at its `valid_until`."
    )
    gates: list[GateShown] = Field(description="Why deliveries wait now; empty if they are sent.")
    health: HealthShown
    secrets: list[SecretShown] = Field(description="The active secrets, newest first.")
    verified_at: Instant | None = Field(
        description="When the receiver at this URL last sent a challenge back; null if it was not asked (`verify`)."
    )
    created_at: Instant
    updated_at: Instant


class CreatedEndpoint(EndpointShown):
    """A new endpoint, with its secret."""

    secret: str | None = _SECRET
    public_key: str | None = _PUBLIC_KEY


class ChangedEndpoint(EndpointShown):
    """An endpoint after a change; if that was of `signature_style` with `overlap_seconds`, with its new secret."""

    secret: str | None = Field(description="As for a new endpoint, if the change made a new secret; otherwise null.")
    public_key: str | None = Field(description="The same, of a pair of keys.")


class RotatedSecret(AnswerModel):
    """The new secret."""

    id: str = Field(description="The endpoint's id.")
    secret: str | None = _SECRET
    public_key: str | None = _PUBLIC_KEY
    overlap_ends_at: Instant | None = Field(description="Until when older secrets also sign; null: they ended at once.")
    in_effect_at: Instant = Field(
        description="No request begins later without the new secret, nor, if the older ones ended at once, with those."
    )


class EndedOverlap(AnswerModel):
    """The newest secret signs alone."""

    id: str = Field(description="The endpoint's id.")
    ended_count: int = Field(description="How many older secrets ended; 0: there was no overlap, and nothing changed.")
    in_effect_at: Instant = Field(description="No request that begins later is signed with an older secret.")


class PercentilesShown(AnswerModel):
    """Durations in milliseconds; null when there were none."""

    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, stored: Percentiles) -> "PercentilesShown":
        """Round the stored percentiles."""
        p50, p95 = (None if each is None else round(each, 1) for each in (stored.p50_ms, stored.p95_ms))
        return cls(p50=p50, p95=p95)


class EndpointStats(AnswerModel):
    """Counts of an endpoint's deliveries."""

    hours: int
    by_state: dict[str, int] = Field(
        description="delivered, dead, cancelled: of events received in this period. pending, leased: all of them."
    )
    by_reason: dict[str, int] = Field(description="Why deliveries ended dead or cancelled.")
    success_rate: float | None = Field(description="delivered / (delivered + dead); null when there were none.")
    latency_ms: PercentilesShown = Field(description="From intake to success.")
    duration_ms: PercentilesShown = Field(description="Of single attempts, over the newest deliveries.")
    oldest_pending_age_seconds: float | None
    is_capped: bool = Field(description="True if only the newest deliveries of each event type were counted.")

    @classmethod
    def of(cls, hours: int, stored: Stats) -> "EndpointStats":
        """The counts, with a zero for each state that did not occur."""
        zeroes = dict.fromkeys(("delivered", "dead", "cancelled", "pending", "leased"), 0)
        counts = zeroes | dict(stored.by_state)
        ended = counts["delivered"] + counts["dead"]
        age = stored.oldest_pending_age_seconds
        return cls(
            hours=hours,
            by_state=counts,
            by_reason=dict(stored.by_reason),
            success_rate=round(counts["delivered"] / ended, 4) if ended else None,
            latency_ms=PercentilesShown.of(stored.latency),
            duration_ms=PercentilesShown.of(stored.duration),
            oldest_pending_age_seconds=None if age is None else round(age, 3),
            is_capped=stored.is_capped,
        )


def shown_fields(endpoint: EndpointView, health: Health, *, shows_queries: bool) -> dict[str, Any]:
    """The fields of an ``EndpointShown`` but its schedule; the values of headers are hidden, URLs' queries if asked."""
    settings = endpoint.settings
    return {each.name: getattr(settings, each.name) for each in fields(settings)} | {
        "id": endpoint.id,
        "url": settings.url if shows_queries else masked_url(settings.url),
        "headers": None if settings.headers is None else dict.fromkeys(settings.headers, HIDDEN),
        "auth": (shown_auth if shows_queries else masked_auth)(settings.auth),
        "auth_expires_at": expiry_of(settings.auth),
        "state": endpoint.state,
        "gates": GateShown.of(endpoint.gates),
        "health": HealthShown.of(health),
        "secrets": [
            SecretShown(
                hint=each.hint,
                signature_style=each.former.style if each.former else settings.signature_style,
                public_key=each.public_key,
                created_at=each.created_at,
                expires_at=each.expires_at,
            )
            for each in endpoint.secrets
        ],
        "verified_at": endpoint.verified_at,
        "created_at": endpoint.created_at,
        "updated_at": endpoint.updated_at,
    }
