"""An access token: how it is asked for (RFC 6749, 4.4), and what the token server's answer means."""

import re
from base64 import b64encode
from typing import Final
from urllib.parse import quote_plus, urlencode

import msgspec
from msgspec import Struct

from service.core.deliveries.outcome import is_outage, is_success
from service.core.deliveries.request import USER_AGENT, Fault, Reply, Request
from service.core.endpoints.auth import OAuth2
from service.core.reason import NOT_THE_RECEIVERS, Reason

TOKEN_SECONDS_MAX: Final = 10.0
LIFETIME_SECONDS: Final = 300.0
"""Of a token whose server does not say."""
LIFETIME_MAX_SECONDS: Final = 86_400.0

_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_ERROR: Final = re.compile(r"[a-z_]{1,64}")


class Token(Struct, frozen=True):
    """A bearer token, good for ``lifetime_seconds`` from when it was asked for."""

    text: str
    lifetime_seconds: float

    def __repr__(self) -> str:
        """Without the token: a value may end up in a log."""
        return f"Token({self.lifetime_seconds:g} s)"


class _Granted(Struct):
    access_token: str
    token_type: str = "bearer"  # noqa: S105  the type of a token
    expires_in: float | None = None


class _Refused(Struct):
    error: str = ""


def token_request(auth: OAuth2) -> Request:
    """The POST that asks for a token. The client proves itself with Basic, which every server must understand."""
    client = f"{quote_plus(auth.client_id)}:{quote_plus(auth.client_secret)}"
    headers = {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
        "Authorization": "Basic " + b64encode(client.encode()).decode(),
    }
    asked = {"grant_type": "client_credentials"} | ({"scope": auth.scope} if auth.scope else {})
    return Request(auth.token_url, headers, urlencode(asked).encode(), TOKEN_SECONDS_MAX)


def read_token(reply: Reply | Fault) -> Token | Fault:
    """The token, or why there is none: a fault that is never the receiver's."""
    if isinstance(reply, Fault):
        if reply.reason in NOT_THE_RECEIVERS:
            return Fault(reply.reason, reply.duration_ms, f"asking for a token: {reply.detail}")
        detail = f"the token server could not be asked: {reply.detail}"
        return Fault(Reason.AUTH_UNAVAILABLE, reply.duration_ms, detail)
    if not is_success(reply.status):
        is_away = is_outage(Reason.HTTP_STATUS, reply.status)
        reason = Reason.AUTH_UNAVAILABLE if is_away else Reason.AUTH_REFUSED
        return Fault(reason, reply.duration_ms, f"the token server answered {reply.status:03}{_error(reply.body)}")
    try:
        granted = msgspec.json.decode(reply.body, type=_Granted, strict=False)
    except _UNREADABLE:  # its text may quote the token
        return Fault(Reason.AUTH_REFUSED, reply.duration_ms, "the token server's answer has no access_token")
    if granted.token_type.lower() != "bearer" or not _TOKEN.fullmatch(granted.access_token):
        return Fault(Reason.AUTH_REFUSED, reply.duration_ms, "the token server's answer is no bearer token")
    asked_for = LIFETIME_SECONDS if granted.expires_in is None else granted.expires_in
    return Token(granted.access_token, min(max(1.0, asked_for), LIFETIME_MAX_SECONDS))  # in this order NaN is 1


def _error(body: bytes) -> str:
    """The server's own word for it, if it is one of RFC 6749's form."""
    try:
        error = msgspec.json.decode(body, type=_Refused).error
    except _UNREADABLE:
        return ""
    return f": {error}" if _ERROR.fullmatch(error) else ""
