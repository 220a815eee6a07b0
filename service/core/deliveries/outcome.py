"""What a reply means. The only place that branches on an HTTP status."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from service.core.deliveries.request import Fault, Reply
from service.core.endpoints.url import masked_url
from service.core.reason import NOT_THE_RECEIVERS, Reason

RETRY_AFTER_MAX_SECONDS = 24 * 3600

_DIGITS = re.compile(r"[0-9]{1,9}")
_HTTP_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")  # RFC 9110 §5.6.7


_OUTAGES = frozenset(
    {
        Reason.TIMEOUT,
        Reason.CONNECT_REFUSED,
        Reason.CONNECT_RESET,
        Reason.DNS,
        Reason.TLS,
        Reason.PROTOCOL_ERROR,
        Reason.STALE_CONNECTION,
    }
)


class OutcomeKind(StrEnum):
    """How the reply was read, in one word."""

    ACCEPTED = "accepted"
    FAILED = "failed"
    GONE = "gone"


class Accepted(Struct, frozen=True, gc=False):
    """The receiver has it."""

    kind = OutcomeKind.ACCEPTED
    reason: Reason | None = None
    detail: str = ""


class Gone(Struct, frozen=True, gc=False):
    """The receiver wants no more of this subscription's events (410, the REST-hook convention)."""

    kind = OutcomeKind.GONE
    reason: Reason = Reason.GONE
    detail: str = "the receiver answered 410: it wants no more of these events"


class Failed(Struct, frozen=True, gc=False):
    """The attempt failed.

    ``retry_after_seconds`` is the wait the receiver asked for, bounded; ``gates_endpoint`` applies it to the whole
    endpoint. ``is_ours``: the fault was not the receiver's, so the attempt does not count against the delivery.
    ``is_outage``: the receiver was not there, or could not answer; it counts for its breaker.
    """

    kind = OutcomeKind.FAILED
    reason: Reason
    detail: str = ""
    retry_after_seconds: int | None = None
    gates_endpoint: bool = False
    is_ours: bool = False
    is_outage: bool = False


Outcome = Accepted | Gone | Failed


_LOCATION: Final = " (Location: "


def classify(reply: Reply | Fault, now: datetime) -> Outcome:
    """Classify a reply. Total: every status and every fault has an outcome.

    A status outside 100 to 599 means nothing, and is treated as a 5xx (RFC 9110 §15): a failure, to be tried again.
    """
    if isinstance(reply, Fault):
        is_ours = reply.reason in NOT_THE_RECEIVERS
        return Failed(reply.reason, reply.detail, is_ours=is_ours, is_outage=is_outage(reply.reason, None))
    status = reply.status
    if is_success(status):
        return Accepted()
    if status == 410:
        return Gone()
    if 300 <= status <= 399:
        to = f"{_LOCATION}{masked_url(reply.location)})" if reply.location else ""
        return Failed(Reason.REDIRECT, f"redirects are not followed; update the URL{to}")
    hint = retry_after_seconds(reply.retry_after, now)
    if status == 413:
        return Failed(Reason.PAYLOAD_TOO_LARGE, "the receiver refuses bodies of this size", hint)
    is_throttled = status in {429, 503} and hint is not None
    return Failed(
        Reason.HTTP_STATUS,
        f"the receiver answered {status:03}",
        hint,
        gates_endpoint=is_throttled,
        is_outage=is_outage(Reason.HTTP_STATUS, status),
    )


def masked_detail(detail: str) -> str:
    """A recorded detail without the query of a Location, which earlier releases recorded whole."""
    head, location, url = detail.partition(_LOCATION)
    return f"{head}{location}{masked_url(url.removesuffix(')'))})" if location else detail


def is_success(status: int) -> bool:
    """Whether a server says that it did what it was asked."""
    return 200 <= status <= 299


class AnswerKind(StrEnum):
    """What a status says about one request, without a view on what follows from it."""

    ACCEPTS = "accepts"
    REDIRECTS = "redirects"
    REFUSES = "refuses"
    MISSING = "missing"  # nothing takes a POST there
    GONE = "gone"
    FAILS = "fails"


def kind_of(status: int) -> AnswerKind:
    """What a status says about one request."""
    if is_success(status):
        return AnswerKind.ACCEPTS
    if status == 410:
        return AnswerKind.GONE
    if status in {404, 405}:
        return AnswerKind.MISSING
    if 300 <= status <= 399:
        return AnswerKind.REDIRECTS
    return AnswerKind.REFUSES if 400 <= status <= 499 else AnswerKind.FAILS


def refuses_token(status: int) -> bool:
    """Whether a receiver says that it does not accept who we are, so that a new token may help."""
    return status == 401


def is_outage(reason: Reason | None, status: int | None) -> bool:
    """Whether a failure says that the receiver is not there or cannot answer, rather than that it refuses this."""
    return reason in _OUTAGES or (status is not None and (status == 429 or not 100 <= status <= 499))


def asks_for_less(reason: Reason | None, status: int | None) -> bool:
    """Whether a failure suggests sending fewer requests at a time: the receiver is overloaded, or does not keep up."""
    return reason is Reason.TIMEOUT or status in {429, 503}


def retry_after_seconds(values: tuple[str, ...], now: datetime) -> int | None:
    """The seconds that Retry-After asks for, capped at 24 h; None if invalid, negative or contradictory."""
    hints = {_one_hint(value.strip(), now) for value in values}
    return hints.pop() if len(hints) == 1 else None


def _one_hint(value: str, now: datetime) -> int | None:
    if _DIGITS.fullmatch(value):
        return min(int(value), RETRY_AFTER_MAX_SECONDS)
    for form in _HTTP_DATES:
        try:
            at = datetime.strptime(value, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        seconds = int((at - now).total_seconds())
        return min(seconds, RETRY_AFTER_MAX_SECONDS) if seconds >= 0 else None
    return None
