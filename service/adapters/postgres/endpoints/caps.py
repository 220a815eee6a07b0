"""Whether an organization may have more, asked inside the transaction that adds, which has locked the directory.

The lock is what keeps the answer true until the commit: whoever adds to the same organization waits for it.
"""

from collections.abc import Mapping
from typing import Final

import asyncpg

from service.core.endpoints.caps import Capped, Caps
from service.core.endpoints.refusals import CapReached

# $1 the organization. What is gone or has expired does not count.
_COUNTS: Final[Mapping[Capped, str]] = {
    "endpoints": "SELECT count(*) FROM endpoints WHERE organization_id = $1 AND removed_at IS NULL",
    "subscriptions": "SELECT count(*) FROM subscriptions WHERE organization_id = $1 AND removed_at IS NULL",
    "event types": "SELECT count(*) FROM event_types WHERE organization_id = $1",
    "secrets": """SELECT count(*) FROM endpoint_secrets s
                    JOIN endpoints e ON e.organization_id = $1 AND e.id = s.endpoint_id AND e.removed_at IS NULL
                   WHERE s.organization_id = $1 AND coalesce(s.expires_at > now(), true)""",
}


async def cap_reached(
    connection: asyncpg.Connection, organization_id: str, caps: Caps, more: Mapping[Capped, int]
) -> CapReached | None:
    """The first cap that the organization would pass with so many ``more`` of each; None if it may have them."""
    for what, count in more.items():
        cap = caps.of(what)
        if count > 0 and cap and await connection.fetchval(_COUNTS[what], organization_id) + count > cap:
            return CapReached(what, cap)
    return None
