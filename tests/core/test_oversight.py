"""What a person should look at first."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from service.core.oversight import (
    BrokerState,
    FailingOrganization,
    Oversight,
    Process,
    QueueState,
    Waiting,
    concerns,
    verdict,
)

AT = datetime(2026, 11, 22, 3, tzinfo=UTC)
WORKER = Process("host-1", "worker", AT, 4, leased_count=2, first_expires_at=AT)
INTAKE, PARKED = QueueState("p.intake", 0, 1), QueueState("p.parked", 0, 0)
WELL = Oversight(AT, [WORKER], Waiting(3, 1.0, 500, 9e6, 0), {"paused": 2}, [], [], BrokerState(INTAKE, PARKED))


def test_nothing_is_said_of_a_service_that_is_well() -> None:
    assert concerns(WELL) == []
    assert concerns(replace(WELL, broker=None, processes=[replace(WORKER, role="all")])) == []
    assert verdict(WELL) == "Nothing needs attention"
    assert verdict(WELL, is_broker_checked=False) == "Nothing wrong found; the broker was not checked"


@pytest.mark.parametrize(
    ("count", "where"), [(1, "1 organization"), (2, "2 organizations"), (20, "at least 20 organizations")]
)
def test_of_a_service_that_works_it_is_said_whose_endpoints_fail(count: int, where: str) -> None:
    failing = replace(WELL, failing=[FailingOrganization(f"org_{number}", 3, AT) for number in range(count)])
    assert verdict(failing) == f"The service works; endpoints are failing in {where}"
    unchecked = verdict(failing, is_broker_checked=False)
    assert unchecked == f"Endpoints are failing in {where}; the broker was not checked"


@pytest.mark.parametrize(
    ("change", "about", "words"),
    [
        ({"processes": []}, "workers", "No worker is connected"),
        ({"processes": [replace(WORKER, role="api")]}, "workers", "No worker is connected"),
        ({"broker": BrokerState(trouble="connection refused")}, "broker", "connection refused"),
        ({"broker": BrokerState(replace(INTAKE, ready_count=None), PARKED)}, "broker", "p.intake does not exist"),
        ({"broker": BrokerState(replace(INTAKE, consumer_count=0), PARKED)}, "broker", "Nobody reads p.intake"),
        ({"broker": BrokerState(INTAKE, replace(PARKED, ready_count=7))}, "parked", "7 messages are parked"),
        ({"waiting": replace(WELL.waiting, oldest_due_age_seconds=61.0)}, "backlog", "up to 61 s"),
        ({"processes": [WORKER, Process("host-2", None, None, leased_count=1)]}, "workers", "1 process is gone"),
        ({"gates": {"disabled": 3}}, "gates", "3 endpoints are disabled"),
    ],
)
def test_each_thing_that_is_wrong_is_said(change: dict[str, object], about: str, words: str) -> None:
    [concern] = concerns(replace(WELL, **change))  # type: ignore[arg-type]
    assert concern.about == about
    assert words in concern.sentence
