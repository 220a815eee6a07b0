"""Event types: when such an event happens, what its ``data`` must contain, a sample, and what it proves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Proof(StrEnum):
    """What an event proves about its message: a moment, named after the message's field, or a click."""

    SENT = "sent_at"
    DELIVERED = "delivered_at"
    READ = "read_at"
    FAILED = "failed_at"
    RECEIVED = "received_at"
    CLICKED = "clicked"


@dataclass(frozen=True, slots=True)
class EventType:
    """The definition of an event type.

    ``description`` says when such an event happens. In ``data``, each path in ``required`` must have a value, each path
    in ``values`` one of the listed values, and at least one path in ``any_of`` must have content.

    ``sample`` returns the keys in which a sample's ``data`` differs from that of ``message.sent``
    (``core/events/sample.py``), given the message that was sent, its number, and the time as text.
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
    """Event types that reach the intake queue by one binding; ``binding`` is the pattern of their routing keys."""

    binding: str
    types: tuple[EventType, ...]
