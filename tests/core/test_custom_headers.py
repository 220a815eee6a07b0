"""Which headers an endpoint may add, and which would harm."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.deliveries.delivery import Delivery, DeliveryKey, Lease
from service.core.deliveries.request import Request, build_request
from service.core.endpoints.custom_headers import HEADERS_MAX, NAME_PATTERN, judge_headers, judge_signature_header
from service.core.endpoints.endpoint import Endpoint, Secret
from tests.fakes.clock import START
from tests.fakes.events import new_uid
from webhook_signature.ed25519 import Ed25519Key
from webhook_signature.styles import STYLES, style_named

GOOD = {"Authorization": "Bearer a b", "X-Tab": "a\tb", "X-Empty": "", "x!#$%&'*+.^_`|~9-": "~", "X-Long": "v" * 1024}
KEY = DeliveryKey(new_uid(), 1, 2)
DELIVERY = Delivery(KEY, "org_1", "evt_1", "message.sent", b"{}", "ep_1", START)


def test_headers_that_may_be_sent() -> None:
    assert judge_headers(GOOD) == {}
    assert judge_headers({}) == {}
    assert judge_headers({f"X-{n}": "v" for n in range(HEADERS_MAX)}) == {}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Host",
            "connection",
            "Keep-Alive",
            "CONTENT-LENGTH",
            "Content-Type",
            "content-encoding",
            "Transfer-Encoding",
        ),
        *("TE", "Trailer", "Upgrade", "Expect", "Cookie", "Proxy-Authorization", "Proxy-Connection", "Forwarded"),
        *("X-Forwarded-For", "x-forwarded-host", "webhook-id", "Webhook-Signature", "webhook-replay", "User-Agent"),
        *("Accept-Encoding", "X-Event-Type", "X-Event-ID", "X-Timestamp"),
        *("X_Forwarded_For", "Webhook_Id", "content_length", "X-Real-IP", "x_real_ip", "X-HTTP-Method-Override"),
        *("X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL", "X-Event_Type"),
        *("", " ", "a b", "a:", "a\r\nb", "a\n", "é", "a\0", "(a)", "x" * 65, "\ud800"),
    ],
)
def test_names_that_may_not(name: str) -> None:
    assert list(judge_headers({"X-A": "v", name: "v"})) == [name]
    assert judge_signature_header(name) is not None


@pytest.mark.parametrize("value", ["a\r\nX-B: c", "a\n", "\0", "é", "\x7f", "v" * 1025, "\ud800"])
def test_values_that_may_not(value: str) -> None:
    assert list(judge_headers({"X-A": value, "X-B": "v"})) == ["X-A"]


def test_too_many_the_same_twice_and_a_signature() -> None:
    assert list(judge_headers({f"X-{n}": "v" for n in range(HEADERS_MAX + 1)})) == [""]
    assert list(judge_headers({"X-A": "1", "x-a": "2"})) == ["x-a"]
    assert list(judge_headers({"X-A": "1", "X_A": "2"})) == ["X_A"]
    assert list(judge_headers({"X_Webhook-Signature": "mine"})) == ["X_Webhook-Signature"]
    assert list(judge_headers({"X-Webhook-Signature": "mine"})) == ["X-Webhook-Signature"]
    assert judge_signature_header("X-Webhook-Signature") is None
    assert judge_signature_header("Stripe-Signature") is None


@given(
    st.dictionaries(
        st.from_regex(NAME_PATTERN, fullmatch=True) | st.text(max_size=10), st.text(max_size=20), max_size=5
    ),
    st.sampled_from([*STYLES.values(), style_named("t-v1", "X-A")]),
)
def test_what_is_sent_is_one_header_a_line_and_ours_stay_ours(headers: dict[str, str], style: object) -> None:
    problems = judge_headers(headers)
    assert problems.keys() <= headers.keys()
    sent = {name: value for name, value in headers.items() if name not in problems}
    key = Ed25519Key(seed=b"k" * 32) if style is STYLES["ed25519"] else b"k" * 32
    plain = Endpoint("ep_1", "org_1", "https://a.example/", (Secret(key),), style=style)  # type: ignore[arg-type]
    ours = build_request(Lease(DELIVERY, plain, 1, 0.0), START, 15.0)
    asked = Endpoint("ep_1", "org_1", "https://a.example/", plain.secrets, style=plain.style, headers=sent)
    theirs = build_request(Lease(DELIVERY, asked, 1, 0.0), START, 15.0)
    assert isinstance(ours, Request)
    assert isinstance(theirs, Request)
    assert ours.headers.items() <= theirs.headers.items()
    seen_by_wsgi = [name.lower().replace("-", "_") for name in theirs.headers]
    assert len(set(seen_by_wsgi)) == len(seen_by_wsgi)
    assert all(re.fullmatch(r"[^\r\n\0]+", f"{name}: {value}") for name, value in theirs.headers.items())
