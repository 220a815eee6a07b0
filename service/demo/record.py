"""The demo's results as the database records them; the display uses these, not the receivers' counts."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver


@dataclass(frozen=True, slots=True)
class Ends:
    """One endpoint's deliveries by state. ``retried`` counts attempts beyond the first."""

    open: int = 0
    delivered: int = 0
    dead: int = 0
    cancelled: int = 0
    retried: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """All counts at one moment."""

    events: int
    by_endpoint: Mapping[str, Ends]

    def of(self, endpoint_id: str) -> Ends:
        """An endpoint's counts, zero before its first delivery."""
        return self.by_endpoint.get(endpoint_id, Ends())

    @property
    def total(self) -> Ends:
        """All endpoints together."""
        every = self.by_endpoint.values()
        return Ends(
            sum(ends.open for ends in every),
            sum(ends.delivered for ends in every),
            sum(ends.dead for ends in every),
            sum(ends.cancelled for ends in every),
            sum(ends.retried for ends in every),
        )


async def read_record(engine: AsyncEngine, organization_id: str) -> Record:
    """Read the counts. Raises ``UnavailableError``."""
    async with driver(engine) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        events = await connection.fetchval(
            "SELECT count(*) FROM event_keys WHERE organization_id = $1", organization_id
        )
        rows = await connection.fetch(
            """SELECT endpoint_id,
                      count(*) FILTER (WHERE state IN ('pending', 'leased')),
                      count(*) FILTER (WHERE state = 'delivered'),
                      count(*) FILTER (WHERE state = 'dead'),
                      count(*) FILTER (WHERE state = 'cancelled'),
                      coalesce(sum(attempts_made - 1) FILTER (WHERE attempts_made > 1), 0)::bigint
                 FROM deliveries WHERE organization_id = $1 GROUP BY endpoint_id""",
            organization_id,
        )
    return Record(events, {endpoint_id: Ends(*counts) for endpoint_id, *counts in rows})
