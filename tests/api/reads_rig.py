"""The reads of ``/v1`` on a real PostgreSQL: events come in through the intake, deliveries end through the store."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.reader import DeliveryReader
from service.adapters.postgres.deliveries.replays import Replays
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.health import EndpointHealth
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import connect
from service.adapters.postgres.events.reader import EventReader
from service.adapters.postgres.events.story import StoryReader
from service.adapters.postgres.replays.jobs import ReplayJobs
from service.api.v1.deliveries import DeliveryOperations
from service.api.v1.endpoints.operations import EndpointOperations
from service.api.v1.endpoints.showing import Showing
from service.api.v1.events import EventOperations
from service.api.v1.explain import ExplainOperations
from service.api.v1.messages import MessageOperations
from service.api.v1.replays.operations import ReplayOperations
from service.core.deliveries.attempt import attempt_of
from service.core.deliveries.delivery import Delivery
from service.core.deliveries.outcome import classify
from service.core.deliveries.request import Fault, Reply, Request
from service.core.deliveries.settlement import Settled, Settlement
from service.core.events.event import Event, parse_event
from service.core.keys.api_key import NewKey
from service.flow.intake.intake import Intake
from tests.api.conftest import Client, Troubles
from tests.api.endpoints_rig import RULES, SECRET_BOX, intake_on, nobody_asked
from tests.api.entrance_rig import Told, ask, bearing, make_key, real_entrance, serving
from tests.fakes.administration import Administration
from tests.fakes.delivery_store import alike
from tests.fakes.events import body_of

REPLY_HEADERS = ((b"Server", b"nginx"), (b"Set-Cookie", b"hunter2"))


@dataclass
class Reading:
    """The API with the organizations ``org_1`` and ``org_2``."""

    engine: AsyncEngine
    client: Client
    keys: Mapping[str, NewKey]
    troubles: Troubles
    administration: Administration
    store: PostgresDeliveryStore
    intake: Intake

    async def ask(self, path: str, method: str = "GET", *, by: str = "org_1", **options: Any) -> Told:
        """A request; nothing that it may meet is a fault of ours."""
        headers = bearing(self.keys[by], **options.pop("headers", {}))
        told = await ask(self.client, method, path, headers=headers, **options)
        assert not self.troubles.heard, self.troubles.heard
        return told

    async def get(self, path: str, **options: Any) -> Any:
        """What a request that must succeed comes to."""
        told = await self.ask(path, **options)
        assert told.status == 200, told.body
        return told.json

    async def take_in(self, *bodies: bytes) -> Sequence[Event]:
        """Record events, as producers send them."""
        events = []
        for body in bodies:
            event = parse_event(body, datetime.now(UTC))
            assert isinstance(event, Event), event
            events.append(event)
            await self.intake.take_in([event], "test")
        return events

    async def event(self, event_id: str, event_type: str = "message.sent", **changes: Any) -> Event:
        [event] = await self.take_in(body_of(id=event_id, type=event_type, **changes))
        return event

    async def attempt(
        self, settlement: Settlement, *, status: int | None = 200, count: int = 100, request: Request | None = None
    ) -> list[Delivery]:
        """Claim what is due and settle it so; ``status`` None: no answer came."""
        claims = await self.store.claim_due(alike(count))
        reply = (
            Reply(status, 12, b"said so", headers=REPLY_HEADERS)
            if status is not None
            else Fault(settlement_reason(settlement), 12)
        )
        now = datetime.now(UTC)
        batch = [
            Settled(
                claim.delivery,
                claim.claim_number,
                settlement,
                attempt_of(claim.delivery, claim.claim_number, now, reply, classify(reply, now), request),
            )
            for claim in claims
        ]
        assert all(await self.store.settle(batch))
        return [claim.delivery for claim in claims]


def settlement_reason(settlement: Settlement) -> Any:
    return settlement.reason


@asynccontextmanager
async def reading_on(database_url: str) -> AsyncIterator[Reading]:
    engine = connect(database_url)
    troubles = Troubles()
    try:
        events, endpoints = EventReader(engine), EndpointStore(engine, SECRET_BOX, RULES)
        operations = [
            *EventOperations(events).operations(),
            *ExplainOperations(StoryReader(engine)).operations(),
            *MessageOperations(events).operations(),
            *DeliveryOperations(DeliveryReader(engine), Replays(engine), events).operations(),
            *ReplayOperations(ReplayJobs(engine), endpoints).operations(),
            *EndpointOperations(
                endpoints,
                nobody_asked(engine),
                Showing(EndpointHealth(engine), RULES.schedule, lambda: datetime.now(UTC)),
            ).operations(),
        ]
        keys = {name: await make_key(engine, name, ("read", "write")) for name in ("org_1", "org_2")}
        keys["reader"] = await make_key(engine, "org_1", ("read",))
        async with serving(operations, real_entrance(engine, limit_per_hour=100_000), troubles) as client:
            store = PostgresDeliveryStore(engine, worker_name="worker", lease_seconds=60)
            administration = Administration(engine, SECRET_BOX)
            yield Reading(engine, client, keys, troubles, administration, store, intake_on(engine))
    finally:
        await engine.dispose()
