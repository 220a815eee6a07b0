"""The HTTP API assembled: its operations, what they depend on, and the documents made from them."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from service import __version__
from service.adapters.postgres.audit.log import AuditReader, AuditWriter
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
from service.adapters.postgres.oversight import OversightReader
from service.adapters.postgres.replays.jobs import ReplayJobs
from service.adapters.postgres.requests.idempotency import IdempotencyStore
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.postgres.requests.rate_buckets import RateBucketStore
from service.adapters.postgres.requests.sessions import SessionStore
from service.adapters.postgres.stats.reader import StatsReader
from service.adapters.postgres.stream.tail import StreamReader
from service.adapters.rabbitmq.parked.desk import FOR_PAGES, RabbitParkedDesk
from service.adapters.rabbitmq.queues import ASKED_BY_PAGES_SECONDS_MAX, RabbitQueues
from service.adapters.system import SystemClock, draw, new_key
from service.api.app import make_api
from service.api.documents.asyncapi import asyncapi_document
from service.api.documents.routes import document_routes
from service.api.entrance.entrance import Entrance
from service.api.entrance.idempotency import Idempotency
from service.api.entrance.rate_limit import RateLimiter
from service.api.inside import Inside
from service.api.operation import Operation
from service.api.v1.audit import AuditOperations
from service.api.v1.deliveries import DeliveryOperations
from service.api.v1.endpoints.actions import EndpointActions
from service.api.v1.endpoints.checks import EndpointChecks
from service.api.v1.endpoints.operations import EndpointOperations
from service.api.v1.endpoints.ownership import Ownership
from service.api.v1.endpoints.public_keys import PublicKeyDocuments
from service.api.v1.endpoints.rehearsals import RehearsalOperations
from service.api.v1.endpoints.showing import Showing
from service.api.v1.event_types import EventTypeOperations
from service.api.v1.events import EventOperations
from service.api.v1.explain import ExplainOperations
from service.api.v1.keys.leaked import LeakedKeys
from service.api.v1.keys.operations import KeyOperations
from service.api.v1.me import me_operation
from service.api.v1.messages import MessageOperations
from service.api.v1.portal_links import PortalLinks
from service.api.v1.publishing import PublishEvents
from service.api.v1.replays.operations import ReplayOperations
from service.api.v1.stats.operations import StatsOperations
from service.api.v1.stream import StreamOperations, row_json
from service.api.v2 import PREFIX, make_v2
from service.core.events.schema import built_in_types
from service.flow.directory.opening import Opening
from service.flow.intake.intake import Intake
from service.flow.rehearse import Rehearsing
from service.flow.stream.streams import Streams
from service.flow.surroundings import Surroundings
from service.ports.exit import Sender
from service.ports.observer import Observer
from service.ports.secrets import SecretBox
from service.ports.stream import StreamDesk
from service.settings import Settings
from service.web.app import WebApp
from service.web.page import PREFIX as PAGES_PREFIX
from service.web.pages.all import all_pages
from service.web.pages.service import OperatorDesks

SAMPLE_ORGANIZATION = "org_8Zq1"
SAMPLES_AT = datetime(2026, 11, 20, 18, 25, 35, 123456, UTC)
"""A fixed time, so that the documents and their ETags are the same in every process."""


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
    settings, entrance, streams = parts.settings, _entrance(parts), streams_of(parts)
    operations = v1_operations(parts, streams)
    desks = _desks(parts)
    pages = WebApp(
        Inside(operations), SessionStore(parts.engine), entrance, parts.observer, settings.public_url, desks.broker
    )
    v2 = make_v2(
        _endpoints(parts), ResthookReader(parts.engine, parts.secret_box), entrance, parts.observer, settings.public_url
    )
    types = built_in_types(SAMPLE_ORGANIZATION, SAMPLES_AT)
    documents = document_routes(
        operations,
        types,
        configured_url=settings.public_url,
        asyncapi=asyncapi_document(__version__, types, settings.topology),
    )
    api = make_api(
        operations,
        entrance,
        parts.observer,
        surfaces={
            PREFIX: v2,
            PAGES_PREFIX: pages.application(all_pages(desks), embed_origins=settings.portal_embed_origins),
        },
        documents=documents,
        cors_origins=settings.cors_origins,
        configured_url=settings.public_url,
    )
    # Before requests are waited for that are being answered: streams would not end by themselves.
    api.on_shutdown.append(lambda _: streams.end())
    return api


def streams_of(parts: Parts) -> Streams:
    """The streams of this process. They read nothing until somebody listens."""
    around = Surroundings(SystemClock(), parts.observer, draw, asyncio.sleep)
    return Streams(StreamReader(parts.engine), row_json, around)


def _desks(parts: Parts) -> OperatorDesks:
    """What the operator's pages read beyond the operations."""
    settings, url = parts.settings, parts.settings.amqp_url
    oversight = OversightReader(parts.engine)
    if url is None:
        return OperatorDesks(oversight)
    parked = RabbitParkedDesk(
        url,
        settings.topology,
        settings.amqp_declare,
        log=AuditWriter(parts.engine),
        now=parts.now,
        times=FOR_PAGES,
    )
    queues = RabbitQueues(url, settings.topology, seconds_max=ASKED_BY_PAGES_SECONDS_MAX)
    return OperatorDesks(oversight, queues, parked)


def v1_operations(parts: Parts, streams: StreamDesk) -> Sequence[Operation]:
    """Every operation of the native API."""
    engine, now = parts.engine, parts.now
    endpoints, health = _endpoints(parts), EndpointHealth(engine)
    ownership = Ownership(parts.sender, RateBucketStore(engine), now)
    keys = KeyStore(engine)
    schedule = parts.settings.retry_schedule
    events, deliveries = EventReader(engine), DeliveryReader(engine, schedule)
    types = EventTypeStore(engine, parts.settings.caps)
    showing = Showing(health, schedule, now)
    return (
        me_operation(),
        LeakedKeys(keys, keys, parts.observer, now).operation(),
        *KeyOperations(keys, endpoints, new_key, now).operations(),
        PortalLinks(SessionStore(engine), parts.settings.public_url).operation(),
        *EndpointOperations(endpoints, ownership, showing).operations(),
        *EndpointActions(endpoints, health, deliveries, types, parts.intake.send_test, now).operations(),
        RehearsalOperations(endpoints, types, RateBucketStore(engine), _rehearsing(parts)).operation(),
        EndpointChecks(parts.settings.endpoint_rules, endpoints, events, parts.intake.turns.run, now).operation(),
        PublicKeyDocuments(PublicKeyReader(engine)).operation(),
        *EventTypeOperations(types, parts.intake.turns.run, now).operations(),
        PublishEvents(parts.intake.judge, parts.intake.record, now).operation(),
        *EventOperations(events).operations(),
        *ExplainOperations(StoryReader(engine)).operations(),
        *MessageOperations(events).operations(),
        *DeliveryOperations(deliveries, Replays(engine, schedule), events).operations(),
        *ReplayOperations(ReplayJobs(engine), endpoints).operations(),
        StreamOperations(streams).operation(),
        *StatsOperations(StatsReader(engine), endpoints).operations(),
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
