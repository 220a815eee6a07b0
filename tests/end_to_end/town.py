"""A town for one test: a database, a broker with names of its own, workers as processes, and a receiver."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from uuid import uuid4

import aiormq
import asyncpg
from aiormq.abc import DeliveredMessage
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.rabbitmq.publisher import EventPublisher, Publication
from service.adapters.rabbitmq.topology import declare_topology
from service.adapters.secret_box import AesSecretBox, parse_secret_keys
from service.core.events.registry import REGISTRY
from service.core.events.sample import sample_event
from service.core.keys.api_key import RANDOM_BYTES, generate_key
from service.core.keys.grant import KeyWish
from service.ports.source import Topology
from tests.end_to_end.oracle import Findings, LedgerReader, judge, read_database
from tests.end_to_end.processes import ReceiverProcess, Worker
from tests.end_to_end.receiver_program import secret_of
from tests.end_to_end.waiting import until
from tests.fakes.actor import SOMEBODY
from tests.fakes.administration import Administration

ORGANIZATION = "org_town"
EVENT_TYPES = tuple(REGISTRY)
SECRET_KEYS = f"town:{base64.b64encode(bytes(range(32))).decode()}"
IN_FLIGHT_MAX = 16

# A lease outlasts an attempt, and an attempt everything that a receiver on a busy machine may need.
SETTINGS = {
    "SECRET_KEYS": SECRET_KEYS,
    "POSTHORN_ALLOW_HTTP": "true",
    "POSTHORN_ATTEMPT_TIMEOUT_SECONDS": "6",
    "POSTHORN_LEASE_SECONDS": "12",
    "POSTHORN_BREAKER_FAILURES": "0",  # receivers that fail at first are part of the town
    "POSTHORN_RETRY_BASE_SECONDS": "0.2",
    "POSTHORN_RETRY_FACTOR": "1.5",
    "POSTHORN_IN_FLIGHT_MAX": str(IN_FLIGHT_MAX),
    "POSTHORN_DRAIN_SECONDS": "60",
    "POSTHORN_LOG_FORMAT": "json",
}


@dataclass(slots=True)
class Town:
    """``published`` is the publisher's ledger: each confirmed event's id, with the paths that wanted it then."""

    database_url: str
    amqp_url: str
    receiver: ReceiverProcess
    directory: Path
    engine: AsyncEngine
    topology: Topology = field(default_factory=lambda: Topology(prefix=f"posthorn-town-{uuid4().hex[:12]}"))
    published: dict[str, frozenset[str]] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    endpoints: dict[str, frozenset[str]] = field(default_factory=dict)
    publisher: EventPublisher = field(init=False)
    ledger: LedgerReader = field(init=False)

    def __post_init__(self) -> None:
        self.publisher = EventPublisher(self.amqp_url, self.topology, app_id="town")
        self.ledger = LedgerReader(self.receiver.ledger)

    async def open(self) -> None:
        await declare_topology(self.amqp_url, self.topology)
        await self.administration.create_organization(ORGANIZATION)

    @property
    def administration(self) -> Administration:
        return Administration(self.engine, AesSecretBox(parse_secret_keys(SECRET_KEYS)))

    async def add_endpoint(self, path: str, *event_types: str) -> str:
        """Subscribe a path of the receiver to event types; to all, where none is named. Returns the endpoint's id."""
        types = event_types or EVENT_TYPES
        made = await self.administration.add_endpoint(ORGANIZATION, self.receiver.url + path, types, secret_of(path))
        self.endpoints[path] = frozenset(types)
        return made.id

    # ------------------------------------------------------------------ workers

    async def start_worker(
        self, *command: str, database_url: str = "", amqp_url: str = "", wait: bool = True, **settings: str
    ) -> Worker:
        """A healthy worker, unless ``command`` says otherwise. ``settings`` are variables by name."""
        environment = {
            **SETTINGS,
            "DATABASE_URL": database_url or self.database_url,
            "AMQP_URL": amqp_url or self.amqp_url,
            "POSTHORN_AMQP_PREFIX": self.topology.prefix,
            "POSTHORN_EGRESS_ALLOW": f"127.0.0.1/32:{self.receiver.about['port']}",
            "TOWN_LEDGER": str(self.receiver.ledger),
            **settings,
        }
        log = self.directory / f"worker-{len(self.workers)}.log"
        worker = Worker.start(command or ("service", "serve", "--role", "worker"), environment, log)
        self.workers.append(worker)
        if wait:
            await worker.ready()
        return worker

    # ------------------------------------------------------------------ events

    def event(self, number: int, event_type: str = "") -> Publication:
        """The sample event with this number; its type is that number's, unless given."""
        event_type = event_type or EVENT_TYPES[number % len(EVENT_TYPES)]
        event_id, now = f"evt_{number:05}", datetime.now(UTC)
        body = sample_event(event_type, ORGANIZATION, event_id=event_id, number=number, now=now)
        return Publication(body, event_type, event_id, now)

    async def publish(self, events: Sequence[Publication]) -> None:
        """Publish, and enter into the publisher's ledger what the broker confirmed."""
        await self.publisher.publish_many(events)
        self.confirmed(events)

    async def make_key(self, *scopes: str) -> str:
        """An API key of the town's organization, without a limit that matters."""
        key = generate_key(token_bytes(RANDOM_BYTES))
        wish = KeyWish(frozenset(scopes), rate_limit_per_hour=1_000_000)
        await KeyStore(self.engine).create_key(ORGANIZATION, key, wish, by=SOMEBODY)
        return key.text

    def confirmed(self, events: Sequence[Publication]) -> None:
        """Enter events into the publisher's ledger."""
        for event in events:
            assert event.message_id is not None
            wanting = frozenset(path for path, types in self.endpoints.items() if event.event_type in types)
            self.published[event.message_id] = self.published.get(event.message_id, frozenset()) | wanting

    async def publish_numbers(self, numbers: range) -> None:
        await self.publish([self.event(number) for number in numbers])

    async def parked(self, count: int) -> list[DeliveredMessage]:
        """The first ``count`` messages that were set aside."""
        found: list[DeliveredMessage] = []

        async def on_message(message: DeliveredMessage) -> None:
            found.append(message)

        async with aiormq.connect(self.amqp_url) as connection:
            channel = await connection.channel()
            await channel.basic_consume(self.topology.parked, on_message)
            await until(lambda: len(found) >= count, f"{count} messages are parked", told=self.told)
        return found

    # ------------------------------------------------------------------ the end

    async def requests_came(self, count: int) -> None:
        await until(lambda: len(self.ledger.lines()) >= count, f"{count} requests came", told=self.told)

    async def all_ended(self) -> None:
        """Wait until the database has every published event, and no delivery that can still move."""
        try:
            await until(self.have_all_ended, "every event is recorded and every delivery has ended")
        except AssertionError as error:
            raise AssertionError(f"{error}{(await self.judge()).wrong()}\n{self.told()}") from None

    async def have_all_ended(self) -> bool:
        return await self._count("events") >= len(self.published) and not await self._count("open_deliveries")

    async def judge(self) -> Findings:
        """Ask the oracle."""
        connection = await asyncpg.connect(self.database_url)
        try:
            database = await read_database(connection)
        finally:
            await connection.close()
        return judge(self.published, self.ledger.lines(), database)

    async def leased_by(self, worker: Worker) -> set[str]:
        """What a killed worker held: requests in flight, answers not committed yet, and what it had not begun."""
        connection = await asyncpg.connect(self.database_url)
        try:
            rows = await connection.fetch(
                r"""SELECT d.event_id || ' at ' || regexp_replace(s.target_url, '^\w+://[^/]+', '') AS name
                      FROM open_deliveries d JOIN subscriptions s ON s.id = d.subscription_id
                     WHERE d.state = 'leased' AND d.leased_by LIKE $1""",
                f"%-{worker.process.pid}-%",
            )
        finally:
            await connection.close()
        return {row["name"] for row in rows}

    async def end_leases(self, worker: Worker | None = None) -> None:
        """End a dead worker's leases now, or all: the clock is PostgreSQL's, so what is to come is moved nearer."""
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(
                "UPDATE open_deliveries SET lease_expires_at = now() WHERE state = 'leased' AND leased_by LIKE $1",
                "%" if worker is None else f"%-{worker.process.pid}-%",
            )
        finally:
            await connection.close()

    async def hurry(self) -> None:
        """Make all that waits for a retry due now, but what a worker has locked: it may wait for a lock of ours."""
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(
                """UPDATE open_deliveries SET next_attempt_at = now()
                    WHERE (event_uid, subscription_id, replay_number) IN (
                          SELECT event_uid, subscription_id, replay_number FROM open_deliveries
                           WHERE state = 'pending' FOR UPDATE SKIP LOCKED)"""
            )
        finally:
            await connection.close()

    async def attempts(self, reason: str) -> list[bool]:
        """Of each attempt with this reason, whether it was counted."""
        connection = await asyncpg.connect(self.database_url)
        try:
            rows = await connection.fetch("SELECT is_counted FROM attempts WHERE reason = $1", reason)
        finally:
            await connection.close()
        return [row["is_counted"] for row in rows]

    async def leased_count(self) -> int:
        return await self._count("open_deliveries WHERE state = 'leased'")

    async def fan_out_count(self) -> int:
        return await self._count("fan_outs")

    async def pending_count(self) -> int:
        return await self._count("open_deliveries WHERE state = 'pending'")

    async def final_count(self) -> int:
        return await self._count("final_deliveries")

    async def _count(self, what: str) -> int:
        connection = await asyncpg.connect(self.database_url)
        try:
            return int(await connection.fetchval(f"SELECT count(*) FROM {what}"))  # noqa: S608 - our own words
        finally:
            await connection.close()

    def told(self) -> str:
        """What the workers said last."""
        return "\n".join(f"--- {worker.log.name}:\n{worker.said()}" for worker in self.workers)

    async def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        await self.publisher.close()
        async with aiormq.connect(self.amqp_url) as connection:
            channel = await connection.channel()
            for queue in (self.topology.intake_queue, self.topology.parked):
                await channel.queue_delete(queue)
            for exchange in (self.topology.events_exchange, self.topology.parked):
                await channel.exchange_delete(exchange)
