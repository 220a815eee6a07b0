"""Events as producers publish them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import uuid_utils.compat

from service.core.events.event import Event, parse_event
from service.core.timestamp import format_timestamp
from tests.fakes.clock import START

_AT = "2026-11-20T17:59:59.123456Z"
_PARTIES = {"from": {"urn": "tel:+12065550100"}, "to": {"urn": "tel:+12065551212"}}

EXAMPLE_DATA: Mapping[str, Mapping[str, Any]] = {
    "message.sent": {"message": {"id": "msg_1", "direction": "outbound", "status": "sent", "sent_at": _AT, **_PARTIES}},
    "message.delivered": {"message": {"id": "msg_1", "status": "delivered", "delivered_at": _AT, **_PARTIES}},
    "message.failed": {
        "message": {"id": "msg_1", "status": "failed", "failed_at": _AT, **_PARTIES},
        "error": {"code": "30003", "message": "unreachable handset"},
    },
    "message.replied": {
        "message": {
            "id": "msg_2",
            "direction": "inbound",
            "status": "received",
            "received_at": _AT,
            "text": "yes",
            **_PARTIES,
        }
    },
    "link.clicked": {
        "message": {"id": "msg_1"},
        "link": {"url": "https://example.org/a"},
        "click": {"id": "clk_1", "clicked_at": _AT},
    },
}


def envelope(**changes: Any) -> dict[str, Any]:
    """A valid ``message.sent``, with these fields changed; ``data`` follows the type."""
    event_type = changes.get("type", "message.sent")
    fields: dict[str, Any] = {
        "id": "evt_1",
        "type": event_type,
        "timestamp": format_timestamp(START - timedelta(seconds=1)),
        "organization_id": "org_1",
        "data": EXAMPLE_DATA.get(str(event_type), {}),
    }
    return fields | changes


def body_of(**changes: Any) -> bytes:
    """``envelope`` as a producer's bytes."""
    return json.dumps(envelope(**changes)).encode()


def event_of(**changes: Any) -> Event:
    """``envelope``, parsed."""
    parsed = parse_event(body_of(**changes), START)
    assert isinstance(parsed, Event), parsed
    return parsed


def new_uid() -> UUID:
    """A UUIDv7 of now, so that it falls into a partition of today."""
    return uuid_utils.compat.uuid7()


class CountedUids:
    """UUIDs shaped like version 7 that count upwards: the same in every run."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self) -> UUID:
        self._count += 1
        milliseconds = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp() * 1000)
        return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | self._count)
