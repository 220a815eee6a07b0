"""What bench/limits measures, at a small size: what arrives and what is lost, never how fast."""

from typing import Any

import pytest

from tests.limits.conftest import Measure


def _is_whole(events: dict[str, Any], count: int) -> bool:
    return (events["count"], events["missing"], events["extra"]) == (count, 0, 0)


async def test_beside_a_wide_organization_nobody_is_missing_and_no_time_out_is_made_up(measure: Measure) -> None:
    found = await measure("wide --subscriptions 600 --events 4 --rate 20 --seconds 2 --until-all")
    assert _is_whole(found["neighbour"], 40)
    assert (found["wide_deliveries"], found["wide_duplicates"]) == (2_400, 0)
    assert set(found["attempts_by_reason"]) == {"accepted"}
    assert (found["leases_rescued"], found["late_settlements"]) == (0, 0)


async def test_an_organization_that_changes_all_the_time_gets_its_events_and_others_theirs(measure: Measure) -> None:
    found = await measure("churn --subscriptions 30 --others 4 --rate 20 --seconds 2")
    for run in ("idle", "beside"):
        for whose in ("changed", "others"):
            assert _is_whole(found[run][whose], 40), (run, whose)
    assert found["changes"]["count"] > 0
    assert found["refused_changes"] == 0
    assert set(found["attempts_by_reason"]) == {"accepted"}


async def test_a_directory_of_thousands_is_loaded_and_its_event_arrives(measure: Measure) -> None:
    found = await measure("loading --subscriptions 3000 --rate 20 --seconds 2")
    assert _is_whole(found["idle"], 40)
    assert _is_whole(found["beside"], 40)
    assert found["big_arrived"] == 1


async def test_a_backlog_drains_once_each_and_new_events_do_not_wait_for_it(measure: Measure) -> None:
    found = await measure("backlog --backlog 1500 --endpoints 3 --rate 20 --seconds 2")
    assert (found["drained"], found["extra"]) == (1_500, 0)
    assert _is_whole(found["new_of_others"], 40)
    assert _is_whole(found["new_of_its_own"], 40)


async def test_a_replay_makes_each_once_and_new_events_do_not_wait_for_it(measure: Measure) -> None:
    found = await measure("replay --deliveries 1500 --replay-rate 500 --rate 20 --idle-seconds 1")
    assert (found["job"]["state"], found["job"]["created_count"], found["job"]["skipped"]) == ("done", 1_500, 0)
    assert (found["replayed"], found["extra"], found["made_twice"]) == (1_500, 0, 0)
    assert _is_whole(found["new_of_others"], 60)
    assert _is_whole(found["new_of_its_own"], 60)


async def test_events_of_hundreds_of_organizations_all_arrive(measure: Measure) -> None:
    found = await measure("organizations --organizations 400 --events 800 --rate 40 --seconds 2")
    assert found["full_deliveries"] == 800
    assert _is_whole(found["at_a_rate"], 80)
    assert found["attempts_by_reason"] == {"accepted": 880}


async def test_receivers_that_close_after_each_reply_get_everything_over_tls_too(measure: Measure) -> None:
    found = await measure("handshakes --events 100 --endpoints 4")
    for way in ("plain", "plain_closing", "tls", "tls_closing"):
        assert (found[way]["deliveries"], found[way]["missing"]) == (100, 0), way
    assert found["attempts_by_reason"] == {"accepted": 416}


async def test_memory_is_told_for_each_process_when_everything_has_arrived(measure: Measure) -> None:
    found = await measure("memory --deliveries 800 --fan-out 4 --organizations 10")
    assert found["is_complete"]
    assert found["deliveries"] == 800
    assert {"worker", "receiver", "postgres"} <= set(found["resident_mib"])


async def test_what_dead_workers_held_is_not_held_against_it(measure: Measure) -> None:
    found = await measure("killed --deliveries 40")
    assert found["held_when_interrupted"][0] == 40
    assert (found["ended"], found["dead_that_no_receiver_saw"]) == (40, 0)


async def test_what_a_stopped_worker_held_is_not_held_against_it(measure: Measure) -> None:
    found = await measure("killed --how stop --deliveries 40")
    assert (found["ended"], found["dead_that_no_receiver_saw"]) == (40, 0)


async def test_strangers_who_never_end_a_request_take_nothing_from_deliveries(measure: Measure) -> None:
    found = await measure("strangers --connections 1100 --rate 20 --seconds 2")
    assert _is_whole(found["beside"], 40)
    assert found["connected"] > 1_000  # some may have been closed by then
    assert set(found["ready_answers"]) == {"200"}
    assert set(found["attempts_by_reason"]) == {"accepted"}


async def test_streams_are_told_everything_once_beside_the_load_and_across_restarts(measure: Measure) -> None:
    found = await measure("streams --streams 10 --pairs 1 --events 300")
    told = [found["rounds"][1], found["restarted"], found["killed"]]
    assert [(each["missing"], each["repeated"], each["gaps"]) for each in told] == [(0, 0, 0)] * 3
    assert [each["opened"] for each in told] == [10, 20, 20]
    assert set(found["attempts_by_reason"]) == {"accepted"}


@pytest.mark.parametrize("bad", ["hung", "black", "drip", "slow"])
async def test_healthy_endpoints_wait_for_no_ill_one_to_time_out(measure: Measure, bad: str) -> None:
    """There are more ill requests than may be in flight, and none times out while the healthy events are delivered."""
    found = await measure(
        f"hung --bad {bad} --count 24 --healthy 10 --rate 40 --seconds 2 --in-flight 16 --timeout 200"
    )
    assert _is_whole(found["idle"], 80)
    for beside in (found["beside_as_many_healthy"], found["beside"]):
        assert beside["missing"] == beside["extra"] == 0
    assert set(found["attempts_by_reason"]) == {"accepted"}
    assert (found["ill_arrivals"] > 0) == (bad != "black")


async def test_messages_that_cannot_be_decoded_are_parked_and_the_good_ones_arrive_once_each(measure: Measure) -> None:
    found = await measure("poison --good 60 --rate 60 --copies 1")
    assert _is_whole(found["good"], 60)
    assert (found["redeliveries"], found["troubles"]) == (0, {})
    assert found["left_in_the_queue"] == 0
    assert sum(found["parked_by_reason"].values()) + found["poison_that_arrived"] == found["poison"] == 5


async def test_events_that_are_too_large_are_parked_and_all_others_arrive(measure: Measure) -> None:
    found = await measure("large --huge 2 --huge-bytes 4000000 --large 20 --rate 20 --seconds 2")
    assert _is_whole(found["neighbour"], 40)
    assert found["large_arrived"] == 20
    assert sum(found["parked_by_reason"].values()) == 2
    assert found["left_in_the_queue"] == 0


async def test_days_are_dropped_beside_events_and_nobody_waits_for_a_lock(measure: Measure) -> None:
    found = await measure("retention --days 2 --events 50 --rate 20 --seconds 2")
    assert [_is_whole(found[part], 40) for part in ("idle", "with_a_reader", "without")] == [True] * 3
    assert (found["with_a_reader"]["days_left"], found["without"]["days_left"]) == (2, 0)
