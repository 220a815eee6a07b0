"""The story of a message, step by step, as the page of one of its events tells it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.web.words import capitalize_first, counted, instant

OF_A_KIND_MAX: Final = 5
"""Of replies and of reactions, the newest."""
_STAGES: Final = ("submitted", "received", "sent", "delivered", "read", "failed")


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to the message, and when. ``event_id`` is known of replies; ``is_this``: the page is about it."""

    title: str
    at: str
    about: str = ""
    event_id: str = ""
    is_bad: bool = False
    is_this: bool = False


def steps_of(message: Mapping[str, Any], event_id: str, event_type: str) -> Sequence[Step]:
    """What is known of the message, oldest first."""
    steps = [*_stages(message, event_type), *_answers(message, event_id)]
    return sorted(steps, key=lambda each: instant(each.at))


def _stages(message: Mapping[str, Any], event_type: str) -> Iterator[Step]:
    error = message["error"] or {}
    for name in _STAGES:
        if at := message[f"{name}_at"]:
            is_bad = name == "failed"
            about = str(error.get("message") or error.get("code") or "") if is_bad else ""
            yield Step(capitalize_first(name), at, about, is_bad=is_bad, is_this=event_type == f"message.{name}")
    clicks = message["clicks"]
    if at := clicks["last_clicked_at"]:
        bots = f", {clicks['bot_count']} by bots" if clicks["bot_count"] else ""
        is_this = event_type == "link.clicked"
        yield Step("Link clicked", at, f"{counted(clicks['count'], 'time')}{bots}", is_this=is_this)


def _answers(message: Mapping[str, Any], event_id: str) -> Iterator[Step]:
    for each in message["replies"][-OF_A_KIND_MAX:]:
        is_this = each["event_id"] == event_id
        yield Step("Replied", each["received_at"], each["text"] or "", each["event_id"], is_this=is_this)
    for each in message["reactions"][-OF_A_KIND_MAX:]:
        yield Step("Reacted", each["at"], each["type"])
