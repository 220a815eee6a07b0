"""Events as producers publish them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import uuid_utils.compat

from service.core.events.event import Event, parse_event
from service.core.events.event_type import EventType
from service.core.events.registry import REGISTRY
from service.core.events.sample import sample_event
from service.core.timestamp import format_timestamp
from tests.fakes.clock import START

_AT = "2026-11-20T17:59:59.123456Z"
_PARTIES = {"from": {"urn": "tel:+12065550100"}, "to": {"urn": "tel:+12065551212"}}

_BY_HAND: Mapping[str, Mapping[str, Any]] = {
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


def _least_data(kind: EventType) -> Mapping[str, Any]:
    """Of the type's sample, what the type requires and nothing else."""
    sample = json.loads(sample_event(kind.name, "org_1", event_id="evt_1", number=1, now=START))["data"]
    least: dict[str, Any] = {}
    for path in (*kind.required, *kind.values, *kind.any_of):
        found, inner, (*way, last) = sample, least, path.split(".")
        for name in way:
            found, inner = found[name], inner.setdefault(name, {})
        inner[last] = found[last]
    return least


EXAMPLE_DATA: Mapping[str, Mapping[str, Any]] = {
    **{name: _least_data(kind) for name, kind in REGISTRY.items()},
    **_BY_HAND,
}
"""Data of each built-in type; that of the first five as a producer wrote it."""


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

    def __init__(self, start: int = 0) -> None:
        self._count = start

    def __call__(self) -> UUID:
        self._count += 1
        milliseconds = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp() * 1000)
        return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | self._count)
