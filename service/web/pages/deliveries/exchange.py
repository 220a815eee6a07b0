"""An attempt as its page tells it: how it went in words, what was sent and signed, and what came back."""

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import responses
from typing import Any, Final

from markupsafe import Markup

from service.core.deliveries.explanation import WHY
from service.core.reason import Reason
from service.core.wording import duration
from service.web.code import coloured_headers
from service.web.pages.deliveries.signatures import signed_first
from service.web.words import host_and_rest

FIRST_LINE_CHARACTERS_MAX: Final = 120
_SECOND_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Exchange:
    """One attempt. ``answer`` is how it went; ``first_line`` begins what a receiver said that did not accept it.

    ``signed_first`` is what was signed before the body; None if it is not known.
    """

    shown: Mapping[str, Any]
    answer: str
    first_line: str
    request: Markup
    reply: Markup | None
    signed_first: str | None

    @property
    def is_good(self) -> bool:
        """Whether the receiver has the event."""
        return bool(self.shown["outcome"] == "accepted")


def exchange_of(attempt: Mapping[str, Any], endpoint: Mapping[str, Any] | None) -> Exchange:
    """The attempt in words. The body is the same for every attempt, and not part of it."""
    is_good = attempt["outcome"] == "accepted"
    lines = (each.strip() for each in attempt["reply"].splitlines())
    return Exchange(
        attempt,
        answer_of(attempt),
        "" if is_good else next(filter(None, lines), "")[:FIRST_LINE_CHARACTERS_MAX],
        _request_of(attempt),
        _reply_of(attempt) if attempt["status"] else None,
        signed_first(attempt, endpoint) if endpoint else None,
    )


def answer_of(attempt: Mapping[str, Any]) -> str:
    """What came back, or why nothing did: "503 Service Unavailable", "no answer within 15 s"."""
    if attempt["status"]:
        return with_phrase(attempt["status"])
    if attempt["reason"] == Reason.TIMEOUT:
        return f"no answer within {_limit(attempt['duration_ms'])}"
    return str(attempt["detail"] or WHY.get(attempt["reason"], attempt["reason"]))


def with_phrase(status: int) -> str:
    """A status with its reason phrase, if it has one."""
    return f"{status} {responses[status]}" if status in responses else str(status)


def _limit(milliseconds: int) -> str:
    """A time limit that was reached: "15 s", where a duration is "15.0 s"."""
    return f"{round(milliseconds / _SECOND_MS, 1):g} s" if milliseconds >= _SECOND_MS else duration(milliseconds)


def _request_of(attempt: Mapping[str, Any]) -> Markup:
    url, headers = attempt["request"]["url"], attempt["request"]["headers"]
    host, path = host_and_rest(url)
    return Markup("{}\n{}").format(
        f"POST {path if path.startswith('/') else f'/{path}'} HTTP/1.1", coloured_headers({"host": host} | headers)
    )


def _reply_of(attempt: Mapping[str, Any]) -> Markup:
    head = Markup("HTTP/1.1 {}\n{}").format(
        with_phrase(attempt["status"]), coloured_headers(attempt["reply_headers"] or {})
    )
    return Markup("{}\n\n{}").format(head, attempt["reply"]) if attempt["reply"] else head
