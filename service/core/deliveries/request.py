"""The request that is sent and the reply that came back: values passed between the flow and a Sender."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from service import __version__
from service.core.deliveries.delivery import DeliveryKey, Lease
from service.core.reason import Reason

USER_AGENT = f"Posthorn/{__version__}"


class Request(Struct, frozen=True, gc=False):
    """One POST."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout_seconds: float


class Reply(Struct, frozen=True, gc=False):
    """The receiver's answer, not yet classified.

    ``body`` is at most the first 16 KiB, undecoded. ``retry_after`` holds each Retry-After header as received.
    ``is_second_connection``: a kept-alive connection had gone stale, so the POST was sent again on a fresh one.
    """

    status: int
    duration_ms: int
    body: bytes = b""
    retry_after: tuple[str, ...] = ()
    location: str = ""
    is_second_connection: bool = False


class Fault(Struct, frozen=True, gc=False):
    """No reply arrived. ``reason`` says why, from the closed set; ``detail`` says it in a sentence."""

    reason: Reason
    duration_ms: int
    detail: str = ""
    is_second_connection: bool = False


def event_headers(key: DeliveryKey, event_id: str, event_type: str, attempt_number: int) -> dict[str, str]:
    """The headers that describe the event and the attempt, without the signature and the endpoint's own headers."""
    headers = {
        "Content-Type": "application/json",
        "webhook-attempt": str(attempt_number),
        "X-Event-Type": event_type,
        "X-Event-ID": event_id,
    }
    if key.replay_number:
        headers["webhook-replay"] = str(key)
    return headers


def build_request(lease: Lease, now: datetime, timeout_seconds: float) -> Request | Fault:
    """Sign the stored bytes afresh, in the endpoint's style. If that fails, returns an INTERNAL fault."""
    delivery, endpoint = lease.delivery, lease.endpoint
    if endpoint.problem is not None:
        return Fault(Reason.INTERNAL, 0, endpoint.problem)
    keys = endpoint.keys_at(now)
    if keys is None:
        return Fault(Reason.INTERNAL, 0, "a signing secret of this endpoint cannot be decrypted; check SECRET_KEYS")
    headers = {
        "User-Agent": USER_AGENT,
        **endpoint.style.write(keys, delivery.event_id, int(now.timestamp()), delivery.body),
        **event_headers(delivery.key, delivery.event_id, delivery.event_type, delivery.attempts_made + 1),
    }
    if endpoint.headers:
        ours = {name.lower() for name in headers}
        headers |= {name: value for name, value in endpoint.headers.items() if name.lower() not in ours}
    return Request(endpoint.url, headers, delivery.body, timeout_seconds)
