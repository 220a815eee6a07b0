"""What goes over the wire verifies with what receivers install."""

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from service.core.deliveries.attempt import REPLY_STORED_BYTES_MAX, attempt_of
from service.core.deliveries.delivery import Delivery, DeliveryKey, Lease
from service.core.deliveries.outcome import classify
from service.core.deliveries.request import Fault, Reply, Request, build_request
from service.core.endpoints.endpoint import Endpoint, Secret
from service.core.reason import Reason
from tests.fakes.clock import START
from tests.fakes.events import new_uid
from webhook_signature import VerificationError, Webhook
from webhook_signature.styles import style_named

NEW, OLD = b"n" * 32, b"o" * 32
DELIVERY = Delivery(DeliveryKey(new_uid(), 1), "org_1", "evt_1", "message.sent", b'{"a":1}', "ep_1", START)


def _lease(delivery: Delivery = DELIVERY, *secrets: Secret) -> Lease:
    endpoint = Endpoint("ep_1", "org_1", "https://a.example/hook", secrets or (Secret(NEW), Secret(OLD)))
    return Lease(delivery, endpoint, 1, 0.0)


def _request(delivery: Delivery = DELIVERY, *secrets: Secret) -> Request:
    request = build_request(_lease(delivery, *secrets), START, 15.0)
    assert isinstance(request, Request)
    return request


def _webhook(key: bytes, seconds_later: float = 0) -> Webhook:
    secret = "whsec_" + base64.b64encode(key).decode()
    return Webhook(secret, now=lambda: START.timestamp() + seconds_later)


@pytest.mark.parametrize("key", [NEW, OLD])
def test_every_active_secret_verifies(key: bytes) -> None:
    request = _request()
    verified = _webhook(key).verify(request.body, dict(request.headers))
    assert (verified.id, verified.body) == ("evt_1", DELIVERY.body)


def test_no_other_secret_and_no_other_body_verifies() -> None:
    request = _request()
    with pytest.raises(VerificationError):
        _webhook(b"x" * 32).verify(request.body, dict(request.headers))
    with pytest.raises(VerificationError):
        _webhook(NEW).verify(request.body + b" ", dict(request.headers))
    with pytest.raises(VerificationError):
        _webhook(NEW, seconds_later=3600).verify(request.body, dict(request.headers))


@given(st.binary(max_size=200), st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_any_body_verifies(body: bytes, event_id: str) -> None:
    request = _request(structs.replace(DELIVERY, body=body, event_id=event_id))
    assert request.body is body
    assert _webhook(NEW).verify(request.body, dict(request.headers)).id == event_id


def test_each_attempt_is_signed_afresh_over_the_same_bytes() -> None:
    first = _request()
    later = build_request(_lease(structs.replace(DELIVERY, attempts_made=4)), START + timedelta(hours=1), 15.0)
    assert isinstance(later, Request)
    assert (later.body, later.headers["webhook-id"]) == (first.body, first.headers["webhook-id"])
    assert (first.headers["webhook-attempt"], later.headers["webhook-attempt"]) == ("1", "5")
    assert _webhook(NEW, seconds_later=3600).verify(later.body, dict(later.headers)).id == "evt_1"


def test_headers_say_what_they_carry() -> None:
    headers = _request().headers
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("Posthorn/")
    assert (headers["X-Event-Type"], headers["X-Event-ID"]) == ("message.sent", "evt_1")


def test_a_secret_that_does_not_open_is_our_fault() -> None:
    fault = build_request(_lease(DELIVERY, Secret(None)), START, 15.0)
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.INTERNAL


def test_a_setting_that_cannot_be_read_is_our_fault() -> None:
    lease = _lease()
    fault = build_request(
        structs.replace(lease, endpoint=replace(lease.endpoint, problem="the filter is odd")), START, 15.0
    )
    assert fault == Fault(Reason.INTERNAL, 0, "the filter is odd")


def test_more_secrets_than_a_request_takes_sign_with_the_newest() -> None:
    request = _request(DELIVERY, *(Secret(bytes([n]) * 32) for n in range(5)))
    assert [_verifies(request, bytes([n]) * 32) for n in range(5)] == [True, True, True, False, False]


def _verifies(request: Request, key: bytes) -> bool:
    try:
        return _webhook(key).verify(request.body, dict(request.headers)).key_index == 0
    except VerificationError:
        return False


@pytest.mark.parametrize(
    ("name", "header", "expected"),
    [
        ("standard", None, {"webhook-id", "webhook-timestamp", "webhook-signature"}),
        ("ed25519", None, {"webhook-id", "webhook-timestamp", "webhook-signature"}),
        ("sha256-body", None, {"X-Webhook-Signature", "X-Timestamp"}),
        ("t-v1", None, {"X-Webhook-Signature"}),
        ("t-v1", "X-Blooio-Signature", {"X-Blooio-Signature"}),
    ],
)
def test_a_request_is_signed_in_one_style_alone(name: str, header: str | None, expected: set[str]) -> None:
    style = style_named(name, header)
    secret = ("whsk_" if style.has_key_pair else "whsec_") + base64.b64encode(NEW).decode()
    lease = _lease(DELIVERY, Secret(style.decode_secret(secret)))
    request = build_request(structs.replace(lease, endpoint=replace(lease.endpoint, style=style)), START, 15.0)
    assert isinstance(request, Request)
    own = {"Content-Type", "User-Agent", "webhook-attempt", "X-Event-Type", "X-Event-ID"}
    assert set(request.headers) == own | expected
    webhook = Webhook(secret, style=name, signature_header=header, now=START.timestamp)
    assert webhook.verify(request.body, dict(request.headers)).body == DELIVERY.body


def test_a_replay_says_so_and_a_first_delivery_does_not() -> None:
    key = structs.replace(DELIVERY.key, replay_number=3)
    replay = _request(structs.replace(DELIVERY, key=key))
    assert replay.headers["webhook-replay"] == str(key)
    assert replay.headers["webhook-id"] == DELIVERY.event_id
    assert "webhook-replay" not in _request().headers


# --------------------------------------------------------------------------- the row that tells of it


@given(st.binary(max_size=3000))
def test_any_reply_becomes_a_text_that_a_database_takes(body: bytes) -> None:
    reply = Reply(500, 3, body)
    attempt = attempt_of(DELIVERY, 2, START, reply, classify(reply, START))
    assert "\0" not in attempt.reply
    attempt.reply.encode()
    assert len(attempt.reply) <= REPLY_STORED_BYTES_MAX
    assert (attempt.number, attempt.claim_number, attempt.status, attempt.duration_ms) == (1, 2, 500, 3)


def test_attempts_are_numbered_by_rows_and_not_by_what_counts() -> None:
    delivery = structs.replace(DELIVERY, attempts_made=1, attempts_recorded=4)
    fault = Fault(Reason.INTERNAL, 0, "no sockets left")
    attempt = attempt_of(delivery, 5, START, fault, classify(fault, START))
    assert (attempt.number, attempt.is_counted, attempt.status) == (5, False, None)


@pytest.mark.parametrize(
    "reply", [Reply(200, 1, is_second_connection=True), Fault(Reason.TIMEOUT, 1, "late", is_second_connection=True)]
)
def test_the_retry_on_a_fresh_connection_is_told(reply: Reply | Fault) -> None:
    attempt = attempt_of(DELIVERY, 1, START, reply, classify(reply, START))
    assert "second connection" in attempt.detail
    assert attempt.detail == attempt.detail.strip()
