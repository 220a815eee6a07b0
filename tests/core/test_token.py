"""Asking for a token, and reading what a hostile token server may answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.token import LIFETIME_MAX_SECONDS, Token, read_token, token_request
from service.core.endpoints.auth import OAuth2
from service.core.reason import NOT_THE_RECEIVERS, Reason

AUTH = OAuth2("https://auth.example.com/token", "post horn", "s:ü&", "hooks read")


def test_the_client_proves_itself_with_basic_and_asks_for_its_scope() -> None:
    request = token_request(AUTH)
    assert (request.url, request.body) == (AUTH.token_url, b"grant_type=client_credentials&scope=hooks+read")
    assert request.headers["Authorization"] == "Basic cG9zdCtob3JuOnMlM0ElQzMlQkMlMjY="
    assert token_request(OAuth2(AUTH.token_url, "a", "b")).body == b"grant_type=client_credentials"
    assert request.auth is None


@pytest.mark.parametrize(
    ("body", "lifetime_seconds"),
    [
        (b'{"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}', 3600),
        (b'{"access_token": "abc", "token_type": "bearer", "expires_in": "60", "x": [1]}', 60),
        (b'{"access_token": "abc"}', 300),
        (b'{"access_token": "abc", "expires_in": null}', 300),
        (b'{"access_token": "abc", "expires_in": -5}', 1),
        (b'{"access_token": "abc", "expires_in": 1e300}', 86_400),
        (b'{"access_token": "abc", "expires_in": "nan"}', 1),
    ],
)
def test_a_token_is_kept_as_long_as_its_server_says_within_bounds(body: bytes, lifetime_seconds: float) -> None:
    assert read_token(Reply(200, 1, body)) == Token("abc", lifetime_seconds)
    assert "abc" not in repr(read_token(Reply(200, 1, body)))


@pytest.mark.parametrize(
    ("reply", "reason", "said"),
    [
        (Reply(400, 1, b'{"error": "invalid_client"}'), Reason.AUTH_REFUSED, "answered 400: invalid_client"),
        (Reply(401, 1, b'{"error": "<script>"}'), Reason.AUTH_REFUSED, "answered 401"),
        (Reply(302, 1, b"\xff"), Reason.AUTH_REFUSED, "answered 302"),
        (Reply(503, 1), Reason.AUTH_UNAVAILABLE, "answered 503"),
        (Reply(429, 1), Reason.AUTH_UNAVAILABLE, "answered 429"),
        (Reply(200, 1, b""), Reason.AUTH_REFUSED, "has no access_token"),
        (Reply(200, 1, b'{"access_token":"\xff"}'), Reason.AUTH_REFUSED, "has no access_token"),
        (Reply(200, 1, b'{"x":' + b"[" * 16_000), Reason.AUTH_REFUSED, "has no access_token"),
        (Reply(400, 1, b'{"x":' + b"[" * 16_000), Reason.AUTH_REFUSED, "answered 400"),
        (Reply(200, 1, b'{"access_token": ""}'), Reason.AUTH_REFUSED, "no bearer token"),
        (Reply(200, 1, b'{"access_token": "a\\r\\nX: b"}'), Reason.AUTH_REFUSED, "no bearer token"),
        (Reply(200, 1, b'{"access_token": "a", "token_type": "mac"}'), Reason.AUTH_REFUSED, "no bearer token"),
        (Reply(200, 1, b'{"access_token": "' + b"a" * 9000 + b'"}'), Reason.AUTH_REFUSED, "no bearer token"),
        (Fault(Reason.DNS, 1, "no such name"), Reason.AUTH_UNAVAILABLE, "no such name"),
        (Fault(Reason.BLOCKED_DESTINATION, 1, "this address is not allowed"), Reason.AUTH_UNAVAILABLE, "not allowed"),
        (Fault(Reason.INTERNAL, 1, "no sockets"), Reason.INTERNAL, "no sockets"),
        (Fault(Reason.EGRESS_PROXY, 1, "away"), Reason.EGRESS_PROXY, "away"),
    ],
)
def test_why_there_is_no_token(reply: Reply | Fault, reason: Reason, said: str) -> None:
    fault = read_token(reply)
    assert isinstance(fault, Fault)
    assert fault.reason is reason
    assert said in fault.detail
    assert "script" not in fault.detail


_TEXT = st.binary(max_size=20).map(lambda text: b'"' + text + b'"')
_VALUE = st.one_of(st.sampled_from([b"null", b'"bearer"', b"1e999", b'"nan"', b"[" * 9_000]), _TEXT, st.binary())
_NAME = st.sampled_from([b'"access_token"', b'"token_type"', b'"expires_in"', b'"error"', b'"x"'])
_OBJECT = st.lists(st.tuples(_NAME, _VALUE).map(b":".join), max_size=4).map(lambda each: b"{" + b",".join(each) + b"}")


@given(st.sampled_from([200, 400]) | st.integers(0, 999), _OBJECT | st.binary(max_size=200))
def test_whatever_it_answers_is_never_the_receivers_fault(status: int, body: bytes) -> None:
    found = read_token(Reply(status, 1, body))
    if isinstance(found, Token):
        assert 1 <= found.lifetime_seconds <= LIFETIME_MAX_SECONDS
    else:
        assert found.reason in NOT_THE_RECEIVERS
