"""The directory, and the keys that sign."""

from datetime import timedelta

from service.core.subscription import Endpoint, OrganizationDirectory, Secret, Subscription
from tests.fakes.clock import START

NEW, OLD = b"n" * 32, b"o" * 32


def _endpoint(*secrets: Secret) -> Endpoint:
    return Endpoint("ep_1", "org_1", "https://a.example/", secrets)


def test_subscriptions_are_found_by_type_and_by_id() -> None:
    endpoint = _endpoint()
    subscriptions = tuple(Subscription(n, kind, endpoint) for n, kind in enumerate(["a.b", "a.c", "a.b"], 1))
    directory = OrganizationDirectory.of("org_1", 7, subscriptions)
    assert [each.id for each in directory.matching("a.b")] == [1, 3]
    assert directory.matching("a.d") == ()
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
