"""The ExpiryStore in memory."""

from collections.abc import Collection, Mapping, Sequence

from service.core.endpoints.expiry import WARN_BEFORE, Expiry
from service.core.endpoints.view import RemovalReason
from service.ports.expiry import Warned
from tests.fakes.database import MemoryDatabase


class MemoryExpiryStore:
    """The ExpiryStore port."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def over(self, limit: int, resting: Collection[str]) -> Mapping[str, Sequence[str]]:
        now = self._database.clock.now()
        over = [each for each in self._coming() if each.valid_until <= now and each.organization_id not in resting]
        owned: dict[str, list[str]] = {}
        for each in over[:limit]:
            owned.setdefault(each.organization_id, []).append(each.endpoint_id)
        return owned

    async def end(self, organization_id: str, endpoint_ids: Sequence[str]) -> Sequence[Expiry]:
        now = self._database.clock.now()
        ended = [
            each
            for each in self._coming()
            if each.valid_until <= now and each.organization_id == organization_id and each.endpoint_id in endpoint_ids
        ]
        for each in ended:
            self._database.end_endpoint(each.endpoint_id, RemovalReason.EXPIRED)
            event = each.end(now)
            if event is not None:
                self._database.announce(event)
        return ended

    async def warn(self, after: Warned | None, limit: int) -> tuple[int, Warned]:
        now = self._database.clock.now()
        after = max(after or (now, ""), (now, ""))
        coming = [
            each
            for each in self._coming()
            if (each.valid_until, each.endpoint_id) > after and each.valid_until <= now + WARN_BEFORE
        ][:limit]
        for each in coming:
            event = each.warning(now)
            if event is not None:
                self._database.announce(event)
        is_full = len(coming) == limit
        return len(coming), (coming[-1].valid_until, coming[-1].endpoint_id) if is_full else (now + WARN_BEFORE, "")

    def _coming(self) -> Sequence[Expiry]:
        """The active endpoints that have an end, the next one first."""
        active = self._database.active_subscriptions()
        found = [
            Expiry(row.organization_id, row.id, valid_until, [each.event_type for each in active[row.id]])
            for row in self._database.endpoints.values()
            if not row.is_removed and (valid_until := row.settings.get("valid_until")) is not None
        ]
        return sorted(found, key=lambda each: (each.valid_until, each.endpoint_id))
