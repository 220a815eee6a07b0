"""What other services export, read as endpoints of ours."""

from typing import Any

import pytest

from service.core.imports.convoy import read_convoy
from service.core.imports.foreign import FOREIGN_MAX, Foreign, Found, Names, Unreadable, name_types
from service.core.imports.rapidpro import read_rapidpro
from service.core.imports.svix import read_svix

SVIX = {
    "id": "ep_1srOrx2ZWZBpBUvZwXKQmoEYga2",
    "uid": "crm",
    "url": "https://hooks.example/svix",
    "description": "CRM",
    "filterTypes": ["user.signup", "user.deleted"],
    "channels": ["eu"],
    "throttleRate": 30,
    "disabled": True,
    "metadata": {"team": "crm"},
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "headers": {"headers": {"X-Team": "crm"}, "sensitive": ["X-Key"]},
    "version": 1,
    "createdAt": "2026-01-01T00:00:00Z",
    "updatedAt": "2026-01-01T00:00:00Z",
}
CONVOY = {
    "uid": "01H3FRSZYKNYWGPVV46RN98PM5",
    "name": "orders",
    "url": "https://hooks.example/convoy",
    "owner_id": "owner-1",
    "status": "paused",
    "advanced_signatures": True,
    "http_timeout": 10,
    "rate_limit": 120,
    "rate_limit_duration": "1m",
    "secrets": [
        {"value": "the old one of many letters", "expires_at": "2026-01-02T00:00:00Z"},
        {"value": "Vuk5LM0uujddIsqO5v_eSuz88", "expires_at": None},
    ],
    "authentication": {"type": "api_key", "api_key": {"header_name": "X-Key", "header_value": "v"}},
}


def one(found: Any) -> Foreign:
    (endpoint,) = found
    assert isinstance(endpoint, Foreign), endpoint
    return endpoint


def test_rapidpros_subscribers_of_a_url_are_one_endpoint() -> None:
    read = read_rapidpro(
        {
            "resthooks": [{"resthook": "nobody-listens"}, {"resthook": "new-mother"}],
            "resthook_subscribers": [
                {"id": 1, "resthook": "new-mother", "target_url": " https://a.example/ "},
                {"id": 2, "resthook": "new-father", "target_url": "https://a.example/"},
                {"id": 3, "resthook": "new-mother", "target_url": "https://b.example/"},
                {"id": 4, "resthook": "new-mother", "target_url": "https://a.example/"},
            ],
        }
    )
    assert read.slugs == ("nobody-listens", "new-mother", "new-father")
    assert read.found == [
        Foreign(("1", "2"), "https://a.example/", ("new-mother", "new-father")),
        Foreign(("3",), "https://b.example/", ("new-mother",)),
    ]


@pytest.mark.parametrize(
    "export",
    [
        {"resthook_subscribers": [7]},
        {"resthook_subscribers": {}},
        {"resthook_subscribers": [{"id": "1", "resthook": "a", "target_url": "https://a.example/"}]},
        {"resthook_subscribers": [{"id": 1, "resthook": "", "target_url": "https://a.example/"}]},
        {"resthooks": [{"slug": "a"}]},
        {"resthooks": [{}] * (FOREIGN_MAX + 1)},
    ],
)
def test_what_is_no_list_of_rapidpros_is_said(export: Any) -> None:
    (unreadable,) = read_rapidpro(export).found
    assert isinstance(unreadable, Unreadable)


@pytest.mark.parametrize("export", [{"data": [SVIX], "iterator": None, "done": True}, [SVIX]])
def test_svix(export: Any) -> None:
    found = one(read_svix(export))
    assert found.event_types == ("user.signup", "user.deleted")
    assert (found.ids, found.url, found.is_paused) == ((SVIX["id"],), SVIX["url"], True)
    assert found.given == {
        "description": "CRM",
        "metadata": {"team": "crm", "svix_id": SVIX["id"], "svix_uid": "crm"},
        "rate_limit_per_second": 30.0,
        "secret": SVIX["secret"],
        "headers": {"X-Team": "crm"},
    }
    assert ["X-Key" in found.differs[0], "channels (eu)" in found.differs[1]] == [True, True]


def test_svix_without_filter_and_secret() -> None:
    found = one(read_svix([{"id": "ep_1", "url": "https://a.example/"}]))
    assert (found.event_types, found.differs) == (("*",), ("the export has no secret: it gets a new one",))
    assert "secret" not in found.given


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (read_svix([{**SVIX, "metadata": {"team": 7}}]), "metadata: every value must be text"),
        (read_svix([{**SVIX, "headers": {"X-Team": None}}]), "headers: every value must be text"),
        (read_svix([{**SVIX, "headers": {"headers": {"X-Team": 7}}}]), "headers: every value must be text"),
        (read_convoy([{**CONVOY, "secrets": 7}]), "secrets: must be a list"),
    ],
)
def test_an_entry_with_what_is_no_text_is_refused(found: Found, why: str) -> None:
    (unreadable,) = found
    assert isinstance(unreadable, Unreadable)
    assert unreadable.why == why


def test_a_status_that_is_no_text_pauses_nothing() -> None:
    assert not one(read_convoy([{**CONVOY, "status": ["paused"]}])).is_paused


def test_convoy() -> None:
    subscriptions = {
        "data": {
            "content": [
                {"endpoint_metadata": {"uid": CONVOY["uid"]}, "filter_config": {"event_types": ["order.placed"]}},
                {
                    "endpoint_metadata": {"uid": CONVOY["uid"]},
                    "filter_config": {"event_types": ["order.paid"], "filter": {"body": {"a": 1}}},
                },
                {"endpoint_metadata": {"uid": "another"}, "filter_config": {}},
            ]
        }
    }
    found = one(read_convoy({"status": True, "data": {"content": [CONVOY]}}, subscriptions))
    assert (found.event_types, found.is_paused) == (("order.placed", "order.paid"), True)
    assert found.given == {
        "description": "orders",
        "metadata": {"convoy_id": CONVOY["uid"], "convoy_owner_id": "owner-1"},
        "secret": "Vuk5LM0uujddIsqO5v_eSuz88",
        "signature_style": "t-v1",
        "signature_header": "X-Convoy-Signature",
        "rate_limit_per_second": 2.0,
        "timeout_seconds": 10.0,
        "headers": {"X-Key": "v"},
    }
    assert [each.split(":")[0] for each in found.differs] == ["its subscriptions have a filter", "its signature"]


def test_convoy_without_subscriptions_gets_everything_and_with_none_of_its_own_nothing() -> None:
    assert one(read_convoy({"content": [CONVOY]})).event_types == ("*",)
    (unreadable,) = read_convoy([CONVOY], [])
    assert isinstance(unreadable, Unreadable)
    assert "no subscription" in unreadable.why


def test_event_types_get_names() -> None:
    theirs = ["message.sent", "order.placed", "new-mother", "New Father", "*", "order.*", "mapped"]
    names = name_types(theirs, {"order.paid"}, {"mapped": "their.own"}, "resthook")
    assert names == Names(
        {
            "message.sent": "message.sent",
            "order.placed": "order.placed",
            "new-mother": "resthook.new_mother",
            "New Father": "resthook.new_father",
            "*": "*",
            "order.*": "order.*",
            "mapped": "their.own",
        },
        ["order.placed", "resthook.new_father", "resthook.new_mother", "their.own"],
        {},
    )


def test_two_event_types_never_become_one_unasked() -> None:
    names = name_types(["new-mother", "new_mother"], (), {}, "resthook")
    assert names.ours == {"new-mother": "resthook.new_mother"}
    assert "as 'new-mother' would" in names.problems["new_mother"]
    both = name_types(["new-mother", "new_mother"], (), {"new_mother": "resthook.new_mother"}, "resthook")
    assert both.problems == {}
    assert set(both.ours.values()) == {"resthook.new_mother"}


@pytest.mark.parametrize(("theirs", "asked"), [("endpoint.ours", {}), ("a", {"a": "no dots"}), ("!!!", {})])
def test_what_can_have_no_name_is_said(theirs: str, asked: dict[str, str]) -> None:
    assert name_types([theirs], (), asked, "resthook").problems.keys() == {theirs}


@pytest.mark.parametrize("number", [10**400, 10**15 + 1, -(10**400)])
def test_a_number_beyond_all_bounds_is_for_the_rules_to_refuse(number: int) -> None:
    limits = {"rate_limit": number, "rate_limit_duration": number, "http_timeout": number}
    found = one(read_convoy([{**CONVOY, **limits}], [{"endpoint_metadata": {"uid": CONVOY["uid"]}}])).given
    assert found.get("timeout_seconds") == (10**15 if number > 0 else None)
    assert one(read_svix([{**SVIX, "throttleRate": number}])).given.get("rate_limit_per_second") == (
        10**15 if number > 0 else None
    )
