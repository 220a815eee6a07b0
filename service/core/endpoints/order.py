"""Order by key: an endpoint may ask that events with the same value at a path come one after the other.

Such events form a line. The line is known by a hash of the endpoint, the path and the value, so its name is short and
says nothing of the value.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from service.core.endpoints.filter.clause import is_number
from service.core.endpoints.filter.filter import decode_envelope
from service.core.endpoints.filter.path import read_path, value_at
from service.core.endpoints.subscription import Subscription

ORDER_WAIT_SECONDS: Final = 300.0
"""How long a delivery that failed holds up its line, unless the endpoint asks for another time."""
ORDER_WAIT_SECONDS_MIN: Final = 1
ORDER_WAIT_SECONDS_MAX: Final = 86_400


def line_of(endpoint_id: str, order_by: str, envelope: Mapping[str, Any]) -> UUID | None:
    """The line of an event at an endpoint; None if it has no key: the value is missing, or not a text or a number.

    As in a filter nothing is converted: "1" is another key than 1, which is the same as 1.0. A path that cannot be read
    orders nothing.
    """
    path = read_path(order_by)
    value = None if isinstance(path, str) else value_at(envelope, path)
    if not isinstance(value, str) and not is_number(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    key = value if isinstance(value, str) else f"{value:x}" if isinstance(value, int) else value.hex()
    named = json.dumps([endpoint_id, order_by, type(value).__name__, key])
    return UUID(bytes=sha256(named.encode()).digest()[:16])


def lines_of(subscriptions: Sequence[Subscription], body: bytes) -> Sequence[UUID | None]:
    """The event's line at each subscription's endpoint. ``body``, its envelope, is decoded if one asks for order."""
    if all(each.endpoint.order_by is None for each in subscriptions):
        return (None,) * len(subscriptions)
    envelope = decode_envelope(body)
    return [
        None if each.endpoint.order_by is None else line_of(each.endpoint.id, each.endpoint.order_by, envelope)
        for each in subscriptions
    ]
