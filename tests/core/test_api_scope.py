"""Scopes and what they include: tables."""

import pytest

from service.core.keys.scope import SCOPES, endpoint_of, includes, scope_problem


@pytest.mark.parametrize(
    "scope",
    [
        *sorted(SCOPES),
        *("publish:message.sent", "publish:message.*", "publish:order.line.*", "publish:endpoint.gone"),
        *("read:ep_1", "write:ep_0a"),
    ],
)
def test_what_is_a_scope(scope: str) -> None:
    assert scope_problem(scope) is None


@pytest.mark.parametrize(
    ("scope", "word"),
    [
        ("wrte", "did you mean 'write'?"),
        ("", "Known: admin"),
        ("admin:ep_1", "unknown scope"),
        ("publish:", "event type"),
        ("publish:*", "event type"),
        ("publish:message*", "event type"),
        ("publish:Message.sent", "event type"),
        ("publish:message", "event type"),
        ("publish:message.*.*", "event type"),
        ("read:", "id of an endpoint"),
        ("write:dlv_1", "id of an endpoint"),
        ("read:ep_1:ep_2", "id of an endpoint"),
    ],
)
def test_what_is_none(scope: str, word: str) -> None:
    assert word in (scope_problem(scope) or "")


@pytest.mark.parametrize(
    ("scopes", "wanted", "is_included"),
    [
        ({"read"}, "read", True),
        ({"read"}, "read:ep_1", True),
        ({"read:ep_1"}, "read:ep_1", True),
        ({"read:ep_1"}, "read", False),
        ({"read:ep_1"}, "read:ep_2", False),
        ({"read:ep_1"}, "read:ep_12", False),
        ({"read:ep_1"}, "write:ep_1", False),
        ({"write", "admin"}, "read", False),
        ({"publish"}, "publish:message.*", True),
        ({"publish:message.*"}, "publish", False),
        ({"publish:message.*"}, "publish:message.sent", True),
        ({"publish:message.*"}, "publish:message.*", True),
        ({"publish:message.*"}, "publish:messages.sent", False),
        ({"publish:order.*"}, "publish:order.line.*", True),
        ({"publish:order.line.*"}, "publish:order.*", False),
        ({"publish:message.sent"}, "publish:message.*", False),
        ({"publish:message.sent", "publish:link.clicked"}, "publish:link.clicked", True),
    ],
)
def test_what_scopes_include(scopes: set[str], wanted: str, *, is_included: bool) -> None:
    assert includes(scopes, wanted) is is_included


def test_which_endpoint_a_scope_is_limited_to() -> None:
    found = [endpoint_of(each) for each in ("read", "read:ep_1", "write:ep_2", "publish:message.sent")]
    assert found == [None, "ep_1", "ep_2", None]
