"""Every row of the table of outcomes."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.deliveries.outcome import (
    RETRY_AFTER_MAX_SECONDS,
    Accepted,
    Failed,
    Gone,
    OutcomeKind,
    classify,
    is_outage,
    masked_detail,
    retry_after_seconds,
)
from service.core.deliveries.request import Fault, Reply
from service.core.reason import NOT_THE_RECEIVERS, Reason

NOW = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
DAY = RETRY_AFTER_MAX_SECONDS


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
@pytest.mark.parametrize("body", [b"", b"\xff\xfe truncated"])
def test_2xx_is_accepted_whatever_the_body(status: int, body: bytes) -> None:
    outcome = classify(Reply(status, 1, body), NOW)
    assert outcome == Accepted()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.ACCEPTED, None)


def test_410_is_gone() -> None:
    outcome = classify(Reply(410, 1), NOW)
    assert outcome == Gone()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.GONE, Reason.GONE)


@pytest.mark.parametrize("place", ["https://a.example/hook?token=hush", "/hook?token=(hush)"])
def test_where_a_redirect_led_is_shown_without_its_query_whoever_recorded_it(place: str) -> None:
    told = f"redirects are not followed; update the URL (Location: {place.partition('?')[0]}?***)"
    assert masked_detail(f"redirects are not followed; update the URL (Location: {place})") == told
    outcome = classify(Reply(302, 1, location=place), NOW)
    assert isinstance(outcome, Failed)
    assert outcome.detail == masked_detail(outcome.detail) == told
    assert masked_detail("is it 503?") == "is it 503?"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_3xx_is_a_redirect_and_says_what_to_do(status: int) -> None:
    outcome = classify(Reply(status, 1, location="https://new.example/"), NOW)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.REDIRECT
    assert "redirects are not followed; update the URL" in outcome.detail
    assert "https://new.example/" in outcome.detail


def test_413_is_told_apart() -> None:
    outcome = classify(Reply(413, 1), NOW)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.PAYLOAD_TOO_LARGE


@pytest.mark.parametrize(
    "status",
    [100, 101, 199, 400, 401, 403, 404, 405, 408, 409, 411, 422, 425, 429, 451, 499, 500, 502, 503, 504, 599, 600, 999],
)
def test_everything_else_failed_and_is_tried_again(status: int) -> None:
    outcome = classify(Reply(status, 1), NOW)
    expected = status == 429 or status >= 500
    assert outcome == Failed(Reason.HTTP_STATUS, f"the receiver answered {status}", is_outage=expected)
    assert outcome.kind is OutcomeKind.FAILED


@pytest.mark.parametrize(("status", "told"), [(0, "000"), (7, "007"), (99, "099")])
def test_a_status_that_means_nothing_is_treated_as_a_5xx_and_told_as_it_came(status: int, told: str) -> None:
    outcome = Failed(Reason.HTTP_STATUS, f"the receiver answered {told}", is_outage=True)
    assert classify(Reply(status, 1), NOW) == outcome


@pytest.mark.parametrize("reason", list(Reason))
def test_a_fault_keeps_its_reason_and_only_ours_is_ours(reason: Reason) -> None:
    outcome = classify(Fault(reason, 1, "why"), NOW)
    assert outcome == Failed(reason, "why", is_ours=reason in NOT_THE_RECEIVERS, is_outage=is_outage(reason, None))


def test_an_outage_is_a_receiver_that_is_not_there_or_cannot_answer() -> None:
    outages = {reason for reason in Reason if is_outage(reason, None)}
    assert outages == {
        Reason.TIMEOUT,
        Reason.CONNECT_REFUSED,
        Reason.CONNECT_RESET,
        Reason.DNS,
        Reason.TLS,
        Reason.PROTOCOL_ERROR,
        Reason.STALE_CONNECTION,
    }


@pytest.mark.parametrize(
    ("status", "gates"), [(429, True), (503, True), (500, False), (404, False), (425, False), (408, False)]
)
def test_a_wish_to_wait_is_honoured_and_on_429_and_503_holds_for_the_endpoint(status: int, gates: bool) -> None:  # noqa: FBT001
    outcome = classify(Reply(status, 1, retry_after=("120",)), NOW)
    assert isinstance(outcome, Failed)
    assert (outcome.retry_after_seconds, outcome.gates_endpoint) == (120, gates)


def test_429_without_a_wish_gates_nothing() -> None:
    outcome = classify(Reply(429, 1, retry_after=("soon",)), NOW)
    assert isinstance(outcome, Failed)
    assert (outcome.retry_after_seconds, outcome.gates_endpoint) == (None, False)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), None),
        (("0",), 0),
        (("120",), 120),
        ((" 120 ",), 120),
        (("007",), 7),
        (("86400",), DAY),
        (("86401",), DAY),
        (("999999999",), DAY),
        (("1000000000",), None),  # ten digits
        (("00000000001",), None),
        (("-1",), None),
        (("+1",), None),
        (("1.5",), None),
        (("1e3",), None),
        (("٣",), None),  # digits, but not ASCII
        (("",), None),
        (("soon",), None),
        (("120, 120",), None),
        (("120", "120"), 120),
        (("120", "60"), None),
        (("120", "soon"), None),
        (("Fri, 20 Nov 2026 18:02:00 GMT",), 120),  # IMF-fixdate
        (("Friday, 20-Nov-26 18:02:00 GMT",), 120),  # RFC 850
        (("Fri Nov 20 18:02:00 2026",), 120),  # asctime
        (("120", "Fri, 20 Nov 2026 18:02:00 GMT"), 120),  # they agree
        (("Fri, 20 Nov 2026 18:00:00 GMT",), 0),
        (("Fri, 20 Nov 2026 17:59:59 GMT",), None),  # past
        (("Fri, 27 Nov 2026 18:00:00 GMT",), DAY),
        (("Fri, 20 Nov 2026 18:02:00 UTC",), None),
        (("Fri, 32 Nov 2026 18:02:00 GMT",), None),
        (("2026-11-20T18:02:00Z",), None),
    ],
)
def test_the_forms_of_retry_after(values: tuple[str, ...], expected: int | None) -> None:
    assert retry_after_seconds(values, NOW) == expected


@given(st.lists(st.text(max_size=40), max_size=3), st.timedeltas(timedelta(0), timedelta(days=20_000)))
def test_whatever_retry_after_says_the_wait_is_bounded(values: list[str], since: timedelta) -> None:
    seconds = retry_after_seconds(tuple(values), NOW + since)
    assert seconds is None or 0 <= seconds <= DAY


@given(st.integers(0, 10**6), st.lists(st.text(max_size=20), max_size=2))
def test_every_status_has_an_outcome(status: int, retry_after: list[str]) -> None:
    outcome = classify(Reply(status, 1, retry_after=tuple(retry_after)), NOW)
    assert isinstance(outcome, Accepted) == (200 <= status <= 299)
    assert isinstance(outcome, Gone) == (status == 410)
