"""The HTTP face put together: which operations there are, what they work on, and the documents made from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from service import __version__
from service.adapters.postgres.deliveries.reader import DeliveryReader
from service.adapters.postgres.deliveries.replays import Replays
from service.adapters.postgres.endpoints.health import EndpointHealth
from service.adapters.postgres.endpoints.resthooks import ResthookStore
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.events.reader import EventReader
from service.adapters.postgres.events.story import ExplainReader
from service.adapters.postgres.events.types import EventTypeStore
from service.adapters.postgres.requests.idempotency import IdempotencyStore
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.postgres.requests.rate_windows import RateWindowStore
from service.api.app import make_api
from service.api.documents.asyncapi import asyncapi_document
from service.api.documents.routes import document_routes
from service.api.entrance import Gate
from service.api.idempotency import Idempotency
from service.api.operation import Operation
from service.api.rate_limit import RateLimiter
from service.api.v1.deliveries import Deliveries
from service.api.v1.endpoints.actions import EndpointActions
from service.api.v1.endpoints.operations import Endpoints
from service.api.v1.endpoints.reading import SettingsReader
from service.api.v1.event_types import EventTypes
from service.api.v1.events import Events
from service.api.v1.explain import Explain
from service.api.v1.me import me_operation
from service.api.v1.messages import Messages
from service.api.v1.publishing import PublishEvents
from service.api.v2 import PREFIX, make_v2
from service.core.events.registry import REGISTRY
from service.core.events.schema import built_in_types
from service.flow.intake import Intake
from service.ports.observer import Observer
from service.ports.secrets import SecretBox
from service.settings import Settings

SAMPLE_ORGANIZATION = "org_8Zq1"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the face works on."""

    settings: Settings
    engine: AsyncEngine
    secret_box: SecretBox
    intake: Intake
    observer: Observer
    now: Callable[[], datetime]


def api_of(parts: Parts) -> web.Application:
    """Both surfaces and the documents."""
    settings, gate = parts.settings, _gate(parts)
    operations = v1_operations(parts)
    resthooks = ResthookStore(parts.engine, parts.secret_box, tuple(REGISTRY))
    v2 = make_v2(resthooks, gate, parts.observer, settings.egress_policy, settings.public_url)
    types = built_in_types(SAMPLE_ORGANIZATION, parts.now())
    documents = document_routes(
        operations,
        types,
        configured_url=settings.public_url,
        asyncapi=asyncapi_document(__version__, types, settings.topology),
    )
    return make_api(operations, gate, parts.observer, surfaces={PREFIX: v2}, documents=documents)


def v1_operations(parts: Parts) -> Sequence[Operation]:
    """Every operation of the native API."""
    settings, engine, now = parts.settings, parts.engine, parts.now
    endpoints, health = EndpointStore(engine, parts.secret_box), EndpointHealth(engine)
    reader = SettingsReader(
        settings.egress_policy,
        settings.retry_schedule,
        timeout_seconds_max=settings.lease_seconds - settings.lease_margin_seconds,
    )
    events, deliveries = EventReader(engine), DeliveryReader(engine)
    return (
        me_operation(),
        *Endpoints(endpoints, health, reader, now).operations(),
        *EndpointActions(endpoints, health, deliveries, parts.intake.send_test, now).operations(),
        *EventTypes(EventTypeStore(engine), now).operations(),
        PublishEvents(parts.intake.judge, parts.intake.record, now).operation(),
        *Events(events).operations(),
        *Explain(ExplainReader(engine)).operations(),
        *Messages(events).operations(),
        *Deliveries(deliveries, Replays(engine)).operations(),
    )


def _gate(parts: Parts) -> Gate:
    answers = Idempotency(IdempotencyStore(parts.engine), parts.secret_box)
    limiter = RateLimiter(RateWindowStore(parts.engine).count, parts.settings.rate_limit_per_hour)
    return Gate(KeyStore(parts.engine), limiter, answers, parts.now)
