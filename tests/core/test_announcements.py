"""What is announced of the end of an attempt, and as which event."""

import json
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from service.core.deliveries.announcements import delivery_dead, endpoint_gone
from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.delivery import Delivery, DeliveryKey
from service.core.deliveries.effect import Announce, EndSubscription
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Settled, conclude, conclude_loss
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule
from service.core.endpoints.subscription import covers, patterns_covering
from service.core.events.event import EVENT_ID, Event, parse_event
from service.core.events.registry import BUILT_IN, REGISTRY, is_subscribable
from service.core.events.schema import envelope_schema
from service.core.events.types.operational import OPERATIONAL, is_operational
from service.core.reason import Reason
from tests.fakes.clock import START

DELIVERY = Delivery(DeliveryKey(UUID(int=7 << 76 | 2 << 62), 7), "org_1", "evt_1", "message.sent", b"{}", "ep_1", START)
LAST = RetrySchedule(attempts_max=1)
ENDED_AT = START + timedelta(seconds=2)


def _announced(settled: Settled) -> list[Event]:
    announced = [effect.event for effect in settled.effects if isinstance(effect, Announce)]
    ended = [effect.announced for effect in settled.effects if isinstance(effect, EndSubscription)]
    return [*announced, *(each for each in ended if each is not None)]


def _ended(delivery: Delivery, reply: Reply | Fault, schedule: RetrySchedule = LAST) -> list[Event]:
    started = AttemptStarted(delivery, 3, "https://a.example/", START)
    return _announced(conclude(started, reply, schedule, ENDED_AT, 0.0))


@dataclass(frozen=True)
class Row:
    """A way in which an attempt ends, and the event type that is announced."""

    reply: Reply | Fault
    schedule: RetrySchedule
    announced: str | None


ROWS = {
    "accepted": Row(Reply(200, 1), LAST, None),
    "tried again": Row(Reply(500, 1), STANDARD, None),
    "our fault": Row(Fault(Reason.INTERNAL, 0), LAST, None),
    "attempts exhausted": Row(Reply(500, 1), LAST, "delivery.dead"),
    "no answer": Row(Fault(Reason.TIMEOUT, 1), LAST, "delivery.dead"),
    "gone": Row(Reply(410, 1), STANDARD, "endpoint.gone"),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_the_end_of_an_attempt_is_announced(row: Row) -> None:
    told = _ended(DELIVERY, row.reply, row.schedule)
    assert [each.type for each in told] == ([row.announced] if row.announced else [])


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
@pytest.mark.parametrize("event_type", OPERATIONAL)
def test_nothing_is_announced_of_the_deliveries_of_announcements(row: Row, event_type: str) -> None:
    assert _ended(replace(DELIVERY, event_type=event_type), row.reply, row.schedule) == []


def test_a_delivery_that_crashes_workers_is_announced() -> None:
    suspect = replace(DELIVERY, lost_in_a_row=3, attempts_made=2)
    (told,) = _announced(conclude_loss(AttemptStarted(suspect, 5, None, START), STANDARD, 0.0, has_begun=True))
    dead = json.loads(told.body)["data"]["delivery"]
    assert (dead["reason"], dead["attempts_made"], dead["last_status"]) == ("crashes_worker", 3, None)


def test_a_dead_delivery_is_told_as_the_api_tells_it() -> None:
    (told,) = _ended(replace(DELIVERY, attempts_made=0), Reply(503, 1))
    envelope = json.loads(told.body)
    assert envelope == {
        "id": told.id,
        "type": "delivery.dead",
        "timestamp": "2026-11-20T18:00:02.000000Z",
        "organization_id": "org_1",
        "test": False,
        "data": {
            "endpoint": {"id": "ep_1"},
            "delivery": {
                "id": str(DELIVERY.key),
                "event_id": "evt_1",
                "event_type": "message.sent",
                "subscription_id": 7,
                "reason": "attempts_exhausted",
                "attempts_made": 1,
                "last_status": 503,
                "created_at": "2026-11-20T18:00:00.000000Z",
            },
        },
    }


@pytest.mark.parametrize(
    "told",
    [delivery_dead(DELIVERY, Reason.AGE_EXCEEDED, 500, START), endpoint_gone(DELIVERY, START)],
    ids=["delivery.dead", "endpoint.gone"],
)
def test_an_announcement_is_an_event_as_its_schema_describes_it(told: Event | None) -> None:
    assert told is not None
    Draft202012Validator(envelope_schema(told.type)).validate(json.loads(told.body))
    parsed = parse_event(told.body, START)
    assert parsed == told
    assert EVENT_ID.fullmatch(told.id)


def test_the_same_fact_is_the_same_event_and_another_fact_another() -> None:
    told = {
        each: delivery_dead(replace(DELIVERY, key=each), Reason.AGE_EXCEEDED, None, START)
        for each in (DELIVERY.key, replace(DELIVERY.key, subscription_id=8), replace(DELIVERY.key, replay_number=1))
    }
    ids = {each.id for each in told.values() if each is not None}
    assert len(ids) == len(told)
    assert delivery_dead(DELIVERY, Reason.AGE_EXCEEDED, None, START) == told[DELIVERY.key]
    later = delivery_dead(DELIVERY, Reason.AGE_EXCEEDED, None, ENDED_AT)
    assert later is not None
    assert later.id in ids


# --------------------------------------------------------------------------- who asks for them


@pytest.mark.parametrize("name", OPERATIONAL)
def test_an_operational_type_is_asked_for_by_name_or_prefix_and_never_by_chance(name: str) -> None:
    prefix = f"{name.partition('.')[0]}.*"
    assert patterns_covering(name) == (name, prefix)
    assert [covers(each, name) for each in (name, prefix, "*")] == [True, True, False]
    assert is_subscribable(name, ())
    assert is_subscribable(prefix, ())


def test_operational_types_are_those_that_nobody_else_publishes() -> None:
    assert [name for name in BUILT_IN if is_operational(name)] == list(OPERATIONAL)
    assert not REGISTRY.keys() & OPERATIONAL.keys()
    assert all(covers("*", name) for name in REGISTRY)
