"""How an answer and an attempt are printed: one line if it fits, what does not fit below it; nothing is cut."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from rich.text import Text

from service.cli.live.forwarding import Forwarded
from service.cli.terminal import shown
from service.core.deliveries.delivery import State
from service.core.deliveries.outcome import Accepted, OutcomeKind
from service.core.deliveries.request import Fault, Reply
from service.core.reason import Reason
from service.core.timestamp import format_timestamp
from service.core.wording import duration

GAP: Final = "  "
_CLOCK: Final = "%H:%M:%S"
_INDENT: Final = " " * 10  # below the type
_TYPE_WIDTH: Final = 17
_ANSWER_WIDTH: Final = 9
_TOOK_WIDTH: Final = 8
_SAID_CHARACTERS_MAX: Final = 200
_TAG: Final = re.compile(r"<[^>]*>?")
_WORDS: Final[Mapping[str, str]] = {
    Reason.CONNECT_REFUSED: "refused",
    Reason.CONNECT_RESET: "reset",
    Reason.PROTOCOL_ERROR: "no HTTP",
    Reason.STALE_CONNECTION: "reset",
    Reason.BLOCKED_DESTINATION: "blocked",
}
_GLYPHS: Final = {OutcomeKind.ACCEPTED: ("✓", "+"), OutcomeKind.FAILED: ("✗", "x"), OutcomeKind.GONE: ("⊘", "-")}
_RETRIED: Final = ("↻", "~")


class Lines:
    """Lays out lines for a terminal ``width`` columns wide; ``is_ascii``: it cannot show the glyphs."""

    def __init__(self, width: int, *, is_ascii: bool = False) -> None:
        self._width = width
        self._is_ascii = is_ascii

    def of_forwarded(self, forwarded: Forwarded) -> list[Text]:
        """An event that was sent to the local URL."""
        event, answer = forwarded.event, forwarded.answer
        is_accepted = isinstance(forwarded.outcome, Accepted)
        marks = [mark for mark, is_set in (("past", event.is_past), ("again", forwarded.attempt_number > 1)) if is_set]
        return self._laid_out(
            event.received_at if event.is_past and forwarded.attempt_number == 1 else forwarded.sent_at,
            (event.type, event.id),
            self._badge(OutcomeKind.ACCEPTED if is_accepted else OutcomeKind.FAILED, _word(answer)),
            answer.duration_ms,
            Text(" ".join(marks), "dim"),
            Text("" if is_accepted else said(forwarded), "red"),
        )

    def of_attempt(self, attempt: Mapping[str, Any]) -> list[Text]:
        """An attempt, as the stream tells it."""
        kind, state = OutcomeKind(attempt["outcome"]), attempt["state"]
        is_retried = kind is OutcomeKind.FAILED and state == State.PENDING
        word = str(attempt["status"] or _WORDS.get(attempt["reason"], attempt["reason"]))
        told = [f"try {attempt['number']}"]
        if attempt["next_attempt_at"] is not None:
            told.append(f"next {_clock(datetime.fromisoformat(attempt['next_attempt_at']))}")
        elif kind is not OutcomeKind.ACCEPTED:
            told.append(state)
        is_told = kind is OutcomeKind.ACCEPTED or attempt["reason"] == Reason.HTTP_STATUS  # the badge has the status
        detail = first_line(attempt["reply"]) or ("" if is_told else shown(attempt["detail"]))
        return self._laid_out(
            datetime.fromisoformat(attempt["started_at"]),
            (attempt["event_type"], attempt["delivery_id"]),
            self._badge(kind, word, is_retried=is_retried),
            attempt["duration_ms"],
            Text(", ".join(told), "dim"),
            Text("" if kind is OutcomeKind.ACCEPTED else detail, "yellow" if is_retried else "red"),
        )

    def _laid_out(
        self, at: datetime, names: tuple[str, str], badge: Text, duration_ms: int, marks: Text, said_: Text
    ) -> list[Text]:
        event_type, name = map(shown, names)
        badge.align("left", max(_ANSWER_WIDTH, badge.cell_len))
        first = Text(GAP).join([Text(_clock(at), "dim"), Text(event_type.ljust(_TYPE_WIDTH))])
        last = Text(GAP).join([badge, Text(duration(duration_ms).rjust(_TOOK_WIDTH))])
        line = Text(GAP).join([first, Text(name, "dim"), last])
        lines = [line]
        if line.cell_len > self._width:
            line = Text(GAP).join([first, last])
            lines = [line, Text(_INDENT) + Text(name, "dim")]
        for more in (marks, said_):
            if not more.plain:
                continue
            if lines[0].cell_len + len(GAP) + more.cell_len <= self._width:
                lines[0] = Text(GAP).join([lines[0], more])
            elif len(lines) > 1 and lines[-1].cell_len + len(GAP) + more.cell_len <= self._width:
                lines[-1] = Text(GAP).join([lines[-1], more])
            else:
                lines.append(Text(_INDENT) + more)
        return lines

    def _badge(self, kind: OutcomeKind, word: str, *, is_retried: bool = False) -> Text:
        glyph = (_RETRIED if is_retried else _GLYPHS[kind])[self._is_ascii]
        style = {OutcomeKind.ACCEPTED: "green", OutcomeKind.GONE: "dim"}.get(kind, "yellow" if is_retried else "red")
        return Text(f"{glyph} {shown(word)}", style)


def as_json(forwarded: Forwarded) -> dict[str, Any]:
    """The same for scripts."""
    event, answer, outcome = forwarded.event, forwarded.answer, forwarded.outcome
    return {
        "kind": "forwarded",
        "event_id": event.id,
        "event_type": event.type,
        "received_at": format_timestamp(event.received_at),
        "is_past": event.is_past,
        "attempt": forwarded.attempt_number,
        "sent_at": format_timestamp(forwarded.sent_at),
        "is_accepted": isinstance(outcome, Accepted),
        "status": answer.status if isinstance(answer, Reply) else None,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "duration_ms": answer.duration_ms,
        "reply": first_line(answer.body.decode(errors="replace")) if isinstance(answer, Reply) else "",
    }


def said(forwarded: Forwarded) -> str:
    """What a failure said: the first line of the reply, or why there is none."""
    answer = forwarded.answer
    line = first_line(answer.body.decode(errors="replace")) if isinstance(answer, Reply) else ""
    return line or shown(forwarded.why)


def first_line(reply: str) -> str:
    """The first line with a word in it; a page's tags are left out."""
    text = _TAG.sub("", reply) if reply.lstrip().startswith("<") else reply
    line = next(filter(None, map(str.strip, text.splitlines())), "")
    return shown(line[:_SAID_CHARACTERS_MAX])


def _word(answer: Reply | Fault) -> str:
    if isinstance(answer, Reply):
        return f"{answer.status:03}"
    return _WORDS.get(answer.reason, answer.reason)


def _clock(at: datetime) -> str:
    return at.astimezone().strftime(_CLOCK)
