"""The HTTP API assembled: its operations, what they depend on, and the documents made from them."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from service import __version__
from service.adapters.postgres.audit.log import AuditReader
from service.adapters.postgres.deliveries.reader import DeliveryReader
from service.adapters.postgres.deliveries.replays import Replays
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.endpoints.health import EndpointHealth
from service.adapters.postgres.endpoints.public_keys import PublicKeyReader
from service.adapters.postgres.endpoints.resthooks import ResthookReader
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.events.reader import EventReader
from service.adapters.postgres.events.story import StoryReader
from service.adapters.postgres.events.types import EventTypeStore
from service.adapters.postgres.replays.jobs import ReplayJobs
from service.adapters.postgres.requests.idempotency import IdempotencyStore
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.postgres.requests.rate_buckets import RateBucketStore
from service.adapters.system import SystemClock, new_key
from service.api.app import make_api
from service.api.documents.asyncapi import asyncapi_document
from service.api.documents.routes import document_routes
from service.api.entrance.entrance import Entrance
from service.api.entrance.idempotency import Idempotency
from service.api.entrance.rate_limit import RateLimiter
from service.api.operation import Operation
from service.api.v1.audit import AuditOperations
from service.api.v1.deliveries import DeliveryOperations
from service.api.v1.endpoints.actions import EndpointActions
from service.api.v1.endpoints.operations import EndpointOperations
from service.api.v1.endpoints.ownership import Ownership
from service.api.v1.endpoints.public_keys import PublicKeyDocuments
from service.api.v1.endpoints.rehearsals import RehearsalOperations
from service.api.v1.event_types import EventTypeOperations
from service.api.v1.events import EventOperations
from service.api.v1.explain import ExplainOperations
from service.api.v1.keys.leaked import LeakedKeys
from service.api.v1.keys.operations import KeyOperations
from service.api.v1.me import me_operation
from service.api.v1.messages import MessageOperations
from service.api.v1.publishing import PublishEvents
from service.api.v1.replays.operations import ReplayOperations
from service.api.v2 import PREFIX, make_v2
from service.core.events.schema import built_in_types
from service.flow.directory.opening import Opening
from service.flow.intake.intake import Intake
from service.flow.rehearse import Rehearsing
from service.ports.exit import Sender
from service.ports.observer import Observer
from service.ports.secrets import SecretBox
from service.settings import Settings

SAMPLE_ORGANIZATION = "org_8Zq1"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API depends on."""

    settings: Settings
    engine: AsyncEngine
    secret_box: SecretBox
    intake: Intake
    observer: Observer
    now: Callable[[], datetime]
    sender: Sender
    """For challenges to receivers and their rehearsals, which are few."""


def api_of(parts: Parts) -> web.Application:
    """Build the application with both surfaces and the documents."""
    settings, entrance = parts.settings, _entrance(parts)
    operations = v1_operations(parts)
    v2 = make_v2(
        _endpoints(parts), ResthookReader(parts.engine, parts.secret_box), entrance, parts.observer, settings.public_url
    )
    types = built_in_types(SAMPLE_ORGANIZATION, parts.now())
    documents = document_routes(
        operations,
        types,
        configured_url=settings.public_url,
        asyncapi=asyncapi_document(__version__, types, settings.topology),
    )
    return make_api(
        operations,
        entrance,
        parts.observer,
        surfaces={PREFIX: v2},
        documents=documents,
        cors_origins=settings.cors_origins,
        configured_url=settings.public_url,
    )


def v1_operations(parts: Parts) -> Sequence[Operation]:
    """Every operation of the native API."""
    engine, now = parts.engine, parts.now
    endpoints, health = _endpoints(parts), EndpointHealth(engine)
    ownership = Ownership(parts.sender, RateBucketStore(engine), now)
    keys = KeyStore(engine)
    events, deliveries = EventReader(engine), DeliveryReader(engine)
    types = EventTypeStore(engine, parts.settings.caps)
    return (
        me_operation(),
        LeakedKeys(keys, keys, parts.observer, now).operation(),
        *KeyOperations(keys, endpoints, new_key, now).operations(),
        *EndpointOperations(endpoints, health, ownership, now).operations(),
        *EndpointActions(endpoints, health, deliveries, types, parts.intake.send_test, now).operations(),
        RehearsalOperations(endpoints, types, RateBucketStore(engine), _rehearsing(parts)).operation(),
        PublicKeyDocuments(PublicKeyReader(engine)).operation(),
        *EventTypeOperations(types, parts.intake.turns.run, now).operations(),
        PublishEvents(parts.intake.judge, parts.intake.record, now).operation(),
        *EventOperations(events).operations(),
        *ExplainOperations(StoryReader(engine)).operations(),
        *MessageOperations(events).operations(),
        *DeliveryOperations(deliveries, Replays(engine), events).operations(),
        *ReplayOperations(ReplayJobs(engine), endpoints).operations(),
        AuditOperations(AuditReader(engine)).operation(),
    )


def _endpoints(parts: Parts) -> EndpointStore:
    return EndpointStore(parts.engine, parts.secret_box, parts.settings.endpoint_rules)


def _rehearsing(parts: Parts) -> Rehearsing:
    opening = Opening(parts.secret_box, parts.settings.retry_schedule)
    return Rehearsing(
        PostgresSubscriptionStore(parts.engine), opening, parts.sender, SystemClock(), secrets.token_bytes
    )


def _entrance(parts: Parts) -> Entrance:
    answers = Idempotency(IdempotencyStore(parts.engine), parts.secret_box)
    limiter = RateLimiter(
        RateBucketStore(parts.engine),
        requests_per_hour=parts.settings.rate_limit_per_hour,
        publishing_per_minute=parts.settings.publish_limit_per_minute,
    )
    return Entrance(KeyStore(parts.engine), limiter, answers, parts.now)
