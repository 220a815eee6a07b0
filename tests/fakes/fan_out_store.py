"""The FanOutStore in memory."""

import json
from collections import deque
from collections.abc import Collection

from service.core.deliveries.delivery import Delivery, DeliveryKey, State
from service.core.endpoints.subscription import covers, specificity
from service.ports.store import Asking, Choose, FanOutStep
from tests.fakes.database import DeliveryRow, FanOutRow, MemoryDatabase


class MemoryFanOutStore:
    """The FanOutStore port. ``errors`` are raised by the next steps, before anything is changed."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.errors: deque[BaseException] = deque()
        self.steps: list[tuple[str, int]] = []  # whose event, and how many deliveries were made

    async def next_organization(self, after: str, resting: Collection[str]) -> str | None:
        owners = {row.event.event.organization_id for row in self._database.fan_outs.values()}
        return min((each for each in owners if each > after and each not in resting), default=None)

    async def step(self, organization_id: str, limit: int, choose: Choose) -> FanOutStep | None:
        if self.errors:
            raise self.errors.popleft()
        rows = [row for row in self._database.fan_outs.values() if row.event.event.organization_id == organization_id]
        row = min(rows, key=lambda each: each.event.uid, default=None)
        if row is None:
            return None
        found = self._asking(row)[:limit]
        asking = [each for each in found if not self._database.has_expired(each.endpoint_id)]
        event = row.event.event
        chosen = await choose(event.body, asking) if asking else ()
        for each in chosen:
            self._deliver(row, each)
        if len(found) < limit:
            self._database.fan_outs.pop(row.event.uid, None)
        else:
            row.done_through = found[-1].endpoint_id
        self.steps.append((organization_id, len(chosen)))
        return FanOutStep(row.event.uid, len(asking), len(chosen))

    def _asking(self, row: FanOutRow) -> list[Asking]:
        event, found, active = row.event.event, [], self._database.active_subscriptions()
        for endpoint in self._database.endpoints.values():
            if endpoint.organization_id != event.organization_id or endpoint.id <= row.done_through:
                continue
            covering = [
                each for each in active[endpoint.id] if each.id <= row.frontier and covers(each.event_type, event.type)
            ]
            if covering:
                best = max(covering, key=lambda each: (specificity(each.event_type), -each.id))
                wanted = endpoint.settings.get("filter")
                text = None if wanted is None else json.dumps(wanted)
                found.append(Asking(endpoint.id, best.id, text, endpoint.settings.get("order_by")))
        return sorted(found, key=lambda each: each.endpoint_id)

    def _deliver(self, row: FanOutRow, asking: Asking) -> None:
        event, now = row.event.event, self._database.clock.now()
        key = DeliveryKey(row.event.uid, asking.subscription_id)
        delivery = Delivery(
            key, event.organization_id, event.id, event.type, event.body, asking.endpoint_id, created_at=now
        )
        self._database.deliveries[key] = DeliveryRow(delivery, State.PENDING, now, self._database.now)
        if asking.line is not None:
            self._database.lines[key] = (asking.line, event.occurred_at)
