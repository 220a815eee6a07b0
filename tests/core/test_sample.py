"""Sample events are events."""

import json
from datetime import UTC, datetime

import pytest

from service.core.events.event import Event, parse_event
from service.core.events.registry import REGISTRY
from service.core.events.sample import sample_event

NOW = datetime(2026, 11, 20, 18, 25, 35, 123456, UTC)


@pytest.mark.parametrize("event_type", REGISTRY)
def test_every_sample_of_every_type_is_valid(event_type: str) -> None:
    for number in range(24):
        body = sample_event(event_type, "org_a", event_id=f"evt_{number}", number=number, now=NOW)
        event = parse_event(body, NOW)
        assert isinstance(event, Event), event
        assert (event.id, event.type, event.occurred_at) == (f"evt_{number}", event_type, NOW)
        assert event.body == body  # compact already: what is published is what is sent


def test_samples_of_one_number_tell_of_one_message() -> None:
    bodies = {
        event_type: json.loads(sample_event(event_type, "org_a", event_id="evt_1", number=7, now=NOW))["data"]
        for event_type in REGISTRY
    }
    sent = bodies["message.sent"]["message"]
    assert bodies["message.delivered"]["message"]["id"] == bodies["link.clicked"]["message"]["id"] == sent["id"]
    reply = bodies["message.replied"]
    assert reply["reply_to"]["message_id"] == sent["id"] != reply["message"]["id"]
    assert reply["message"]["from"] == sent["to"]
