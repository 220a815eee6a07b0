"""The headers that an attempt records: enough to verify it again, and nothing that is a secret."""

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from service.core.deliveries.attempt import attempt_of
from service.core.deliveries.delivery import Delivery, DeliveryKey, Lease
from service.core.deliveries.headers import (
    REPLY_HEADERS_KEPT_BYTES_MAX,
    REPLY_HEADERS_KEPT_MAX,
    RecordedHeaders,
    kept_of_reply,
    read_headers,
    shown_as_sent,
)
from service.core.deliveries.outcome import classify
from service.core.deliveries.request import Fault, Reply, Request, build_request
from service.core.endpoints.auth import OAuth2
from service.core.endpoints.endpoint import Endpoint, FormerStyle, Secret
from service.core.reason import Reason
from tests.fakes.clock import START
from tests.fakes.events import new_uid
from webhook_signature import Webhook
from webhook_signature.styles import STYLES

KEY, OLDER = b"n" * 32, b"o" * 32
DELIVERY = Delivery(DeliveryKey(new_uid(), 1), "org_1", "evt_1", "message.sent", b'{"a":1}', "ep_1", START)
AT = START + timedelta(microseconds=999_999)  # the last of its second


def request_of(**settings: Any) -> Request:
    endpoint = Endpoint("ep_1", "org_1", "https://a.example/", **{"secrets": (Secret(KEY),), **settings})
    request = build_request(Lease(DELIVERY, endpoint, 1, 0.0), AT, 15.0)
    assert isinstance(request, Request)
    return request


def shown(request: Request) -> Mapping[str, str]:
    """What is shown of the request, once its attempt has been stored."""
    reply = Reply(200, 1)
    attempt = attempt_of(DELIVERY, 1, AT, reply, classify(reply, AT), request)
    assert attempt.headers is not None
    return shown_as_sent(read_headers(attempt.headers).sent, DELIVERY.event_id, attempt.started_at)


@pytest.mark.parametrize("style", ["standard", "sha256-body", "t-v1"])
@pytest.mark.parametrize("former", [(), (FormerStyle(STYLES["standard"], (Secret(OLDER),)),)])
def test_the_signature_is_shown_as_it_was_sent(style: str, former: tuple[FormerStyle, ...]) -> None:
    request = request_of(style=STYLES[style], former_styles=former)
    for name, value in shown(request).items():
        assert request.headers[name] == value
    signing = [each.headers for each in (STYLES[style], *(every.style for every in former))]
    assert {name.lower() for name in shown(request)} >= {name for names in signing for name in names}


def test_what_is_shown_verifies() -> None:
    webhook = Webhook("whsec_" + base64.b64encode(KEY).decode(), now=AT.timestamp)
    assert webhook.verify(DELIVERY.body, dict(shown(request_of()))).id == "evt_1"


def test_the_values_of_the_endpoints_own_headers_are_not_recorded() -> None:
    auth = OAuth2(token_url="https://a.example/token", client_id="me", client_secret="hunter2")
    request = request_of(headers={"X-Team": "hunter2", "User-Agent": "hunter2"}, auth=auth)
    assert (shown(request)["X-Team"], shown(request)["Authorization"]) == ("***", "***")
    assert "User-Agent" not in shown(request), "Posthorn's own is sent"
    assert "hunter2" not in RecordedHeaders(request.recorded).write()


def test_a_reply_keeps_its_headers_but_for_what_may_be_a_credential() -> None:
    raw = (
        (b"Date", b"Fri, 21 Nov 2025 18:25:35 GMT"),
        (b"Set-Cookie", b"hunter2"),
        (b"X-Auth-Token", b"hunter2"),
        (b"x-api-KEY", b"hunter2"),
        (b"WWW-Authenticate", b'Basic realm="hunter2"'),
        (b"Via", b"1.1 a"),
        (b"Via", b"1.1 b"),
        (b"X-Name", "Zoë\0".encode()),
        (b"X-Latin", b"Zo\xeb"),
    )
    expected = {"Date": raw[0][1].decode(), "Via": "1.1 a, 1.1 b", "X-Name": "Zoë\0", "X-Latin": "Zo\ufffd"}
    assert kept_of_reply(raw) == expected
    text = RecordedHeaders({}, kept_of_reply(raw)).write()
    assert "\0" not in text, "PostgreSQL stores no U+0000"
    assert read_headers(text).reply == expected


@example([(b"a", b"")] * 100)
@example([(b"a", b"v" * 400)] * 100)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=80), st.binary(max_size=400)), max_size=100))
def test_any_reply_is_kept_within_bounds(raw: list[tuple[bytes, bytes]]) -> None:
    kept = kept_of_reply(tuple(raw))
    assert len(kept) <= REPLY_HEADERS_KEPT_MAX
    # Beyond what came: ", " where a name comes again, and a mask that is longer than what it hides.
    assert sum(len(name) + len(value) for name, value in kept.items()) <= REPLY_HEADERS_KEPT_BYTES_MAX + 5 * len(raw)
    assert read_headers(RecordedHeaders({}, kept).write()).reply == kept


def test_a_header_of_any_length_does_not_fill_the_row() -> None:
    raw = tuple((b"X-%d" % number, b"v" * 8000) for number in range(100))
    text = RecordedHeaders({}, kept_of_reply(raw)).write()
    assert len(text) < 2 * REPLY_HEADERS_KEPT_BYTES_MAX


@pytest.mark.parametrize(("request_made", "is_recorded"), [(None, False), (request_of(), True)])
def test_without_a_request_nothing_is_recorded(request_made: Request | None, *, is_recorded: bool) -> None:
    fault = Fault(Reason.TIMEOUT, 1)
    attempt = attempt_of(DELIVERY, 1, AT, fault, classify(fault, AT), request_made)
    assert (attempt.headers is not None) == is_recorded
    if attempt.headers is not None:
        assert read_headers(attempt.headers).reply is None, "no reply came"
        assert structs.asdict(read_headers(attempt.headers))["sent"].keys() == {"webhook-signature"}
