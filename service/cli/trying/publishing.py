"""``trigger``: publish sample events the way a good producer does, through the broker or over HTTP."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import aiohttp
import uuid_utils.compat

from service.adapters.postgres.engine import connect
from service.adapters.postgres.events.types import EventTypeStore
from service.adapters.rabbitmq.connection import unavailable
from service.adapters.rabbitmq.publisher import EventPublisher, Publication, UnroutableError
from service.adapters.rabbitmq.topology import TopologyError, declare_topology
from service.cli.hints import suggest, words
from service.cli.organizations.known import check_organization_id, require_organization
from service.cli.terminal import (
    BAD_USAGE,
    CommandError,
    known_names,
    print_json,
    print_line,
    tell,
)
from service.cli.trying.via import Via
from service.core.events.registry import REGISTRY, is_event_type_name
from service.core.events.sample import sample_event
from service.core.events.view import OwnTypeView
from service.ports.errors import RefusedError, UnavailableError
from service.ports.source import Topology
from service.settings import Settings, load_settings
from service.settings.values import masked

HTTP_BATCH: Final = 100
HTTP_SECONDS_MAX: Final = 30
ACCEPTED: Final = 202

NO_AMQP_URL: Final = """\
AMQP_URL is not set. It names the RabbitMQ server. Set it, for example:
export AMQP_URL=amqp://posthorn:PASSWORD@127.0.0.1:5672/ (or use --via http, with --key)"""


@dataclass(frozen=True, slots=True)
class Sample:
    """An event to publish."""

    id: str
    type: str
    body: bytes
    at: datetime


def publish(
    event_type: str,
    organization_id: str,
    count: int,
    via: Via | None,
    key: str | None,
    url: str | None,
    *,
    as_json: bool,
) -> None:
    """Publish samples of an event type."""
    settings = load_settings()
    check_organization_id(organization_id)
    event_type = event_type.partition(",")[0]
    own = None if event_type in REGISTRY else asyncio.run(_own_type(settings, organization_id, event_type))
    if own is None:
        (event_type,) = known_names(event_type, REGISTRY, "event type")
    elif own.sample is None:
        raise CommandError(f"{event_type} has no sample. Register it again with one: POST /v1/event-types.")
    way = via or (Via.AMQP if settings.amqp_url or not key else Via.HTTP)
    samples = _samples(event_type, organization_id, count, own.sample if own else None)
    if way is Via.AMQP:
        asyncio.run(_publish(settings, organization_id, samples))
    else:
        if key is None:
            raise CommandError(
                "--via http needs --key: 'posthorn keys create --scopes publish' creates one.", BAD_USAGE
            )
        asyncio.run(_post(url or settings.public_url or _local_url(settings), key, samples))
    ids = [sample.id for sample in samples]
    if as_json:
        print_json({"organization_id": organization_id, "type": event_type, "via": way.value, "event_ids": ids})
        return
    tell(f"Published {count} {event_type} via {way}.")
    for event_id in ids:
        print_line(event_id)
    event = ("--event", ids[0]) if count == 1 else ()
    suggest(words("deliveries", "list", "--organization", organization_id, *event))


async def _own_type(settings: Settings, organization_id: str, name: str) -> OwnTypeView | None:
    """The organization's own event type; None if there is none, or no database to ask."""
    if settings.database_url is None or not is_event_type_name(name):
        return None
    engine = connect(settings.database_url, pool_size=1)
    try:
        return await EventTypeStore(engine).find(organization_id, name)
    except (UnavailableError, RefusedError) as error:
        raise CommandError(f"Cannot look up {name}, because the database cannot be used: {error}") from error
    finally:
        await engine.dispose()


def _samples(event_type: str, organization_id: str, count: int, data: str | None) -> list[Sample]:
    first = secrets.randbelow(2**31)
    samples = []
    for number in range(first, first + count):
        event_id, now = f"evt_{uuid_utils.compat.uuid7().hex}", datetime.now(UTC)
        body = sample_event(event_type, organization_id, event_id=event_id, number=number, now=now, data=data)
        samples.append(Sample(event_id, event_type, body, now))
    return samples


async def _publish(settings: Settings, organization_id: str, samples: Sequence[Sample]) -> None:
    if settings.amqp_url is None:
        raise CommandError(NO_AMQP_URL, BAD_USAGE)
    await _check_organization(settings, organization_id)
    topology = settings.topology
    try:
        with unavailable():
            await _declare(settings.amqp_url, topology, settings)
        async with EventPublisher(settings.amqp_url, topology, app_id="posthorn-trigger") as publisher:
            await publisher.publish_many(
                Publication(sample.body, sample.type, message_id=sample.id, occurred_at=sample.at) for sample in samples
            )
    except UnroutableError as error:
        raise CommandError(f"The broker kept nothing: {error}. Bind {topology.intake_queue} to it.") from error
    except UnavailableError as error:
        raise CommandError(f"AMQP_URL: {masked(settings.amqp_url)} cannot be used: {error}.") from error


async def _declare(url: str, topology: Topology, settings: Settings) -> None:
    # Also here, so that events published before the first worker runs are kept.
    try:
        await declare_topology(url, topology, settings.amqp_declare)
    except TopologyError as error:
        raise CommandError(f"The broker is not set up for Posthorn: {error}") from error


async def _check_organization(settings: Settings, organization_id: str) -> None:
    """Refuse an unknown organization, whose events would be parked silently. Without a database, skip the check."""
    if settings.database_url is None:
        return
    engine = connect(settings.database_url, pool_size=1)
    try:
        await require_organization(engine, organization_id)
    except (UnavailableError, RefusedError) as error:
        tell(f"Could not check whether {organization_id} exists, because the database cannot be used: {error}")
    finally:
        await engine.dispose()


def _local_url(settings: Settings) -> str:
    host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
    return f"http://{host}:{settings.http_port}"


async def _post(base_url: str, key: str, samples: Sequence[Sample]) -> None:
    url = f"{base_url.rstrip('/')}/v1/events"
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=HTTP_SECONDS_MAX)
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            for start in range(0, len(samples), HTTP_BATCH):
                bodies = [sample.body for sample in samples[start : start + HTTP_BATCH]]
                async with session.post(url, data=b'{"events":[' + b",".join(bodies) + b"]}") as reply:
                    if reply.status != ACCEPTED:
                        raise CommandError(await _refusal(url, reply, start))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        runs = "check that 'posthorn serve' runs there, or set --url"
        raise CommandError(f"The API does not answer at {url}: {runs}. {type(error).__name__}: {error}") from error


async def _refusal(url: str, reply: aiohttp.ClientResponse, accepted_count: int) -> str:
    try:
        told = await reply.json(content_type=None)
        sentence = " ".join(filter(None, (str(told.get("error", "")), str(told.get("errors") or ""))))
    except (ValueError, AttributeError):
        sentence = ""
    before = f" ({accepted_count} were accepted before)" if accepted_count else ""
    return f"{url} answered {reply.status}{before}. {sentence}".rstrip()
