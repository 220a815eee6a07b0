"""Things that are there to ask about, so that a test that makes up requests also meets what exists."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.observers.all import Observers
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.replays.jobs import ReplayJobs
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.system import SystemClock, draw, new_uid
from service.api.operation import Operation
from service.app.http import Parts, v1_operations
from service.core.events.event import Event, parse_event
from service.core.events.sample import sample_event
from service.core.keys.api_key import RANDOM_BYTES, generate_key
from service.core.keys.grant import KeyWish
from service.core.keys.scope import SCOPES
from service.core.replays.job import ReplayJob, ReplayWish
from service.flow.directory.directory import Directory
from service.flow.intake.intake import Intake
from service.flow.intake.turns import Turns
from service.flow.surroundings import Surroundings
from service.ports.secrets import SecretBox
from service.settings import load_settings
from tests.fakes.actor import SOMEBODY
from tests.fakes.administration import Administration

ORGANIZATION = "org_known"
END_ALL = """
WITH ended AS (DELETE FROM open_deliveries RETURNING *)
INSERT INTO final_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                              event_type, state, reason, created_at, claims_made, attempts_made)
SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, 'dead',
       'attempts_exhausted', created_at, claims_made, attempts_made FROM ended
"""
"""Ends every open delivery as dead, so that it can be replayed."""


@dataclass(frozen=True, slots=True)
class KnownIds:
    """An organization's things: ``values`` are by the name of the path parameter, as each path spells it."""

    key: str
    endpoint_id: str
    event_id: str
    message_id: str
    delivery_id: str
    replay_id: str
    key_id: str

    def put_into(self, case: Any) -> None:
        """Have a made-up request ask for what is there."""
        for name in case.path_parameters or {}:
            case.path_parameters[name] = self.of(case.operation.path, name)

    def of(self, path: str, name: str) -> str:
        """What a path's parameter may name. Raises KeyError for a path nobody has thought of."""
        kinds = {
            ("/v1/endpoints", "id"): self.endpoint_id,
            ("/.well-known/webhook-keys", "id"): self.endpoint_id,
            ("/v1/event-types", "name"): "message.sent",
            ("/v1/events", "event_id"): self.event_id,
            ("/v1/messages", "message_id"): self.message_id,
            ("/v1/deliveries", "id"): self.delivery_id,
            ("/v1/replays", "id"): self.replay_id,
            ("/v1/keys", "id"): self.key_id,
            ("/api/v2", "id"): "1",
        }
        return kinds["/".join(path.split("/")[:3]), name]


def all_operations() -> Sequence[Operation]:
    """Every operation, for their names and models; none of them can be called."""
    settings = load_settings({})
    nothing = cast("Any", None)
    verbs = {"judge": None, "record": None, "send_test": None, "turns": Turns()}
    intake = cast("Any", type("NoIntake", (), verbs))
    parts = Parts(settings, nothing, nothing, intake, nothing, lambda: datetime.now(UTC), nothing)
    return v1_operations(parts, nothing)


async def make_known_things(
    engine: AsyncEngine, secret_box: SecretBox, organization_id: str = ORGANIZATION
) -> KnownIds:
    """An organization with a key, an endpoint, an event, and a delivery."""
    administration = Administration(engine, secret_box)
    await administration.create_organization(organization_id)
    key = generate_key(secrets.token_bytes(RANDOM_BYTES))
    await KeyStore(engine).create_key(organization_id, key, KeyWish(SCOPES, rate_limit_per_hour=1_000_000), by=SOMEBODY)
    endpoint = await administration.add_endpoint(organization_id, "https://hooks.example.com/known", ["message.sent"])
    now = datetime.now(UTC)
    event = parse_event(sample_event("message.sent", organization_id, event_id="evt_known", number=1, now=now), now)
    assert isinstance(event, Event)
    around = Surroundings(SystemClock(), Observers(), draw, _never)
    directory = Directory(PostgresSubscriptionStore(engine), secret_box)
    store = PostgresDeliveryStore(engine, worker_name="api", lease_seconds=60)
    intake = Intake(store, directory, None, new_uid, around, batch_max=1, lease_seconds=60)
    delivery = await intake.send_test(event, endpoint.id)
    assert delivery is not None
    replay = await ReplayJobs(engine).create(organization_id, ReplayWish(endpoint.id), by=SOMEBODY)
    assert isinstance(replay, ReplayJob)
    other = generate_key(secrets.token_bytes(RANDOM_BYTES))
    await KeyStore(engine).create_key(organization_id, other, KeyWish(SCOPES), by=SOMEBODY)
    return KnownIds(key.text, endpoint.id, event.id, event.message_id or "", str(delivery), replay.id, other.key_id)


async def _never(_: float) -> None:
    raise AssertionError("nothing here waits")
