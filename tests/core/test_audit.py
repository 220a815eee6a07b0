"""What an entry of the audit log keeps of a change, and what it does not."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import get_args

import pytest

from service.core.audit.entry import (
    FIELD_BYTES_MAX,
    OPERATIONS,
    STATE_BYTES_MAX,
    AuditOperation,
    Masked,
    changed,
    written,
)
from service.core.endpoints import audited
from service.core.endpoints.audited import HIDDEN_WHOLE, SHOWN, SHOWN_IN_PART, settings_state
from service.core.endpoints.auth import ClientCertificate, EndpointAuth, OAuth2
from service.core.endpoints.settings import EndpointSettings
from service.core.endpoints.view import EndpointState, EndpointView

AT = datetime(2026, 11, 20, 18, 25, 35, tzinfo=UTC)


def endpoint(**settings: object) -> EndpointView:
    given = {"url": "https://a.example/", "event_types": ("message.sent",), **settings}
    return EndpointView("ep_1", EndpointSettings(**given), (), EndpointState.ACTIVE, (), AT, AT)  # type: ignore[arg-type]


def test_only_what_differs_is_kept() -> None:
    before, after = changed({"name": "a", "rate": 1}, {"name": "a", "rate": 2})
    assert (before, after) == ({"rate": 1}, {"rate": 2})


def test_of_what_is_new_or_gone_everything_is_kept() -> None:
    assert changed(None, {"name": "a"}) == (None, {"name": "a"})
    assert changed({"name": "a"}, None) == ({"name": "a"}, None)


def test_a_masked_value_is_compared_but_not_written() -> None:
    before, after = changed({"key": Masked("one", "***")}, {"key": Masked("two", "***")})
    assert (written(before), written(after)) == ('{"key": "***"}', '{"key": "***"}')
    assert changed({"key": Masked("one", "***")}, {"key": Masked("one", "***")}) == ({}, {})
    assert "one" not in repr(Masked("one", "***"))


def test_a_long_value_is_only_measured() -> None:
    text = written({"short": "a", "long": "b" * FIELD_BYTES_MAX})
    assert json.loads(text or "") == {"short": "a", "long": {"omitted_bytes": FIELD_BYTES_MAX + 2}}


def test_many_values_are_measured_together() -> None:
    text = written({f"field{number}": "ü" * (FIELD_BYTES_MAX // 8) for number in range(100)})
    assert text is not None
    assert json.loads(text)["omitted_bytes"] > STATE_BYTES_MAX


def test_times_and_sets_are_written() -> None:
    text = written({"at": AT, "scopes": frozenset({"write", "read"}), "types": ("a", "b")})
    assert json.loads(text or "") == {
        "at": "2026-11-20T18:25:35.000000Z",
        "scopes": ["read", "write"],
        "types": ["a", "b"],
    }


def test_a_changed_header_is_seen_and_not_shown() -> None:
    before, after = (settings_state(endpoint(headers={"X-Pass": value})) for value in ("one", "two"))
    assert list(map(written, changed(before, after))) == ['{"headers": {"X-Pass": "***"}}'] * 2


@pytest.mark.parametrize(
    "auth",
    [
        OAuth2("https://t.example/?k=hush", "client", "hush"),
        ClientCertificate("-----BEGIN CERTIFICATE-----", "hush", AT),
    ],
)
def test_what_an_endpoint_proves_itself_with_is_not_kept(auth: EndpointAuth) -> None:
    text = written(settings_state(endpoint(auth=auth)))
    assert text is not None
    assert "***" in text
    assert "hush" not in text


def test_a_setting_that_nobody_has_decided_about_is_hidden_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited, "SHOWN", frozenset())
    before, after = (settings_state(endpoint(description=text)) for text in ("one", "two"))
    assert list(map(written, changed(before, after))) == ['{"description": "***"}'] * 2


def test_somebody_has_decided_what_is_kept_of_each_setting() -> None:
    """A setting that is new is hidden until it is in one of the three."""
    known = [*SHOWN, *SHOWN_IN_PART, *HIDDEN_WHOLE]
    assert sorted(known) == sorted(each.name for each in fields(EndpointSettings))


def test_every_operation_names_its_object() -> None:
    assert get_args(AuditOperation) == OPERATIONS
    kinds = {"organization", "key", "endpoint", "event_type", "delivery", "replay", "secrets", "portal_link", "parked"}
    assert {each.partition(".")[0] for each in OPERATIONS} == kinds
