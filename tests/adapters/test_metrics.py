"""The metrics: each call on the observer is seen in what Prometheus reads, under a closed set of labels."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.adapters.observers.all import Observers
from service.adapters.observers.logs import LogObserver
from service.adapters.observers.metrics import MetricsObserver
from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.request import Fault
from service.core.endpoints.target_policy import Verdict
from service.core.reason import ParkReason, Reason
from service.ports.errors import UnavailableError
from service.ports.observer import (
    AddressBlocked,
    AgesMeasured,
    AttemptSettled,
    BacklogMeasured,
    BatchRecorded,
    BatchSettled,
    DaysMade,
    DeliveriesCounted,
    DeliveriesExpired,
    EventTaken,
    Happening,
    KeysMeasured,
    LeasesRescued,
    LoadMeasured,
    MessageParked,
    MessageRedelivered,
    Observer,
    Trouble,
)
from service.ports.retention import Ages, Expired
from service.ports.store import Backlog, Disposition
from tests.adapters.settled import ACCEPTED, BURIED, CANCELLED, CREATED_AT, FAILED, GONE, delivery, settled


@pytest.fixture
def metrics() -> MetricsObserver:
    return MetricsObserver()


def value(metrics: MetricsObserver, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"posthorn_{name}", labels)


def tell(metrics: MetricsObserver, happening: Happening) -> None:
    Observers(metrics).tell(happening)


def test_intake_is_counted(metrics: MetricsObserver) -> None:
    for disposition in (Disposition.RECORDED, Disposition.RECORDED, Disposition.DUPLICATE):
        tell(metrics, EventTaken("rabbitmq", disposition))
    tell(metrics, MessageParked("rabbitmq", ParkReason.BAD_JSON, "not JSON", None))
    tell(metrics, MessageRedelivered("rabbitmq"))
    tell(metrics, BatchRecorded(3, 7, 0.02))
    assert value(metrics, "events_received_total", source="rabbitmq", outcome="recorded") == 2
    assert value(metrics, "events_received_total", source="rabbitmq", outcome="parked") == 1
    assert value(metrics, "events_duplicate_total") == 1
    assert value(metrics, "events_parked_total", reason="bad_json") == 1
    assert value(metrics, "broker_redeliveries_total") == 1
    assert value(metrics, "deliveries_recorded_total") == 7
    assert value(metrics, "intake_batch_size_sum") == 3
    assert value(metrics, "commit_duration_seconds_count", kind="intake") == 1


def test_attempts_and_ends_are_counted(metrics: MetricsObserver) -> None:
    for each in (ACCEPTED, ACCEPTED, FAILED, BURIED, GONE, CANCELLED, settled(Fault(Reason.DNS, 3))):
        tell(metrics, AttemptSettled(each, has_moved=True))
    tell(metrics, AttemptSettled(BURIED, has_moved=False))
    assert value(metrics, "attempts_total", outcome="accepted", reason="none") == 2
    assert value(metrics, "attempts_total", outcome="failed", reason="http_status") == 3
    assert value(metrics, "attempts_total", outcome="failed", reason="dns") == 1
    assert value(metrics, "attempts_total", outcome="gone", reason="gone") == 1
    assert value(metrics, "deliveries_finished_total", state="delivered", reason="none") == 2
    assert value(metrics, "deliveries_finished_total", state="dead", reason="attempts_exhausted") == 1
    assert value(metrics, "deliveries_finished_total", state="cancelled", reason="gone") == 1
    assert value(metrics, "deliveries_finished_total", state="cancelled", reason="subscription_deleted") == 1
    assert value(metrics, "late_settlements_total") == 1
    assert (
        value(metrics, "delivery_latency_seconds_sum") == 5.0
    )  # twice two seconds of waiting and half a one of sending
    assert value(metrics, "attempt_duration_seconds_count") == 7


def test_settling_rescue_and_trouble_are_counted(metrics: MetricsObserver) -> None:
    tell(metrics, BatchSettled(5, 0.1))
    tell(metrics, LeasesRescued(4))
    tell(metrics, Trouble("claim", UnavailableError("away"), {"delivery_id": "dlv_1"}))
    tell(metrics, AddressBlocked("a.example", "127.0.0.1 port 443", Verdict.DENIED_PORT))
    assert value(metrics, "settle_batch_size_sum") == 5
    assert value(metrics, "commit_duration_seconds_sum", kind="settle") == pytest.approx(0.1)
    assert value(metrics, "leases_rescued_total") == 4
    assert value(metrics, "troubles_total", where="claim") == 1
    assert value(metrics, "egress_blocked_total", reason="denied_port") == 1


def test_gauges_follow_and_forget(metrics: MetricsObserver) -> None:
    tell(metrics, LoadMeasured(3, 9, {"moving": 2, "slow": 1}))
    tell(metrics, LoadMeasured(1, 2, {"moving": 1}))
    tell(metrics, BacklogMeasured(Backlog(10, 2.5, 4, 60.0, {"paused": 2})))
    tell(metrics, BacklogMeasured(Backlog(9, 1.5, 0, 0.0, {})))
    metrics.broker_connected(connected=True)
    assert (value(metrics, "in_flight"), value(metrics, "leases_held")) == (1, 2)
    assert (value(metrics, "lanes", state="moving"), value(metrics, "lanes", state="slow")) == (1, 0)
    assert (value(metrics, "due_backlog"), value(metrics, "oldest_due_age_seconds")) == (9, 1.5)
    assert (value(metrics, "gated_backlog"), value(metrics, "oldest_gated_age_seconds")) == (0, 0)
    assert value(metrics, "gates", kind="paused") == 0
    assert value(metrics, "broker_connected") == 1


def test_the_page_is_small_and_names_no_one(metrics: MetricsObserver) -> None:
    for each in (ACCEPTED, FAILED, BURIED, GONE, CANCELLED):
        tell(metrics, AttemptSettled(each, has_moved=True))
    page, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    samples = [line for line in page.decode().splitlines() if not line.startswith("#")]
    assert len(samples) < 250
    assert not [line for line in samples if "_created" in line]
    assert not any(name in page for name in (b"ep_1", b"org_a", b"evt_1"))


def test_several_observers_are_told_alike(metrics: MetricsObserver) -> None:
    second = MetricsObserver()
    both: Observer = Observers(metrics, second, LogObserver())
    both.tell(EventTaken("http", Disposition.RECORDED))
    both.tell(MessageParked("rabbitmq", ParkReason.BAD_JSON, "", None))
    both.tell(MessageRedelivered("rabbitmq"))
    both.tell(BatchRecorded(1, 1, 0.1))
    both.tell(AttemptStarted(delivery(), 1, None, CREATED_AT))  # nobody hears of it yet
    both.tell(AttemptSettled(ACCEPTED, has_moved=True))
    both.tell(BatchSettled(1, 0.1))
    both.tell(LeasesRescued(1))
    both.tell(BacklogMeasured(Backlog(5)))
    both.tell(LoadMeasured(1, 1, {}))
    both.tell(Trouble("settle", UnavailableError()))
    assert _without_process(metrics) == _without_process(second)
    assert value(second, "due_backlog") == 5
    assert value(second, "troubles_total", where="settle") == 1


def _without_process(metrics: MetricsObserver) -> list[str]:
    return [line for line in metrics.render()[0].decode().splitlines() if line.startswith("posthorn_")]


PROGRAM = """
import os, sys
from service.adapters.observers.all import Observers
from service.adapters.observers.exposition import process_ended
from service.adapters.observers.metrics import MetricsObserver
from service.ports.observer import EventTaken, LoadMeasured
from service.ports.store import Disposition
metrics = MetricsObserver()
observer = Observers(metrics)
observer.tell(EventTaken("http", Disposition.RECORDED))
observer.tell(LoadMeasured(2, 2, {}))
metrics.broker_connected(sys.argv[1] == "1")
if sys.argv[2:]:
    before = metrics.render()[0].decode()
    process_ended(int(sys.argv[2]))
    print(before, "=====", metrics.render()[0].decode(), sep="\\n")
else:
    print(os.getpid())
"""


def test_processes_share_one_page(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout

    first_pid = run("0").strip()
    before, after = run("1", first_pid).split("=====")
    assert 'posthorn_events_received_total{outcome="recorded",source="http"} 2.0' in before
    assert "posthorn_in_flight 4.0" in before
    assert "posthorn_broker_connected 0.0" in before
    assert "posthorn_in_flight 2.0" in after  # the ended process's gauges are gone
    assert "posthorn_broker_connected 1.0" in after
    assert 'posthorn_events_received_total{outcome="recorded",source="http"} 2.0' in after  # its counts are not


def test_what_was_not_measured_yet_is_no_alarm() -> None:
    metrics = MetricsObserver()
    assert b"posthorn_days_ahead NaN" in metrics.render()[0]
    metrics.hears[DaysMade](DaysMade(7))
    assert b"posthorn_days_ahead 7.0" in metrics.render()[0]


def test_keys_that_expire_soon_are_counted() -> None:
    metrics = MetricsObserver()
    metrics.hears[DeliveriesCounted](DeliveriesCounted(3, 4.5))
    (until,) = re.findall(rb"^posthorn_counted_until_timestamp_seconds ([0-9.e+]+)$", metrics.render()[0], re.MULTILINE)
    assert 4.5 <= time.time() - float(until) < 60
    metrics.hears[KeysMeasured](KeysMeasured(3))
    assert b"posthorn_keys_expiring 3.0" in metrics.render()[0]


def test_retention_is_counted() -> None:
    metrics = MetricsObserver()
    metrics.hears[DeliveriesExpired](DeliveriesExpired(Expired("org_1", "ep_1", 3)))
    metrics.hears[AgesMeasured](AgesMeasured(Ages(30, 27.0)))
    shown = metrics.render()[0].decode()
    assert 'posthorn_deliveries_finished_total{reason="past_retention",state="dead"} 3.0' in shown
    assert "posthorn_oldest_open_retention_ratio 0.9" in shown
