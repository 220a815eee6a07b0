"""Operational events: what Posthorn itself tells an organization about its endpoints and deliveries.

Once made, they are events like others: recorded, fanned out, signed, tried again, replayed. Nobody else can publish
them, ``*`` does not cover them, and none is ever about the delivery of another (ADR 29).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from service.core.reason import Reason

RESERVED_PREFIXES: Final = ("endpoint.", "delivery.")
"""Names with these prefixes are reserved for events that Posthorn itself publishes."""


class AboutEndpoint(Struct, frozen=True, gc=False):
    """Which endpoint it is about."""

    id: str


class AboutSubscription(Struct, frozen=True, gc=False):
    """Which of the endpoint's subscriptions."""

    id: int


class AboutDelivery(Struct, frozen=True, gc=False):
    """A delivery, with the names that ``/v1/deliveries`` gives its fields."""

    id: str
    event_id: str
    event_type: str


class AboutDeadDelivery(AboutDelivery, frozen=True, gc=False):
    """A delivery that was given up. ``last_status`` is null if its last attempt got no answer."""

    subscription_id: int
    reason: Reason
    attempts_made: int
    last_status: int | None
    created_at: str


class DeliveryDead(Struct, frozen=True, gc=False):
    """The ``data`` of ``delivery.dead``."""

    endpoint: AboutEndpoint
    delivery: AboutDeadDelivery


class EndpointGone(Struct, frozen=True, gc=False):
    """The ``data`` of ``endpoint.gone``; ``delivery`` is the one that was answered with 410."""

    endpoint: AboutEndpoint
    subscription: AboutSubscription
    delivery: AboutDelivery


class EndpointFailing(Struct, frozen=True, gc=False):
    """The ``data`` of ``endpoint.failing``.

    ``ratio`` of the time after which a failing endpoint is disabled has passed; ``disabled_at`` is when it is over.
    """

    endpoint: AboutEndpoint
    failing_since: str
    attempts_failed: int
    ratio: float
    disabled_at: str


class EndpointDisabled(Struct, frozen=True, gc=False):
    """The ``data`` of ``endpoint.disabled``."""

    endpoint: AboutEndpoint
    failing_since: str
    attempts_failed: int
    disabled_at: str


class EndpointRecovered(Struct, frozen=True, gc=False):
    """The ``data`` of ``endpoint.recovered``; ``failing_since`` is that of the events before it."""

    endpoint: AboutEndpoint
    failing_since: str
    was_disabled: bool


class EndpointExpiry(Struct, frozen=True, gc=False):
    """The ``data`` of ``endpoint.expiring`` and ``endpoint.expired``."""

    endpoint: AboutEndpoint
    valid_until: str


OperationalData = DeliveryDead | EndpointGone | EndpointFailing | EndpointDisabled | EndpointRecovered | EndpointExpiry


@dataclass(frozen=True, slots=True)
class OperationalType:
    """An operational event type. ``sample`` makes a sample's ``data``, given a number and a time as text."""

    name: str
    description: str
    data: type[Struct]
    sample: Callable[[int, str], OperationalData]


def _sample_delivery(number: int) -> tuple[str, str, str]:
    return f"dlv_{number:032x}_7", f"evt_{number:08x}", "message.sent"


def _dead(number: int, at: str) -> DeliveryDead:
    delivery = AboutDeadDelivery(*_sample_delivery(number), 7, Reason.ATTEMPTS_EXHAUSTED, 12, 500, at)
    return DeliveryDead(AboutEndpoint(f"ep_{number:08x}"), delivery)


def _gone(number: int, _: str) -> EndpointGone:
    delivery = AboutDelivery(*_sample_delivery(number))
    return EndpointGone(AboutEndpoint(f"ep_{number:08x}"), AboutSubscription(7), delivery)


_SINCE: Final = "2026-11-16T09:30:00.000000Z"
_UNTIL: Final = "2026-11-21T09:30:00.000000Z"


def _failing(number: int, _: str) -> EndpointFailing:
    return EndpointFailing(AboutEndpoint(f"ep_{number:08x}"), _SINCE, 117, 0.9, _UNTIL)


def _disabled(number: int, _: str) -> EndpointDisabled:
    return EndpointDisabled(AboutEndpoint(f"ep_{number:08x}"), _SINCE, 131, _UNTIL)


def _recovered(number: int, _: str) -> EndpointRecovered:
    return EndpointRecovered(AboutEndpoint(f"ep_{number:08x}"), _SINCE, was_disabled=True)


def _expiry(number: int, _: str) -> EndpointExpiry:
    return EndpointExpiry(AboutEndpoint(f"ep_{number:08x}"), _UNTIL)


DELIVERY_DEAD: Final = OperationalType(
    "delivery.dead", "A delivery was given up: its attempts or its time ran out.", DeliveryDead, _dead
)
ENDPOINT_GONE: Final = OperationalType(
    "endpoint.gone",
    "A receiver answered 410, which ended the subscription; an endpoint without subscriptions is gone.",
    EndpointGone,
    _gone,
)
ENDPOINT_FAILING: Final = OperationalType(
    "endpoint.failing",
    "Every attempt at an endpoint has failed for half, or nine tenths, of the time after which it is disabled.",
    EndpointFailing,
    _failing,
)
ENDPOINT_DISABLED: Final = OperationalType(
    "endpoint.disabled",
    "An endpoint failed for days and is sent nothing more; its deliveries wait until it is resumed.",
    EndpointDisabled,
    _disabled,
)
ENDPOINT_RECOVERED: Final = OperationalType(
    "endpoint.recovered",
    "An endpoint that was said to be failing or disabled took a delivery, was resumed, or got another URL.",
    EndpointRecovered,
    _recovered,
)
ENDPOINT_EXPIRING: Final = OperationalType(
    "endpoint.expiring", "An endpoint's `valid_until` comes within a day.", EndpointExpiry, _expiry
)
ENDPOINT_EXPIRED: Final = OperationalType(
    "endpoint.expired",
    "An endpoint's `valid_until` has come: it has ended, and is sent nothing more.",
    EndpointExpiry,
    _expiry,
)
OPERATIONAL: Final[Mapping[str, OperationalType]] = {
    kind.name: kind
    for kind in (
        *(DELIVERY_DEAD, ENDPOINT_GONE, ENDPOINT_FAILING, ENDPOINT_DISABLED, ENDPOINT_RECOVERED),
        *(ENDPOINT_EXPIRING, ENDPOINT_EXPIRED),
    )
}


def is_operational(event_type: str) -> bool:
    """Whether only Posthorn itself publishes events of this type, now or in a later version."""
    return event_type.startswith(RESERVED_PREFIXES)
