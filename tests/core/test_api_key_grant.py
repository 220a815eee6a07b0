"""What a key may give: a table."""

from datetime import UTC, datetime, timedelta

import pytest

from service.core.keys.api_key import StoredKey
from service.core.keys.grant import excess

NOW = datetime(2026, 11, 20, 18, 30, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def key(*scopes: str, expires_at: datetime | None = None) -> StoredKey:
    return StoredKey("k", "org_a", b"", frozenset(scopes), expires_at, None, "", None)


@pytest.mark.parametrize(
    ("giver", "scopes", "expires_at", "fields"),
    [
        (key("admin", "read"), {"read"}, None, set()),
        (key("admin", "read"), {"admin", "read"}, LATER, set()),
        (key("admin"), {"read"}, None, {"scopes"}),
        (key("admin", "read", expires_at=NOW), {"read"}, NOW, set()),
        (key("admin", "read", expires_at=NOW), {"read"}, LATER, {"expires_in_days"}),
        (key("admin", "read", expires_at=NOW), {"read", "write"}, None, {"scopes", "expires_in_days"}),
    ],
)
def test_what_would_be_more_than_a_key_has(
    giver: StoredKey, scopes: set[str], expires_at: datetime | None, fields: set[str]
) -> None:
    assert excess(giver, frozenset(scopes), expires_at).keys() == fields
