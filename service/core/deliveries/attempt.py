"""One attempt at a delivery and what was observed, as recorded. Rows are only ever added."""

from datetime import datetime

from msgspec import Struct

from service.core.deliveries.delivery import Delivery
from service.core.deliveries.headers import RecordedHeaders, kept_of_reply
from service.core.deliveries.outcome import Failed, Outcome, OutcomeKind
from service.core.deliveries.request import Fault, Reply, Request
from service.core.reason import Reason

REPLY_STORED_BYTES_MAX = 1024


class AttemptStarted(Struct, frozen=True, gc=False):
    """An attempt has begun.

    ``target_url`` is the URL as stored; None when its worker died, because the URL it used is unknown.
    """

    delivery: Delivery
    claim_number: int
    target_url: str | None
    at: datetime


class Attempt(Struct, frozen=True, gc=False):
    """A row of the attempts table.

    ``status`` is None unless a whole status line arrived; it may be any three digits. ``reply`` is the start of the
    reply's body as text; ``detail`` explains a failure to people who read the table. ``is_counted`` is False when
    Posthorn was at fault. ``headers`` are ``RecordedHeaders``, as text; None if no request was made, or it was lost.
    """

    number: int
    claim_number: int
    started_at: datetime
    duration_ms: int
    outcome: OutcomeKind
    reason: Reason | None = None
    status: int | None = None
    reply: str = ""
    detail: str = ""
    is_counted: bool = True
    headers: str | None = None


def attempt_of(
    delivery: Delivery,
    claim_number: int,
    started_at: datetime,
    reply: Reply | Fault,
    outcome: Outcome,
    request: Request | None = None,
) -> Attempt:
    """The row for this attempt. A resend on a fresh connection is part of the same attempt, noted in ``detail``.

    ``request`` is None if none was made, or if it was lost with its worker.
    """
    detail = outcome.detail
    if reply.is_second_connection:
        detail = f"{detail} (on a second connection: the kept-alive one had gone stale)".strip()
    return Attempt(
        number=delivery.attempts_recorded + 1,
        claim_number=claim_number,
        started_at=started_at,
        duration_ms=reply.duration_ms,
        outcome=outcome.kind,
        reason=outcome.reason,
        status=reply.status if isinstance(reply, Reply) else None,
        reply=_as_text(reply.body) if isinstance(reply, Reply) else "",
        detail=storable(detail),
        is_counted=not (isinstance(outcome, Failed) and outcome.is_ours),
        headers=_headers(request, reply) if request is not None else None,
    )


def _headers(request: Request, reply: Reply | Fault) -> str:
    of_reply = kept_of_reply(reply.headers) if isinstance(reply, Reply) else None
    return RecordedHeaders(request.recorded, of_reply).write()


def _as_text(body: bytes) -> str:
    return storable(body[:REPLY_STORED_BYTES_MAX].decode(errors="replace"))


def storable(text: str) -> str:
    """Replace what PostgreSQL cannot store, U+0000 and halves of surrogate pairs: a receiver may send either."""
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")
