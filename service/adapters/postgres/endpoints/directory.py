"""Implements ``SubscriptionStore``: what workers read of organizations, endpoints and subscriptions."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.core.endpoints.directory import DirectoryPage, Place
from service.core.endpoints.endpoint import StoredEndpoint, StoredSecret
from service.core.endpoints.view import RemovalReason
from service.core.events.own_types.own_type import OwnEventType

# In the order of StoredEndpoint's fields.
_COLUMNS: Final = """e.id, e.url, e.is_paused,
       (SELECT array_agg((k.id, k.sealed, k.expires_at, k.signature_style, k.signature_header)
                       ORDER BY k.created_at DESC, k.id)
          FROM endpoint_secrets k
         WHERE k.endpoint_id = e.id AND coalesce(k.expires_at > now(), true)),
       (SELECT array_agg((s.id, s.event_type) ORDER BY s.id) FROM subscriptions s
         WHERE s.endpoint_id = e.id AND s.removed_at IS NULL),
       e.sealed_headers, e.signature_style, e.signature_header, e.filter, e.retry, e.timeout_seconds,
       e.rate_limit_per_second, e.max_in_flight, e.order_by, e.sealed_auth, e.sealed_url,
       e.valid_until"""

_ENDED: Final = "SELECT id, removed_because FROM subscriptions WHERE id = ANY ($1) AND removed_at IS NOT NULL"

# One statement sees one snapshot. Each organization's part is read from endpoints_by_version, so it costs what has
# changed, however many there are.
_PAGES: Final = f"""
SELECT o.id, o.directory_version,
       ARRAY(SELECT (e.directory_version, e.removed_at IS NOT NULL, {_COLUMNS})
               FROM (SELECT * FROM endpoints
                      WHERE organization_id = p.organization_id
                        AND (directory_version, id COLLATE "C") > (p.version, p.endpoint_id COLLATE "C")
                      ORDER BY directory_version, id COLLATE "C" LIMIT $5) AS e
              ORDER BY e.directory_version, e.id COLLATE "C") AS changed,
       ARRAY(SELECT (t.name, t.schema) FROM event_types t
              WHERE t.organization_id = p.organization_id AND t.directory_version >= p.types_version) AS event_types
  FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
         AS p (organization_id, version, endpoint_id, types_version)
  JOIN organizations o ON o.id = p.organization_id
"""  # noqa: S608 - constants only
_ENDPOINTS: Final = f"""
SELECT e.organization_id, {_COLUMNS} FROM endpoints e WHERE e.id = ANY ($1) AND e.removed_at IS NULL"""  # noqa: S608


class PostgresSubscriptionStore:
    """Implements ``SubscriptionStore``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def load(self, places: Mapping[str, Place], *, endpoints_max: int) -> Sequence[DirectoryPage]:
        """What comes after each place in the directories of the organizations that exist, all from one snapshot."""
        after = places.values()
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                _PAGES,
                list(places),
                [each.version for each in after],
                [each.endpoint_id for each in after],
                [each.types_version for each in after],
                endpoints_max,
            )
        return [_page(row, places[row["id"]], endpoints_max=endpoints_max) for row in rows]

    async def endpoints(self, endpoint_ids: Collection[str]) -> Sequence[tuple[str, StoredEndpoint]]:
        """Those of these endpoints that have not been removed, each after its organization."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(_ENDPOINTS, list(endpoint_ids))
        return [(organization_id, _endpoint(columns)) for organization_id, *columns in rows]

    async def ended(self, subscription_ids: Collection[int]) -> Mapping[int, RemovalReason]:
        """Those of these subscriptions that have ended, and why."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(_ENDED, list(subscription_ids))
        return {number: RemovalReason(because) for number, because in rows}


def _page(row: asyncpg.Record, after: Place, *, endpoints_max: int) -> DirectoryPage:
    organization_id, version, changed, event_types = row
    is_last = len(changed) < endpoints_max
    until = (
        Place(version + 1, "", version + 1)  # nothing is left with this version or an older one
        if is_last
        else Place(changed[-1][0], changed[-1][2], version + 1)
    )
    return DirectoryPage(
        organization_id,
        version,
        after,
        until,
        is_last,
        tuple(_endpoint(columns) for _, is_removed, *columns in changed if not is_removed),
        tuple(id_ for _, is_removed, id_, *_ in changed if is_removed),
        {name: OwnEventType(name, schema) for name, schema in event_types},
    )


def _endpoint(columns: Sequence[Any]) -> StoredEndpoint:
    id_, url, is_paused, secrets, subscriptions, *settings = columns
    return StoredEndpoint(
        id_,
        url,
        is_paused,
        tuple(StoredSecret(*secret) for secret in secrets or ()),
        tuple((number, event_type) for number, event_type in subscriptions or ()),
        *settings,
    )
