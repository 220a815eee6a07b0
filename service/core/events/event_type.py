"""What an event type is: when it happens, what its ``data`` must carry, a sample, and what it proves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Proof(StrEnum):
    """What an event shows of the message it is about: a moment, by the name of the message's field, or a visit."""

    SENT = "sent_at"
    DELIVERED = "delivered_at"
    READ = "read_at"
    FAILED = "failed_at"
    RECEIVED = "received_at"
    CLICKED = "clicked"


@dataclass(frozen=True, slots=True)
class EventType:
    """An event type, and everything that is known of it.

    ``description`` says when such an event happens. Of ``data`` must hold: each path in ``required`` has a value, each
    in ``values`` one of those listed, and one of ``any_of`` has content.

    ``sample`` says in which keys a sample's ``data`` differs from that of ``message.sent`` (``core/events/sample.py``),
    given the message that was sent, its number, and the time as text.
    """

    name: str
    description: str
    required: tuple[str, ...]
    sample: Callable[[Mapping[str, Any], int, str], Mapping[str, Any]]
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    any_of: tuple[str, ...] = ()
    proves: Proof | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """Event types that reach the intake queue by one binding: the pattern of their routing keys."""

    binding: str
    types: tuple[EventType, ...]
