"""The whole road: published to the broker, recorded, signed, posted, verified by the installed helper, settled."""

from collections import Counter
from dataclasses import replace

import pytest

from service.adapters.rabbitmq.publisher import Publication
from tests.contract.raw_producer import HOSTILE, RawProducer
from tests.end_to_end.town import EVENT_TYPES, Town


async def assert_all_is_well(town: Town) -> None:
    await town.all_ended()
    found = await town.judge()
    assert not found.wrong(), found.wrong() + town.told()
    assert not found.duplicates, f"delivered twice: {found.duplicates}"


@pytest.mark.clock
async def test_every_type_arrives_signed_once_and_is_on_record(town: Town) -> None:
    assert not town.receiver.about["sees_the_service"]
    assert "site-packages" in town.receiver.about["helper"]
    for number, event_type in enumerate(EVENT_TYPES):
        await town.add_endpoint(f"/ok/only-{number}", event_type)
    await town.add_endpoint("/ok/all")
    await town.add_endpoint("/slow/all")
    await town.start_worker()
    count = 20 * len(EVENT_TYPES)
    await town.publish_numbers(range(count))
    await assert_all_is_well(town)
    arrived = Counter(line.path for line in town.ledger.lines())
    assert arrived == {"/ok/all": count, "/slow/all": count} | {f"/ok/only-{n}": 20 for n in range(len(EVENT_TYPES))}
    assert {line.attempt for line in town.ledger.lines()} == {"1"}


async def test_what_fails_twice_arrives_the_third_time(town: Town) -> None:
    await town.add_endpoint("/fail-twice/all")
    await town.add_endpoint("/ok/all")
    await town.start_worker()
    await town.publish_numbers(range(60))
    await assert_all_is_well(town)
    attempts = Counter(line.attempt for line in town.ledger.lines() if line.path == "/fail-twice/all")
    assert attempts == {"1": 60, "2": 60, "3": 60}


async def test_gone_ends_the_subscription_and_nobody_elses(town: Town) -> None:
    await town.add_endpoint("/gone/sent", "message.sent")
    await town.add_endpoint("/ok/all")
    await town.start_worker()
    await town.publish([town.event(0, "message.sent")])
    await town.all_ended()
    del town.endpoints["/gone/sent"]  # it said 410: what is published from now on is not for it
    await town.publish([town.event(number, "message.sent") for number in range(1, 50)])
    await assert_all_is_well(town)
    assert [line.status for line in town.ledger.lines() if line.path == "/gone/sent"] == [410]


async def test_poison_is_parked_with_its_reason_and_stops_nothing(town: Town) -> None:
    await town.add_endpoint("/ok/all")
    await town.start_worker()
    good = town.event(0, "message.sent")
    poison = {
        "bad_json": replace(good, body=b"{not json", message_id="evt_bad"),
        "not_an_object": replace(good, body=b"[]", message_id="evt_array"),
        "invalid_utf8": replace(good, body=b"\xff" + good.body, message_id="evt_utf8"),
        "unknown_type": replace(good, body=good.body.replace(b"message.sent", b"message.lost", 1)),
        "unknown_organization": replace(good, body=good.body.replace(b"org_town", b"org_none", 1)),
        "conflict": replace(good, body=good.body.replace(b'"test":false', b'"test":true')),
    }
    await town.publish([good])
    await town.all_ended()
    await town.publisher.publish_many(poison.values())
    await town.publish_numbers(range(1, 20))
    await assert_all_is_well(town)
    parked = {}
    for message in await town.parked(len(poison)):
        headers = message.header.properties.headers
        assert headers is not None
        parked[str(headers["x-posthorn-reason"])] = message.body
    assert parked == {reason: event.body for reason, event in poison.items()}


async def test_what_no_library_writes_is_parked_and_every_neighbour_is_delivered(town: Town) -> None:
    await town.add_endpoint("/ok/all")
    await town.start_worker()
    async with RawProducer(town.amqp_url) as producer:
        for number, (routing_key, written) in enumerate(HOSTILE.values()):
            await town.publish_numbers(range(number * 30, number * 30 + 30))
            assert await producer.publish(town.topology.events_exchange, routing_key, written, b"hostile") is None
    await town.publisher.publish(Publication(bytes(15_000_000), "message.sent", "evt_large"))
    await town.publish_numbers(range(30 * len(HOSTILE), 300))
    await assert_all_is_well(town)
    parked = Counter(
        str(headers.get("x-posthorn-reason", headers.get("x-first-death-reason")))
        for message in await town.parked(len(HOSTILE) + 1)
        if (headers := message.header.properties.headers) is not None
    )
    assert parked == {"bad_properties": len(HOSTILE), "rejected": 1}
    said = town.told()
    assert said.count('"message.parked"') == len(HOSTILE) + 1
    assert '"trouble"' not in said


async def test_an_endpoint_added_just_before_publishing_gets_the_event_from_every_worker(town: Town) -> None:
    await town.add_endpoint("/ok/old")
    workers = [await town.start_worker(POSTHORN_PREFETCH="5") for _ in range(2)]
    await town.publish_numbers(range(40))  # now every worker knows the organization
    await town.all_ended()
    before = [await worker.metric("posthorn_events_received_total") for worker in workers]
    assert all(before), f"a worker had nothing to do: {before}"
    for number in range(5):
        await town.add_endpoint(f"/ok/new-{number}")
        await town.publish_numbers(range(40 + 20 * number, 60 + 20 * number))
    await assert_all_is_well(town)
    after = [await worker.metric("posthorn_events_received_total") for worker in workers]
    assert all(now > then for now, then in zip(after, before, strict=True)), (before, after)


async def test_an_event_published_twice_is_delivered_once(town: Town) -> None:
    await town.add_endpoint("/ok/all")
    for _ in range(2):
        await town.start_worker(POSTHORN_PREFETCH="5")
    events = [town.event(number) for number in range(60)]
    await town.publish([*events, *events])
    await town.publish(events)
    await assert_all_is_well(town)
    assert len(town.ledger.lines()) == 60


async def test_told_to_stop_a_worker_finishes_what_it_began_and_holds_nothing(town: Town) -> None:
    await town.add_endpoint("/slow/all")
    first = await town.start_worker()
    await town.publish_numbers(range(150))
    await town.requests_came(30)
    first.terminate()
    assert await first.ended() == 0, first.said()
    assert await town.leased_count() == 0
    assert len(town.ledger.lines()) < 150, "it drained too late to show anything"
    await town.start_worker()
    await assert_all_is_well(town)
    assert {line.attempt for line in town.ledger.lines()} == {"1"}, "an attempt was counted that was not made"
