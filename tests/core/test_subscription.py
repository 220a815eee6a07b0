"""The directory, and the keys that sign."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.endpoints.directory import (
    BEGINNING,
    NARROW_MAX,
    DirectoryPage,
    OrganizationDirectory,
    Place,
    let_through,
)
from service.core.endpoints.endpoint import Endpoint, Secret, StoredEndpoint
from service.core.endpoints.filter.filter import Filter, parse_filter
from service.core.endpoints.subscription import Subscription, covers, most_specific, patterns_covering, specificity
from service.core.events.own_types.own_type import OwnEventType
from tests.fakes.clock import START

NEW, OLD = b"n" * 32, b"o" * 32


def _endpoint(*secrets: Secret) -> Endpoint:
    return Endpoint("ep_1", "org_1", "https://a.example/", secrets)


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
    directory = OrganizationDirectory("org_1")
    directory.take(_page(*(_stored(each.id, subscriptions) for each in endpoints)))
    asking = directory.asking(event_type)
    assert asking is not None
    assert [each.subscription_id for each in asking] == sorted(each.subscription_id for each in asking)
    found = {each.stored.id: each.pattern for each in asking}
    assert len(found) == len(asking)
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


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4), st.integers(0, 4))
def test_the_patterns_covering_a_type_are_all_and_the_most_specific_first(parts: list[str], cut: int) -> None:
    event_type = ".".join(parts)
    covering = patterns_covering(event_type)
    assert all(covers(each, event_type) for each in covering)
    assert list(covering) == sorted(set(covering), key=specificity, reverse=True)
    other = ".".join([*parts[:cut], "*"])
    assert covers(other, event_type) == (other in covering)


def _asking(*filters: Filter | None) -> tuple[Subscription, ...]:
    return tuple(
        Subscription(n, "message.*", replace(_endpoint(), id=f"ep_{n}", filter=each))
        for n, each in enumerate(filters, 1)
    )


BODY = b'{"data":{"scope":{"campaign_id":"A"}}}'


def test_a_filter_keeps_events_away() -> None:
    assert [each.id for each in let_through(_asking(_only("A"), None, _only("B")), BODY, START)] == [1, 2]


def test_a_body_is_read_only_for_a_filter_that_is_asked() -> None:
    unread = b"this would not decode"
    assert len(let_through(_asking(None, None), unread, START)) == 2
    with pytest.raises(ValueError, match="Expecting value"):
        let_through(_asking(_only("A")), unread, START)


# --------------------------------------------------------------------------- the copy of a directory


def _stored(endpoint_id: str, subscriptions: Iterable[Subscription] = (), **changes: Any) -> StoredEndpoint:
    mine = tuple((each.id, each.event_type) for each in subscriptions if each.endpoint.id == endpoint_id)
    return StoredEndpoint(endpoint_id, "https://a.example/", False, (), mine, **changes)  # noqa: FBT003


def _page(*endpoints: StoredEndpoint, **changes: Any) -> DirectoryPage:
    until = Place(8, "", 8)
    known: dict[str, Any] = {"after": BEGINNING, "until": until, "is_last": True, "endpoints": endpoints}
    known |= {"organization_id": "org_1", "version": 7}
    return DirectoryPage(**(known | changes))


def _plain(number: int, *patterns: str) -> StoredEndpoint:
    subscriptions = tuple((10 * number + place, pattern) for place, pattern in enumerate(patterns))
    return replace(_stored(f"ep_{number}"), subscriptions=subscriptions)


def _ids(directory: OrganizationDirectory, event_type: str) -> list[str] | None:
    asking = directory.asking(event_type)
    return None if asking is None else [each.stored.id for each in asking]


def test_a_copy_changes_by_its_changes() -> None:
    directory = OrganizationDirectory("org_1")
    directory.take(_page(_plain(1, "a.b"), _plain(2, "a.*"), _plain(3, "a.c")))
    assert (directory.version, _ids(directory, "a.b"), _ids(directory, "a.c")) == (
        7,
        ["ep_1", "ep_2"],
        ["ep_2", "ep_3"],
    )
    changes = {"version": 9, "after": Place(8, "", 8), "until": Place(10, "", 10), "removed": ("ep_1", "ep_unknown")}
    directory.take(_page(_plain(3, "a.b"), _plain(4, "*"), **changes))
    assert (directory.version, _ids(directory, "a.b")) == (9, ["ep_2", "ep_3", "ep_4"])
    assert (_ids(directory, "a.c"), directory.endpoint_count) == (["ep_2", "ep_4"], 3)


def test_until_all_is_read_nobody_is_asking() -> None:
    directory = OrganizationDirectory("org_1")
    half = Place(3, "ep_1", 8)
    directory.take(_page(_plain(1, "a.b"), until=half, is_last=False))
    assert (directory.version, directory.asking("a.b")) == (None, None)
    directory.take(_page(_plain(2, "a.b"), after=half))
    assert (directory.version, _ids(directory, "a.b")) == (7, ["ep_1", "ep_2"])
    directory.take(_page(_plain(1, "a.c"), version=9, after=Place(8, "", 8), until=Place(9, "ep_1", 10), is_last=False))
    assert (directory.version, directory.asking("a.b")) == (None, None), "half of a change is not a version"


def test_a_page_that_follows_another_place_is_left_out_but_for_its_event_types() -> None:
    """Two readers at once: the second one's page is older than what the first has read."""
    directory = OrganizationDirectory("org_1")
    directory.take(_page(_plain(1, "a.b")))
    types = {"order.placed": OwnEventType("order.placed", "{}")}
    directory.take(_page(_plain(1, "a.old"), version=5, until=Place(6, "", 6), event_types=types))
    assert (directory.version, _ids(directory, "a.b"), directory.event_types) == (7, ["ep_1"], types)


def test_an_event_for_many_is_not_fanned_out_in_memory() -> None:
    directory = OrganizationDirectory("org_1")
    directory.take(_page(*(_plain(number, "a.b" if number % 2 else "a.*") for number in range(NARROW_MAX))))
    assert len(directory.asking("a.b") or ()) == NARROW_MAX
    directory.take(_page(_plain(NARROW_MAX, "*", "z"), after=Place(8, "", 8)))
    assert directory.asking("a.b") is None
    assert _ids(directory, "z") == [f"ep_{NARROW_MAX}"]


def test_an_endpoint_stays_open_until_it_changes() -> None:
    directory = OrganizationDirectory("org_1")
    same, changing = _plain(1, "a.b"), _plain(2, "a.b")
    directory.take(_page(same, changing))
    for stored in (same, changing):
        directory.keep_opened(stored, replace(_endpoint(), id=stored.id))
    directory.keep_ready("a.b", (), 7)
    assert directory.ready("a.b") == ()
    changed = replace(changing, url="https://b.example/")
    directory.take(_page(_plain(1, "a.b"), changed, after=Place(8, "", 8)))
    assert directory.opened(same) is not None
    assert directory.opened(changing) is None
    assert directory.opened(changed) is None
    assert directory.ready("a.b") is None
    directory.keep_opened(changing, _endpoint())  # whoever opened it meanwhile
    assert directory.opened(changed) is None
    directory.keep_ready("a.b", (), 6)
    assert directory.ready("a.b") is None
