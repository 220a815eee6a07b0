"""Custom headers of an endpoint: which names and values may be sent (RFC 9110)."""

import re
from collections.abc import Mapping
from typing import Final

from service.core.field_code import FieldCode, FieldSentence

HEADERS_MAX: Final = 20
NAME_PATTERN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}"
VALUE_PATTERN: Final = r"[\t\x20-\x7e]{0,1024}"

_NAME = re.compile(NAME_PATTERN)
_VALUE = re.compile(VALUE_PATTERN)
# These frame the message, control the connection, or identify the client. "Content-Length: 1" would truncate the body,
# and a second Transfer-Encoding would allow request smuggling.
_REFUSED: Final = frozenset(
    {
        *("host", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"),
        *("cookie", "forwarded", "user-agent", "accept-encoding"),
        # Frameworks and proxies let these override the method, the path or the client's address.
        *("x-real-ip", "x-http-method", "x-http-method-override", "x-method-override"),
        *("x-original-url", "x-rewrite-url"),
    }
)
_REFUSED_PREFIXES: Final = ("content-", "proxy-", "x-forwarded-", "webhook-")
_OURS: Final = frozenset({"x-event-type", "x-event-id", "x-timestamp"})
_SIGNATURE: Final = "x-webhook-signature"


def judge_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The problems with these headers, by name; the key "" is about their number. Empty when all may be sent."""
    problems: dict[str, str] = {}
    if len(headers) > HEADERS_MAX:
        why = f"at most {HEADERS_MAX} custom headers are allowed, not {len(headers)}"
        problems[""] = FieldSentence(why, FieldCode.OUT_OF_RANGE)
    seen: set[str] = set()
    for name, value in headers.items():
        problem = _judge_name(name) or _judge_value(value)
        canonical = canonical_name(name)
        if canonical == _SIGNATURE:
            problem = _refused("is reserved for a signature, so it cannot be set")
        elif canonical in seen:
            why = "appears twice (receivers may not tell upper from lower case, nor _ from -)"
            problem = FieldSentence(why, FieldCode.REPEATED)
        seen.add(canonical)
        if problem is not None:
            problems[name] = problem
    return problems


def canonical_name(name: str) -> str:
    """The name as a receiver may see it: CGI and WSGI turn hyphens into underscores, and ignore case."""
    return name.lower().replace("_", "-")


def judge_signature_header(name: str) -> str | None:
    """Why the signature cannot be sent in the header ``name``; None when it can."""
    return _judge_name(name)


def _judge_name(name: str) -> str | None:
    canonical = canonical_name(name)
    if _NAME.fullmatch(name) is None:
        why = "a header name must be 1 to 64 letters, digits and hyphens (an RFC 9110 token)"
        return FieldSentence(why, FieldCode.WRONG_FORM)
    if canonical in _REFUSED or canonical.startswith(_REFUSED_PREFIXES):
        return _refused("is controlled by the connection or the message itself, so it cannot be set")
    if canonical in _OURS:
        return _refused("is sent with every webhook, so it cannot be set")
    return None


def _refused(sentence: str) -> FieldSentence:
    return FieldSentence(sentence, FieldCode.NOT_ALLOWED)


def _judge_value(value: str) -> str | None:
    if _VALUE.fullmatch(value) is None:
        why = "a header value must be at most 1024 printable ASCII characters, spaces and tabs"
        return FieldSentence(why, FieldCode.WRONG_FORM)
    return None
