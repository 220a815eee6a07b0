"""The status of a message, derived from the events about it, whatever order they arrived in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from service.core.events.event_type import Proof
from service.core.events.registry import REGISTRY
from service.core.timestamp import parse_timestamp


class MessageState(StrEnum):
    """How far a message has come."""

    UNKNOWN = "unknown"  # its events do not show it, for example a click alone
    SUBMITTED = "submitted"
    SENT = "sent"
    FAILED = "failed"
    DELIVERED = "delivered"
    READ = "read"
    RECEIVED = "received"  # inbound: a contact sent it


@dataclass(frozen=True, slots=True)
class MessageError:
    """Why a message could not be delivered, as the producer wrote it."""

    code: str | int | None
    message: str | None
    carrier_code: str | int | None
    retryable: bool | None


@dataclass(frozen=True, slots=True)
class MessageReply:
    """What a contact answered."""

    event_id: str
    message_id: str
    received_at: datetime
    text: str | None


@dataclass(frozen=True, slots=True, order=True)
class MessageReaction:
    """A tapback on the message; without a time of its own ``at`` is its event's, without a ``from_urn`` that is ""."""

    at: datetime
    type: str
    from_urn: str


@dataclass(frozen=True, slots=True)
class MessageClicks:
    """Clicks on the message's links by people; clicks by bots are counted separately."""

    count: int = 0
    last_clicked_at: datetime | None = None
    bot_count: int = 0


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """What became of a message. ``error`` is from the last failure, even if the message was delivered later."""

    message_id: str
    external_id: str | None
    status: MessageState
    submitted_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    failed_at: datetime | None
    received_at: datetime | None
    error: MessageError | None
    replies: Sequence[MessageReply]
    reactions: Sequence[MessageReaction]
    clicks: MessageClicks
    event_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Told:
    """One event, with the parts of its data that determine the status; a value of the wrong type counts as absent."""

    id: str
    proves: Proof | None
    at: datetime
    message: Mapping[str, Any]
    data: Mapping[str, Any]

    def time(self, name: str) -> datetime | None:
        return parse_timestamp(self.message.get(name))


_TIMES = ("submitted_at", "sent_at", "delivered_at", "read_at", "received_at")


def fold_message(message_id: str, envelopes: Iterable[Mapping[str, Any]]) -> MessageStatus:
    """The status of ``message_id`` after these events: decoded envelopes, in any order; a duplicate counts once."""
    told = sorted({each.id: each for each in map(_read, envelopes)}.values(), key=lambda each: (each.at, each.id))
    about = [each for each in told if each.message.get("id") == message_id]
    replies = [each for each in told if each.message.get("id") != message_id and _answers(each) == message_id]
    times = {name: min(_times(about, name), default=None) for name in _TIMES}
    failures = [(each.time("failed_at") or each.at, each) for each in about if each.proves is Proof.FAILED]
    failed_at, failure = max(failures, key=lambda each: (each[0], each[1].id), default=(None, None))
    return MessageStatus(
        message_id=message_id,
        external_id=next(
            (found for each in reversed(about) if (found := _text(each.message.get("external_id")))), None
        ),
        status=_state(about, times, failed_at),
        failed_at=failed_at,
        error=_error(failure) if failure else None,
        replies=[_reply(each) for each in replies],
        reactions=_reactions(told),
        clicks=_clicks([each for each in about if each.proves is Proof.CLICKED]),
        event_ids=[each.id for each in told],
        **times,
    )


def _read(envelope: Mapping[str, Any]) -> _Told:
    data = _object(envelope.get("data"))
    at = parse_timestamp(envelope["timestamp"])
    if at is None:
        raise ValueError("a stored envelope must have a valid timestamp")
    kind = REGISTRY.get(envelope["type"])
    return _Told(envelope["id"], kind.proves if kind else None, at, _object(data.get("message")), data)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _answers(told: _Told) -> object:
    return _object(told.data.get("reply_to")).get("message_id")


def _times(about: Sequence[_Told], name: str) -> list[datetime]:
    found = []
    for each in about:
        at = each.time(name)
        if at is None and (each.proves == name or (name == Proof.READ and each.message.get("status") == "read")):
            at = each.at  # without a time in the message, use the event's own
        if at is not None:
            found.append(at)
    return found


def _state(about: Sequence[_Told], times: Mapping[str, datetime | None], failed_at: datetime | None) -> MessageState:
    """The furthest state reached. A failure counts until the message is sent again or delivered after all."""
    if times["received_at"] is not None:
        return MessageState.RECEIVED
    if times["read_at"] is not None:
        return MessageState.READ
    if times["delivered_at"] is not None:
        return MessageState.DELIVERED
    last_sent_at = max(_times(about, "sent_at"), default=None)
    if failed_at is not None and (last_sent_at is None or last_sent_at <= failed_at):
        return MessageState.FAILED
    if last_sent_at is not None:
        return MessageState.SENT
    return MessageState.SUBMITTED if times["submitted_at"] is not None else MessageState.UNKNOWN


def _text(value: object) -> str | None:
    """Make the text encodable: half a surrogate pair, which JSON allows, becomes a question mark."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def _error(told: _Told) -> MessageError:
    error = _object(told.data.get("error"))
    codes = [value if type(value) is int else _text(value) for value in map(error.get, ("code", "carrier_code"))]
    retryable = error.get("retryable")
    return MessageError(
        codes[0], _text(error.get("message")), codes[1], retryable if isinstance(retryable, bool) else None
    )


def _reply(told: _Told) -> MessageReply:
    message = told.message
    at = told.time("received_at") or told.at
    return MessageReply(told.id, _text(message.get("id")) or "", at, _text(message.get("text")))


def _reactions(told: Sequence[_Told]) -> Sequence[MessageReaction]:
    """The reactions, the earliest first; one that several events tell of counts once, when it was first told of."""
    found: dict[tuple[datetime | None, str, str], MessageReaction] = {}
    for each in told:
        listed = each.message.get("reactions")
        for reaction in map(_object, listed if isinstance(listed, list) else ()):
            at, kind = parse_timestamp(reaction.get("at")), _text(reaction.get("type")) or ""
            from_urn = _text(reaction.get("from_urn")) or ""
            if kind:
                found.setdefault((at, kind, from_urn), MessageReaction(at or each.at, kind, from_urn))
    return sorted(found.values())


def _clicks(clicked: Sequence[_Told]) -> MessageClicks:
    """Count the clicks; several events with the same click id count as one click."""
    people: dict[object, datetime] = {}
    bots: set[object] = set()
    for each in clicked:
        click = _object(each.data.get("click"))
        click_id = str(click.get("id") or each.id)
        if click.get("is_bot") is True:
            bots.add(click_id)
        else:
            at = parse_timestamp(click.get("clicked_at")) or each.at
            people[click_id] = max(at, people.get(click_id, at))
    return MessageClicks(len(people), max(people.values(), default=None), len(bots))
