"""Ownership of a URL: a challenge is sent there, and whoever owns it sends the challenge back.

It comes back as the header ``X-Hook-Secret``, as REST hooks do it, or in the body.
"""

import hmac
import json
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Final

from service.core.deliveries.headers import own_beside
from service.core.deliveries.request import USER_AGENT, Fault, Reply, Request
from service.core.endpoints.auth import UnreadableAuth
from service.core.endpoints.settings import EndpointSettings
from service.core.endpoints.target_policy import ADDRESS_REFUSED
from service.core.reason import Reason
from service.core.timestamp import format_timestamp
from webhook_signature.styles import style_named

CHALLENGE_TYPE: Final = "endpoint.verification"
"""The ``type`` in the challenge's body. It is no event: nobody subscribes to it, and it is not stored."""
HOOK_SECRET: Final = "X-Hook-Secret"  # noqa: S105 - a header's name
CHALLENGE_SECONDS_MAX: Final = 3.0
_LIMIT_SECONDS: Final = 4.0
"""With the token, if the endpoint wants one."""

_NO_REPLY: Final = {
    Reason.TIMEOUT: f"it did not answer within {CHALLENGE_SECONDS_MAX:g} seconds",
    Reason.CONNECT_REFUSED: "it refuses connections",
    Reason.CONNECT_RESET: "it closed the connection without an answer",
    Reason.DNS: "its host name cannot be resolved",
    Reason.TLS: "no TLS connection can be made; check its certificate",
    Reason.PROTOCOL_ERROR: "its answer is not valid HTTP",
    Reason.BLOCKED_DESTINATION: ADDRESS_REFUSED,
    Reason.AUTH_REFUSED: "its token_url gave no token for it; check auth",
    Reason.AUTH_UNAVAILABLE: "its token_url gave no token for it in time",
}
_HOW: Final = (
    f'send its challenge back with a 2xx status, as the header {HOOK_SECRET} or as the body {{"challenge": "…"}}'
)


def challenge_request(
    settings: EndpointSettings, secrets: Sequence[str], challenge: str, challenge_id: str, now: datetime
) -> Request:
    """The POST that carries the challenge, signed with the endpoint's secrets and style as its webhooks are."""
    body = json.dumps(
        {"type": CHALLENGE_TYPE, "timestamp": format_timestamp(now), "challenge": challenge}, separators=(",", ":")
    ).encode()
    style = style_named(settings.signature_style, settings.signature_header)
    keys = [style.decode_secret(each) for each in secrets]
    ours = {
        "User-Agent": USER_AGENT,
        **style.write(keys, challenge_id, int(now.timestamp()), body),
        "Content-Type": "application/json",
        "X-Event-Type": CHALLENGE_TYPE,
        HOOK_SECRET: challenge,
    }
    own = own_beside(ours, settings.headers or {})
    auth = None if isinstance(settings.auth, UnreadableAuth) else settings.auth
    return Request(settings.url, ours | own, body, CHALLENGE_SECONDS_MAX, _LIMIT_SECONDS, challenge_id, auth)


def complaint_about(answer: Reply | Fault, challenge: str) -> str | None:
    """Why the answer proves nothing, in a sentence that says what to do; None if it has the challenge.

    It tells no more of the network than registering a URL does.
    """
    if isinstance(answer, Fault):
        return f"the URL was not verified: {_NO_REPLY.get(answer.reason, 'the request could not be made; try again')}"
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return f"the URL was not verified: it answered {answer.status}; {_HOW}"
    sent_back = (*(each.encode() for each in answer.hook_secret), *_in_body(answer.body))
    if any(hmac.compare_digest(each, challenge.encode()) for each in sent_back):
        return None
    return f"the URL was not verified: it answered {answer.status} without the challenge; {_HOW}"


def _in_body(body: bytes) -> tuple[bytes, ...]:
    """What the body may mean as the challenge: all of it, or a field of a JSON object."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return (body.strip(),)
    told = value.get("challenge") if isinstance(value, dict) else value
    return (told.encode(errors="replace"),) if isinstance(told, str) else ()
