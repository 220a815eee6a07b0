"""The directory, and the keys that sign."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.endpoints.directory import OrganizationDirectory
from service.core.endpoints.endpoint import Endpoint, Secret
from service.core.endpoints.filter import Filter, parse_filter
from service.core.endpoints.subscription import Subscription, covers, most_specific
from tests.fakes.clock import START

NEW, OLD = b"n" * 32, b"o" * 32


def _endpoint(*secrets: Secret) -> Endpoint:
    return Endpoint("ep_1", "org_1", "https://a.example/", secrets)


def test_subscriptions_are_found_by_type_and_by_id() -> None:
    endpoints = [replace(_endpoint(), id=f"ep_{n}") for n in range(3)]
    kinds = ("a.b", "a.c", "a.b")
    subscriptions = tuple(Subscription(n, kind, endpoints[n]) for n, kind in enumerate(kinds))
    directory = OrganizationDirectory.of("org_1", 7, subscriptions)
    assert [each.id for each in directory.matching("a.b", b"{}")] == [0, 2]
    assert directory.matching("a.d", b"{}") == ()
    assert directory.subscriptions == {each.id: each for each in subscriptions}


def test_keys_sign_newest_first_until_they_expire() -> None:
    endpoint = _endpoint(Secret(NEW), Secret(OLD, START))
    assert endpoint.keys_at(START - timedelta(seconds=1)) == (NEW, OLD)
    assert endpoint.keys_at(START) == (NEW,)


def test_one_key_that_does_not_open_stops_the_endpoint_unless_it_has_expired() -> None:
    assert _endpoint(Secret(NEW), Secret(None)).keys_at(START) is None
    assert _endpoint(Secret(NEW), Secret(None, START)).keys_at(START) == (NEW,)


def test_without_any_key_nothing_is_signed() -> None:
    assert _endpoint().keys_at(START) is None
    assert _endpoint(Secret(OLD, START)).keys_at(START) is None


# --------------------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("pattern", "event_type", "is_covered"),
    [
        ("*", "message.sent", True),
        ("message.*", "message.sent", True),
        ("message.*", "message.sent.twice", True),
        ("message.sent.*", "message.sent.twice", True),
        ("message.sent", "message.sent", True),
        ("message.sent.*", "message.sent", False),
        ("message.sent", "message.sent.twice", False),
        ("message.*", "messages.sent", False),
        ("mess.*", "message.sent", False),
        ("mess*", "message.sent", False),
        ("*.sent", "message.sent", False),
        ("", "message.sent", False),
    ],
)
def test_what_a_pattern_covers(pattern: str, event_type: str, is_covered: bool) -> None:  # noqa: FBT001
    assert covers(pattern, event_type) == is_covered


PATTERNS = ("*", "a.*", "a.b.*", "a.b.c", "a.b", "z.*")


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(PATTERNS)), unique=True), st.sampled_from(["a.b", "a.b.c"])
)
def test_an_endpoint_gets_an_event_once_by_its_most_specific_subscription(
    wanted: list[tuple[int, str]], event_type: str
) -> None:
    endpoints = [replace(_endpoint(), id=f"ep_{n}") for n in range(4)]
    subscriptions = tuple(Subscription(n, kind, endpoints[where]) for n, (where, kind) in enumerate(wanted, 1))
    directory = OrganizationDirectory.of("org_1", 7, subscriptions)
    matching = directory.matching(event_type, b"{}")
    assert directory.matching(event_type, b"{}") == matching
    found = {each.endpoint.id: each.event_type for each in matching}
    assert len(found) == len(matching)
    for endpoint in endpoints:
        mine = {each.event_type for each in subscriptions if each.endpoint is endpoint}
        order = (event_type, *(each for each in ("a.b.*", "a.*", "*") if covers(each, event_type)))
        assert found.get(endpoint.id) == next((each for each in order if each in mine), None)
        best = most_specific([each for each in subscriptions if each.endpoint is endpoint], event_type)
        assert (best.event_type if best else None) == found.get(endpoint.id)


# --------------------------------------------------------------------------- filters


def _only(campaign: str) -> Filter:
    parsed = parse_filter({"scope": {"campaign_id": [campaign]}})
    assert isinstance(parsed, Filter)
    return parsed


def _directory(*filters: Filter | None) -> OrganizationDirectory:
    return OrganizationDirectory.of(
        "org_1",
        7,
        tuple(
            Subscription(n, "message.*", replace(_endpoint(), id=f"ep_{n}", filter=each))
            for n, each in enumerate(filters, 1)
        ),
    )


BODY = b'{"data":{"scope":{"campaign_id":"A"}}}'


def test_a_filter_keeps_events_away() -> None:
    directory = _directory(_only("A"), None, _only("B"))
    assert [each.id for each in directory.matching("message.sent", BODY)] == [1, 2]


def test_a_body_is_read_only_for_a_filter_that_is_asked() -> None:
    unread = b"this would not decode"
    assert len(_directory(None, None).matching("message.sent", unread)) == 2
    assert _directory(_only("A")).matching("link.clicked", unread) == ()
    with pytest.raises(ValueError, match="Expecting value"):
        _directory(_only("A")).matching("message.sent", unread)
