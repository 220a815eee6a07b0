"""From the broker to COMMIT to the ack: nothing is acked that is not recorded or parked."""

import asyncio
from datetime import timedelta

import pytest

from service.core.deliveries.fairness.lanes import LaneLimits
from service.core.events.event import Event, Rejected
from service.core.reason import ParkReason
from service.core.timestamp import format_timestamp
from service.flow.intake.costly import Costly
from service.ports.errors import UnavailableError
from service.ports.store import Disposition
from tests.fakes.clock import START, ManualClock
from tests.fakes.delivery_store import AFTER_COMMIT
from tests.fakes.events import body_of, event_of
from tests.flow.worker import Worker


async def test_what_is_recorded_is_acked_and_sent() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        worker.source.publish(body_of())
        worker.start_settle()
        worker.start_intake()
        await worker.source.until_acked(1)
        await worker.observer.until(lambda seen: seen.settled)
        assert worker.observer.received == [("memory", "recorded")]
        assert worker.observer.recorded == [(1, 1)]
        assert worker.states() == ["delivered"]
        assert worker.sender.requests[0].body == worker.database.events["org_1", "evt_1"].event.body


async def test_nothing_is_acked_while_the_database_is_away_and_nothing_is_dropped() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a")
        worker.store.fail("record", *[UnavailableError("away")] * 8)
        for number in range(3):
            worker.source.publish(body_of(id=f"evt_{number}"))
        worker.start_intake()
        for count in range(1, 9):
            await worker.clock.until_pauses(count)
            assert worker.source.acked == []
            worker.clock.advance(10)
        await worker.source.until_acked(3)
        assert worker.states() == ["pending"] * 3
        assert worker.clock.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
        assert [where for where, _, _ in worker.observer.troubles] == ["intake"] * 8


async def test_a_commit_whose_answer_was_lost_is_no_second_event() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        worker.store.fail("record", UnavailableError("cut off"), when=AFTER_COMMIT)
        worker.source.publish(body_of())
        worker.start_intake()
        await worker.clock.until_pauses(1)
        assert worker.states() == ["leased"]
        assert worker.lanes.held == 0, "the lease is in doubt: the place was given back"
        worker.clock.advance(1)
        await worker.source.until_acked(1)
        assert worker.observer.received == [("memory", "duplicate")]
        assert len(worker.database.deliveries) == 1
        assert worker.sender.requests == []
        worker.clock.advance(61)
        worker.start_settle()
        assert await worker.upkeep.rescue_once() == 1


async def test_dying_between_commit_and_ack_records_nothing_twice() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a")
        worker.source.publish(body_of())
        batch = await worker.source.next_batch(10)
        carried, costly = await worker.intake._read(worker.source, batch), Costly(worker.intake.turns)
        await worker.intake._take_in_messages(worker.source, carried, costly.judge_at_once, costly)
        worker.source.lose_channel()
        worker.start_intake()
        await worker.source.until_acked(1)
        assert worker.observer.redelivered_count == 1
        assert worker.observer.received == [("memory", "recorded"), ("memory", "duplicate")]
        assert len(worker.database.deliveries) == 1


async def test_poison_is_parked_once_with_its_reason_and_the_rest_goes_through() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a")
        worker.source.publish(b"{not json", message_id="m-1")
        worker.source.publish(body_of())
        worker.source.publish(body_of(id="a.b"))
        worker.start_intake()
        await worker.source.until_acked(3)
        assert [(m.body[:5], reason) for m, reason, _ in worker.source.parked] == [
            (b"{not ", ParkReason.BAD_JSON),
            (body_of()[:5], ParkReason.BAD_FIELD),
        ]
        assert worker.source.parked[1][2].startswith("id: ")
        assert [parked[0] for parked in worker.observer.parked] == [ParkReason.BAD_JSON, ParkReason.BAD_FIELD]
        assert worker.observer.parked[0][2] == "m-1"
        assert worker.states() == ["pending"]
        assert sorted(worker.observer.received) == [("memory", "parked")] * 2 + [("memory", "recorded")]


async def test_an_event_is_from_the_future_only_if_the_database_says_so_too() -> None:
    async with Worker(delivers=False) as worker:
        theirs = worker.database.clock = ManualClock(START + timedelta(hours=1))  # ours is an hour behind
        for number, ahead in enumerate([0, 0, 3600, 3600]):
            at = format_timestamp(theirs.now() + timedelta(seconds=ahead))
            worker.source.publish(body_of(id=f"evt_{number}", timestamp=at))
        worker.start_intake()
        await worker.source.until_acked(4)
        parked = [(message.body[8:13], reason) for message, reason, _ in worker.source.parked]
        assert parked == [(f"evt_{n}".encode(), ParkReason.TIMESTAMP_IN_FUTURE) for n in (2, 3)]
        assert sorted(event_id for _, event_id in worker.database.events) == ["evt_0", "evt_1"]
        assert [verb for verb, _ in worker.store.calls].count("now") == 1


async def test_nothing_is_parked_for_its_timestamp_while_the_database_cannot_be_asked() -> None:
    async with Worker(delivers=False) as worker:
        worker.store.fail("now", UnavailableError("away"))
        worker.source.publish(body_of(timestamp=format_timestamp(START + timedelta(hours=1))))
        worker.start_intake()
        await worker.clock.until_pauses(1)
        assert worker.source.parked == []
        worker.clock.advance(1)
        await worker.source.until_acked(1)
        assert [reason for _, reason, _ in worker.source.parked] == [ParkReason.TIMESTAMP_IN_FUTURE]


async def test_what_the_source_cannot_read_is_parked_unread() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a")
        worker.source.publish(body_of(), fault=Rejected(ParkReason.BAD_PROPERTIES, "message_id is not UTF-8"))
        worker.source.publish(body_of())
        worker.start_intake()
        await worker.source.until_acked(2)
        [(message, reason, detail)] = worker.source.parked
        assert (message.body, reason, detail) == (body_of(), ParkReason.BAD_PROPERTIES, "message_id is not UTF-8")
        assert sorted(worker.observer.received) == [("memory", "parked"), ("memory", "recorded")]


async def test_an_unknown_organization_is_parked_but_one_made_meanwhile_is_known_at_once() -> None:
    async with Worker(delivers=False) as worker:
        worker.source.publish(body_of(organization_id="org_new"))
        worker.start_intake()
        await worker.source.until_acked(1)
        (parked,) = worker.source.parked
        assert parked[1] is ParkReason.UNKNOWN_ORGANIZATION
        await worker.administration.create_organization("org_new")
        worker.source.publish(body_of(organization_id="org_new"))
        await worker.source.until_acked(2)
        assert len(worker.source.parked) == 1


async def test_a_subscription_made_before_the_publish_gets_the_event() -> None:
    async with Worker(delivers=False) as worker:
        await worker.intake.take_in([event_of(id="evt_0")], "test")
        await worker.endpoint("a")  # the directory in memory knows nothing of it
        await worker.intake.take_in([event_of(id="evt_1")], "test")
        assert [row.delivery.event_id for row in worker.database.deliveries.values()] == ["evt_1"]
        assert len(worker.subscriptions.loads) == 2


async def test_a_stale_directory_gives_the_reserved_places_back() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        await worker.intake.take_in([], "test")
        await worker.directory.of(["org_1"])
        await worker.endpoint("b")
        worker.sender.hang("https://a.example/")
        worker.sender.hang("https://b.example/")
        await worker.intake.take_in([event_of()], "test")
        await worker.sender.until_sent(2)
        assert worker.lanes.held == 2


async def test_an_organization_removed_under_our_hands_is_parked() -> None:
    async with Worker(delivers=False) as worker:
        await worker.directory.of(["org_1"])
        del worker.database.versions["org_1"]
        (outcome,) = await worker.intake.take_in([event_of()], "test")
        assert not isinstance(outcome, Disposition)
        assert outcome.reason is ParkReason.UNKNOWN_ORGANIZATION


async def test_events_of_known_organizations_do_not_wait_for_the_directory_of_an_unknown_one() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a")
        await worker.directory.of(["org_1"])
        await worker.administration.create_organization("org_new")
        worker.subscriptions.may_load.clear()
        worker.source.publish(body_of(id="evt_1", organization_id="org_new"))
        worker.source.publish(body_of(id="evt_2"))
        worker.start_intake()
        await worker.source.until_acked(1)
        worker.source.publish(body_of(id="evt_3"))
        await worker.source.until_acked(2)
        assert [event_id for _, event_id in worker.database.events] == ["evt_2", "evt_3"]
        assert [b"evt_1" in message.body for message in worker.source.unacked] == [True]
        worker.subscriptions.may_load.set()
        await worker.source.until_acked(3)
        assert ("org_new", "evt_1") in worker.database.events


async def test_events_of_unknown_organizations_are_read_for_together() -> None:
    """One read for all that came while the last one ran."""
    names = [f"org_{number}" for number in range(2, 12)]
    async with Worker(delivers=False) as worker:
        for name in names:
            await worker.administration.create_organization(name)
        worker.subscriptions.may_load.clear()
        worker.source.publish(body_of(organization_id=names[0]))
        worker.start_intake()
        await worker.subscriptions.load_began.wait()
        for name in names[1:]:
            worker.source.publish(body_of(organization_id=name))
        worker.source.publish(b"{not json")
        await worker.source.until_acked(1)  # what was behind them
        worker.subscriptions.may_load.set()
        await worker.source.until_acked(len(names) + 1)
        assert worker.subscriptions.loads == [{names[0]}, set(names[1:])]


async def test_an_organizations_events_are_recorded_in_their_order_while_it_is_read() -> None:
    async with Worker(delivers=False) as worker:
        worker.subscriptions.may_load.clear()
        worker.source.publish(body_of(id="evt_z"))
        worker.start_intake()
        await worker.subscriptions.load_began.wait()
        worker.store.fail("record", UnavailableError("away"))
        worker.subscriptions.may_load.set()
        await worker.clock.until_pauses(1)  # the directory is known by now
        worker.source.publish(body_of(id="evt_a"))
        worker.source.publish(b"{not json")
        await worker.source.until_acked(1)
        worker.clock.advance(1)
        await worker.source.until_acked(3)
        assert [event_id for _, event_id in worker.database.events] == ["evt_z", "evt_a"]


async def test_what_waits_for_a_directory_is_bounded() -> None:
    async with Worker(delivers=False, batch_max=2) as worker:
        worker.subscriptions.may_load.clear()
        for number in range(5):
            worker.source.publish(body_of(id=f"evt_{number}"))
        worker.start_intake()
        await worker.subscriptions.load_began.wait()
        assert len(worker.source.ready) == 3, "the broker is the buffer"
        worker.subscriptions.may_load.set()
        await worker.source.until_acked(5)


async def test_intake_that_stops_takes_in_first_what_waits_for_a_directory() -> None:
    async with Worker(delivers=False) as worker:
        worker.subscriptions.may_load.clear()
        worker.source.publish(body_of())
        taking_in = asyncio.create_task(worker.intake.run(worker.source))
        await worker.subscriptions.load_began.wait()
        await worker.source.stop()
        worker.subscriptions.may_load.set()
        await taking_in
        assert len(worker.source.acked) == 1
        assert worker.states() == []
        assert len(worker.database.events) == 1


async def test_a_fault_while_a_directory_is_read_ends_the_intake() -> None:
    """It is a bug, so the worker ends; the broker sends again what was not acked."""
    async with Worker(delivers=False) as worker:
        worker.store.fail("record", ZeroDivisionError())
        worker.source.publish(body_of())
        with pytest.raises(ZeroDivisionError):
            await worker.intake.run(worker.source)
        assert worker.source.acked == []


async def test_a_second_event_with_the_same_id_is_parked_as_a_conflict() -> None:
    async with Worker(delivers=False) as worker:
        for extra in ("first", "first", "second"):
            worker.source.publish(body_of(extra=extra))
        worker.start_intake()
        await worker.source.until_acked(3)
        assert [reason for _, reason, _ in worker.source.parked] == [ParkReason.CONFLICT]
        assert b"first" in worker.database.events["org_1", "evt_1"].event.body
        worker.source.publish(body_of(extra="second"))
        await worker.source.until_acked(4)
        assert [reason for _, reason, _ in worker.source.parked] == [ParkReason.CONFLICT] * 2


async def test_outcomes_come_in_the_order_of_the_events() -> None:
    async with Worker(delivers=False) as worker:
        events = [event_of(id="evt_z"), event_of(id="evt_a", organization_id="org_no"), event_of(id="evt_a")]
        events += [event_of(id="evt_z"), event_of(id="evt_z", extra=1)]
        outcomes = await worker.intake.take_in(events, "test")
        kinds = [each if isinstance(each, Disposition) else each.reason for each in outcomes]
        assert kinds == [
            Disposition.RECORDED,
            ParkReason.UNKNOWN_ORGANIZATION,
            Disposition.RECORDED,
            Disposition.DUPLICATE,
            ParkReason.CONFLICT,
        ]


@pytest.mark.parametrize("culprit", range(7))
async def test_the_one_event_the_database_refuses_is_found_and_parked(culprit: int) -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        worker.store.refuses_event = lambda event: event.id == f"evt_{culprit}"
        worker.sender.hang("https://a.example/")
        events = [event_of(id=f"evt_{number}") for number in range(7)]
        outcomes = await worker.intake.take_in(events, "test")
        refused = outcomes[culprit]
        assert not isinstance(refused, Disposition)
        assert refused.reason is ParkReason.UNRECORDABLE
        assert [each for each in outcomes if each is not refused] == [Disposition.RECORDED] * 6
        assert worker.lanes.held == 6
        assert worker.observer.troubles[0][2] == {"event_id": f"evt_{culprit}"}


async def test_a_copy_of_a_refused_event_in_the_same_batch_is_not_a_duplicate() -> None:
    """Only what is recorded may be acked as known."""
    async with Worker(delivers=False) as worker:
        worker.store.refuses_event = lambda event: True
        outcomes = await worker.intake.take_in([event_of(), event_of()], "test")
        assert not any(isinstance(outcome, Disposition) for outcome in outcomes)


async def test_a_full_lane_spills_into_the_database_and_holds_up_no_other() -> None:
    async with Worker(limits=LaneLimits(lane_held_max=3, lane_in_flight_max=2)) as worker:
        await worker.endpoint("hung")
        await worker.endpoint("well")
        hung = worker.sender.hang("https://hung.example/")
        worker.start_settle()
        await worker.intake.take_in([event_of(id=f"evt_{n}") for n in range(3)], "test")
        await worker.observer.until(lambda seen: len(seen.settled) == 3)
        await worker.intake.take_in([event_of(id=f"evt_{n}") for n in range(3, 6)], "test")
        await worker.observer.until(lambda seen: len(seen.settled) == 6)
        states = {row.delivery.key: row.state.value for row in worker.database.deliveries.values()}
        assert sorted(states.values()) == ["delivered"] * 6 + ["leased"] * 3 + ["pending"] * 3
        hung.set()


async def test_a_full_worker_stops_consuming() -> None:
    async with Worker(limits=LaneLimits(held_max=2)) as worker:
        await worker.endpoint("a")
        hung = worker.sender.hang("https://a.example/")
        worker.start_settle()
        worker.start_intake()
        for number in range(2):
            worker.source.publish(body_of(id=f"evt_{number}"))
        await worker.source.until_acked(2)
        worker.source.publish(body_of(id="evt_2"))
        await worker.sender.until_sent(2)
        assert len(worker.source.ready) == 1, "the broker is the buffer"
        hung.set()
        await worker.source.until_acked(3)


async def test_nothing_is_born_leased_for_a_paused_endpoint() -> None:
    async with Worker() as worker:
        endpoint_id = await worker.endpoint("a")
        await worker.administration.pause_endpoint("org_1", endpoint_id, True)  # noqa: FBT003
        await worker.intake.take_in([event_of()], "test")
        assert worker.states() == ["pending"]
        assert worker.lanes.held == 0


async def test_a_cancelled_intake_gives_its_places_back() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        worker.store.fail("record", asyncio.CancelledError())
        with pytest.raises(asyncio.CancelledError):
            await worker.intake.take_in([event_of()], "test")
        assert worker.lanes.held == 0


async def test_a_conflict_with_the_record_is_no_conflict_for_a_true_copy_behind_it() -> None:
    async with Worker(delivers=False) as worker:
        await worker.intake.take_in([event_of()], "test")
        conflicting, copy = await worker.intake.take_in([event_of(extra=1), event_of()], "test")
        assert not isinstance(conflicting, Disposition)
        assert copy is Disposition.DUPLICATE


async def test_a_good_event_behind_a_refused_one_with_its_id_goes_through() -> None:
    async with Worker(delivers=False) as worker:
        worker.store.refuses_event = lambda event: b"bad" in event.body
        refused, recorded = await worker.intake.take_in([event_of(extra="bad"), event_of()], "test")
        assert not isinstance(refused, Disposition)
        assert recorded is Disposition.RECORDED


async def test_the_batch_keeps_to_its_limit() -> None:
    async with Worker(delivers=False, batch_max=4) as worker:
        for number in range(10):
            worker.source.publish(body_of(id=f"evt_{number}"))
        worker.start_intake()
        await worker.source.until_acked(10)
        assert [count for verb, count in worker.store.calls if verb == "record"] == [4, 4, 2]


async def test_intake_ends_when_the_source_stops() -> None:
    async with Worker() as worker:
        await worker.source.stop()
        await worker.intake.run(worker.source)


async def test_the_timestamp_of_an_event_may_lie_in_the_past() -> None:
    async with Worker(delivers=False) as worker:
        old = event_of(timestamp="2020-01-01T00:00:00Z")
        assert isinstance(old, Event)
        assert await worker.intake.take_in([old], "test") == [Disposition.RECORDED]
