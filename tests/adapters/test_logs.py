"""The logs: one line per thing, readable by machines, and nothing in them that must not be."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from service.adapters.observers.all import Observers
from service.adapters.observers.logs import LogAttempts, LogFormat, LogObserver, configure_logs, safe_text
from service.core.endpoints.target_policy import Verdict
from service.core.reason import ParkReason
from service.ports.errors import UnavailableError
from service.ports.observer import (
    AddressBlocked,
    AttemptSettled,
    DeliveriesExpired,
    EndpointAges,
    KeyExpires,
    KeyLeaked,
    LeasesRescued,
    MessageParked,
    Trouble,
)
from service.ports.requests import ExpiringKey
from service.ports.retention import Ageing, Expired
from tests.adapters.settled import ACCEPTED, BURIED, CANCELLED, FAILED, GONE


@pytest.fixture(autouse=True)
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_wide_line_of_a_failed_attempt(stream: io.StringIO) -> None:
    Observers(LogObserver()).tell(AttemptSettled(FAILED, has_moved=True))
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "delivery.attempted",
        "level": "warning",
        "delivery_id": "dlv_00000000000000000000000000000007_3",
        "event_id": "evt_1",
        "endpoint_id": "ep_1",
        "organization_id": "org_a",
        "type": "link.clicked",
        "attempt": 1,
        "outcome": "failed",
        "reason": "http_status",
        "status": 500,
        "duration_ms": 70,
        "next_attempt_in_seconds": 5.0,
        "state": "pending",
    }


def test_ends_are_told(stream: io.StringIO) -> None:
    observer = Observers(LogObserver())
    for each in (BURIED, GONE, CANCELLED):
        observer.tell(AttemptSettled(each, has_moved=True))
    observer.tell(AttemptSettled(BURIED, has_moved=False))
    dead, gone, cancelled, late = lines(stream)
    assert (dead["state"], dead["reason"], dead["final_reason"]) == ("dead", "http_status", "attempts_exhausted")
    assert (gone["state"], gone["outcome"], gone["level"]) == ("cancelled", "gone", "info")
    assert (cancelled["event"], cancelled["reason"]) == ("delivery.cancelled", "subscription_deleted")
    assert late["is_late"] is True


@pytest.mark.parametrize(("log_attempts", "accepted"), [("failures", 0), ("all", 250), ("sampled", 3)])
def test_successes_are_told_by_setting_and_failures_always(
    stream: io.StringIO, log_attempts: LogAttempts, accepted: int
) -> None:
    observer = Observers(LogObserver(log_attempts))
    for _ in range(250):
        observer.tell(AttemptSettled(ACCEPTED, has_moved=True))
        observer.tell(AttemptSettled(FAILED, has_moved=True))
    outcomes = [line["outcome"] for line in lines(stream)]
    assert (outcomes.count("accepted"), outcomes.count("failed")) == (accepted, 250)


def test_parked_rescued_and_trouble_are_told(stream: io.StringIO) -> None:
    observer = Observers(LogObserver())
    observer.tell(MessageParked("rabbitmq", ParkReason.BAD_FIELD, "text: 'hunter2'", "m" * 100))
    observer.tell(LeasesRescued(3))
    observer.tell(Trouble("claim", UnavailableError("connection refused")))
    observer.tell(Trouble("settle", raised(), {"delivery_id": "dlv_1"}))
    parked, rescued, away, bug = lines(stream)
    assert (parked["event"], parked["reason"], len(parked["message_id"])) == ("message.parked", "bad_field", 64)
    assert (rescued["event"], rescued["count"]) == ("leases.rescued", 3)
    assert (away["level"], away["where"], away["error"]) == ("warning", "claim", "connection refused")
    assert (bug["level"], bug["error_type"], bug["delivery_id"]) == ("error", "ValueError", "dlv_1")
    assert bug["raised_at"].startswith("test_logs.py:")
    assert "hunter2" not in stream.getvalue()


def test_who_nears_the_end_of_retention_and_who_reached_it_are_told(stream: io.StringIO) -> None:
    observer = Observers(LogObserver())
    observer.tell(EndpointAges(Ageing("org_a", "ep_1", 5, 25.04, ("paused",)), 30))
    observer.tell(DeliveriesExpired(Expired("org_a", "ep_1", 5)))
    near, over = lines(stream)
    of = {"organization_id": "org_a", "endpoint_id": "ep_1", "count": 5, "level": "warning"}
    assert near == near | of | {"oldest_age_days": 25.0, "retention_days": 30, "gates": ["paused"]}
    assert over == over | of
    assert (near["event"], over["event"]) == ("endpoint.ageing", "deliveries.expired")


def test_whose_key_expires_is_told(stream: io.StringIO) -> None:
    at = datetime(2026, 11, 30, 18, 30, tzinfo=UTC)
    Observers(LogObserver()).tell(KeyExpires(ExpiringKey("org_a", "0011223344556677", at, None)))
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["organization_id"]) == ("key.expiring", "warning", "org_a")
    assert (line["key_id"], line["expires_at"]) == ("0011223344556677", "2026-11-30T18:30:00.000000Z")
    assert line["last_used_at"] is None


def test_whose_key_leaked_is_told(stream: io.StringIO) -> None:
    Observers(LogObserver()).tell(KeyLeaked("org_a", "0011223344556677"))
    (line,) = lines(stream)
    told = (line["event"], line["level"], line["organization_id"], line["key_id"])
    assert told == ("key.leaked", "warning", "org_a", "0011223344556677")


def test_the_log_names_the_address_that_the_customer_is_not_told(stream: io.StringIO) -> None:
    blocked = AddressBlocked("hooks.example.com", "169.254.169.254 port 443", Verdict.DENIED_SPECIAL_RANGE)
    Observers(LogObserver()).tell(blocked)
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["host"]) == ("address.blocked", "warning", "hooks.example.com")
    assert (line["address"], line["reason"]) == ("169.254.169.254 port 443", "denied_special_range")


def fail() -> None:
    raise ValueError("bad row at https://u:hunter2@h/p?key=hunter2 now\n[parameters: ('hunter2',)]")


def raised() -> Exception:
    try:
        fail()
    except ValueError as error:
        return error
    return AssertionError("it did not fail")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("POST https://h/p?token=x failed", "POST https://h/p?… failed"),
        ("amqp://u:p@h:5672/v is away", "amqp://h:5672/v is away"),
        ("'postgresql://u:p@h/d'", "'postgresql://h/d'"),
        ("https://u:p/w@h/x", "https://h/x"),
        ("first\nsecond", "first"),
        ("x" * 999, "x" * 300),
    ],
)
def test_texts_are_made_safe(text: str, safe: str) -> None:
    assert safe_text(text) == safe


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_newline_forges_no_line(stream: io.StringIO, log_format: LogFormat) -> None:
    configure_logs(log_format, "info", stream)
    structlog.get_logger().info("one\ntwo", field="a\nlevel=error \x1b[31m")
    logging.getLogger("aiohttp.server").warning("three\nfour")
    assert len(stream.getvalue().splitlines()) == 2
    assert "\x1b[31m" not in stream.getvalue()


def test_other_peoples_logs_take_the_same_form_from_warning_on(stream: io.StringIO) -> None:
    logging.getLogger("aio_pika.robust").info("quiet")
    logging.getLogger("aiormq").warning("to %s", "amqp://u:hunter2@h/v")
    try:
        fail()
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    first, second = lines(stream)
    assert (first["logger"], first["level"], first["event"]) == ("aiormq", "warning", "to amqp://h/v")
    assert (second["error_type"], second["event"]) == ("ValueError", "Error handling request")
    assert "hunter2" not in stream.getvalue()


def test_levels_and_request_ids(stream: io.StringIO) -> None:
    configure_logs("json", "warning", stream)
    Observers(LogObserver("all")).tell(AttemptSettled(ACCEPTED, has_moved=True))
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        Observers(LogObserver()).tell(LeasesRescued(1))
    (line,) = lines(stream)
    assert (line["level"], line["request_id"]) == ("warning", "req_1")
