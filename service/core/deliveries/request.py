"""The request that is sent and the reply that came back: values passed between the flow and a Sender."""

from collections.abc import Mapping
from datetime import datetime
from math import inf

from msgspec import Struct

from service import __version__
from service.core.deliveries.delivery import Lease
from service.core.deliveries.headers import event_headers, own_beside, to_record
from service.core.endpoints.auth import EndpointAuth
from service.core.reason import Reason

USER_AGENT = f"Posthorn/{__version__}"


class Request(Struct, frozen=True, gc=False):
    """One POST. The receiver has ``timeout_seconds``; ``limit_seconds`` is what the lease allows for all of it.

    ``auth`` is what the endpoint asks Posthorn to prove itself with; what is kept for it is kept by ``endpoint_id``.
    ``recorded`` is what the attempt's row keeps of the headers. ``pause_seconds`` pass in the middle of the body, as
    with a slow sender; they count.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout_seconds: float
    limit_seconds: float = inf
    endpoint_id: str = ""
    auth: EndpointAuth | None = None
    recorded: Mapping[str, str | None] = {}
    pause_seconds: float = 0.0


class Reply(Struct, frozen=True, gc=False):
    """The receiver's answer, not yet classified.

    ``body`` is at most the first 16 KiB, undecoded. ``retry_after`` holds each Retry-After header as received,
    ``hook_secret`` each X-Hook-Secret. ``headers`` are all headers, as received.
    ``is_second_connection``: a kept-alive connection had gone stale, so the POST was sent again on a fresh one.
    ``is_kept_connection``: the connection had carried a POST before.
    """

    status: int
    duration_ms: int
    body: bytes = b""
    retry_after: tuple[str, ...] = ()
    location: str = ""
    is_second_connection: bool = False
    hook_secret: tuple[str, ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    is_kept_connection: bool = False


class Fault(Struct, frozen=True, gc=False):
    """No reply arrived. ``reason`` says why, from the closed set; ``detail`` says it in a sentence."""

    reason: Reason
    duration_ms: int
    detail: str = ""
    is_second_connection: bool = False


def build_request(lease: Lease, now: datetime, timeout_seconds: float, limit_seconds: float = inf) -> Request | Fault:
    """Sign the stored bytes afresh, in the endpoint's style and in those that it is leaving.

    If that fails, returns an INTERNAL fault.
    """
    delivery, endpoint = lease.delivery, lease.endpoint
    if endpoint.problem is not None:
        return Fault(Reason.INTERNAL, 0, endpoint.problem)
    signature = endpoint.signed(delivery.event_id, delivery.body, now)
    if signature is None:
        return Fault(Reason.INTERNAL, 0, "a signing secret of this endpoint cannot be decrypted; check SECRET_KEYS")
    headers = {
        "User-Agent": USER_AGENT,
        **signature,
        **event_headers(delivery.key, delivery.event_id, delivery.event_type, delivery.attempts_made + 1),
    }
    own: Mapping[str, str] = {}
    if endpoint.headers:
        own = own_beside(headers, endpoint.headers)
        headers |= own
    recorded = to_record(signature, own, endpoint.auth)
    return Request(
        endpoint.url, headers, delivery.body, timeout_seconds, limit_seconds, endpoint.id, endpoint.auth, recorded
    )
