"""What an endpoint may ask Posthorn to prove itself with, and what is shown of it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from service.core.endpoints.auth import (
    AuthRefused,
    ClientCertificate,
    OAuth2,
    UnreadableAuth,
    read_auth,
    shown_auth,
    stored_auth,
    write_auth,
)
from service.core.endpoints.refusals import InvalidWish
from service.core.endpoints.retry_schedule import STANDARD
from service.core.endpoints.rules import EndpointRules
from service.core.endpoints.settings import NOTHING_ASKED, EndpointWish, GrantedWish
from service.core.endpoints.target_policy import EgressPolicy
from tests.fakes.clock import START

POLICY = EgressPolicy()
GIVEN = {
    "type": "oauth2",
    "token_url": "https://auth.example.com/token",
    "client_id": "posthorn",
    "client_secret": "hunter2",
}
OAUTH2 = OAuth2("https://auth.example.com/token", "posthorn", "hunter2")


LAST_DAY = datetime(2030, 1, 1, tzinfo=UTC)
MTLS = {"type": "mtls", "certificate": "cert", "private_key": "hunter2"}


def read_any(certificate: str, private_key: str) -> ClientCertificate | AuthRefused:
    return ClientCertificate(certificate, private_key, LAST_DAY)


def test_it_is_read_kept_and_shown_without_its_secret() -> None:
    assert read_auth(GIVEN | {"scope": None}, None, POLICY, read_any) == OAUTH2
    assert stored_auth(write_auth(OAUTH2)) == OAUTH2
    assert shown_auth(OAUTH2) == GIVEN | {"client_secret": "***", "scope": None}
    assert shown_auth(UnreadableAuth()) == {"type": "unreadable"}
    assert shown_auth(None) is None
    assert "hunter2" not in repr(OAUTH2)


def test_three_stars_keep_the_stored_secret_for_the_same_server_only() -> None:
    hidden = GIVEN | {"client_secret": "***", "client_id": "other"}
    assert read_auth(hidden, OAUTH2, POLICY, read_any) == OAuth2(OAUTH2.token_url, "other", "hunter2")
    for before, given in (
        (None, hidden),
        (UnreadableAuth(), hidden),
        (OAUTH2, hidden | {"token_url": "https://evil.example.com/"}),
    ):
        refused = read_auth(given, before, POLICY, read_any)
        assert isinstance(refused, AuthRefused)
        assert list(refused.problems) == ["client_secret"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"type": "none"}', '{"type": "oauth2", "token_url": 5}', "hunter2"])
def test_what_was_written_some_other_way_is_told_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match="not what this release writes") as caught:
        stored_auth(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "given", "paths"),
    [
        ({}, {"auth": GIVEN, "headers": {"authorization": "Basic x"}}, ["auth"]),
        ({"auth": OAUTH2}, {"headers": {"Authorization": "Basic x"}}, ["headers.Authorization"]),
        ({"headers": {"Authorization": "Basic x"}}, {"auth": GIVEN}, ["auth"]),
        ({"headers": {"Authorization": "Basic x"}}, {"auth": GIVEN, "headers": None}, None),
        ({"auth": OAUTH2}, {"headers": {"Authorization": "Basic x"}, "auth": None}, None),
    ],
)
def test_a_token_and_a_custom_header_cannot_both_be_authorization(
    before: dict[str, Any], given: dict[str, Any], paths: list[str] | None
) -> None:
    rules = EndpointRules(POLICY, STANDARD, 15, read_any)
    asked = rules.judge(EndpointWish({"url": "https://a.example/", "event_types": ["*"]}), NOTHING_ASKED, (), now=START)
    assert isinstance(asked, GrantedWish)
    known = rules.judge(
        EndpointWish(before | ({"auth": GIVEN} if "auth" in before else {})), asked.settings, (), now=START
    )
    assert isinstance(known, GrantedWish)
    judged = rules.judge(EndpointWish(given), known.settings, (), now=START)
    assert (list(judged.problems) if isinstance(judged, InvalidWish) else None) == paths


def test_a_certificate_is_shown_and_its_key_is_not() -> None:
    auth = read_auth(MTLS, None, POLICY, read_any)
    assert auth == ClientCertificate("cert", "hunter2", LAST_DAY)
    assert stored_auth(write_auth(auth)) == auth
    assert shown_auth(auth) == MTLS | {"private_key": "***"}
    assert "hunter2" not in repr(auth)
    renewed = read_auth(MTLS | {"certificate": "renewed", "private_key": "***"}, auth, POLICY, read_any)
    assert renewed == ClientCertificate("renewed", "hunter2", LAST_DAY)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"private_key": "***"}, "private_key"),
        ({"certificate": ""}, "certificate"),
        ({"certificate": "a" * 32_769}, "certificate"),
        ({"private_key": "a" * 8_193}, "private_key"),
        ({"private_key": "\udc80"}, "private_key"),
        ({"certificate": 5}, "certificate"),
        ({"client_id": "a"}, "client_id"),
    ],
)
def test_a_certificate_has_bounds(changes: dict[str, Any], field: str) -> None:
    refused = read_auth(MTLS | changes, None, POLICY, read_any)
    assert isinstance(refused, AuthRefused)
    assert list(refused.problems) == [field]


def test_a_certificate_needs_https() -> None:
    rules = EndpointRules(EgressPolicy(allow_http=True), STANDARD, 15, read_any)
    plain = {"url": "http://a.example/", "event_types": ["*"]}
    refused = rules.judge(EndpointWish(plain | {"auth": MTLS}), NOTHING_ASKED, (), now=START)
    assert isinstance(refused, InvalidWish)
    assert list(refused.problems) == ["auth"]
    granted = rules.judge(
        EndpointWish(plain | {"auth": MTLS, "url": "https://a.example/"}), NOTHING_ASKED, (), now=START
    )
    assert isinstance(granted, GrantedWish)
    refused = rules.judge(EndpointWish({"url": "http://a.example/"}), granted.settings, (), now=START)
    assert isinstance(refused, InvalidWish)
    assert list(refused.problems) == ["url"]
