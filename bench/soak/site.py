"""The place of a soak: servers, links that can fail, workers that can be replaced, a receiver, and a producer."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy import make_url

from bench.soak.servers import Broker, Database, build_shifted_clock, own_broker, own_database
from bench.soak.traffic import Traffic
from service.adapters.postgres.engine import connect
from tests.contract.relay import Relay
from tests.end_to_end.oracle import Pair
from tests.end_to_end.processes import ROOT, ReceiverProcess, Worker, make_receiver_python
from tests.end_to_end.town import Town

WORKERS = 4
POLL_SECONDS = 0.1
READY_SECONDS_MAX = 90.0
STEADY_PATH = "/ok/all"

# A lease as short as its rules allow, so that what takes a minute with the defaults takes seconds.
SETTINGS = {
    "POSTHORN_ATTEMPT_TIMEOUT_SECONDS": "4",
    "POSTHORN_LEASE_SECONDS": "8",
    "POSTHORN_DATABASE_TIMEOUT_SECONDS": "5",
    "POSTHORN_IN_FLIGHT_MAX": "64",
    "POSTHORN_RETRY_BASE_SECONDS": "0.2",
    "POSTHORN_RETRY_FACTOR": "1.5",
    "POSTHORN_RETRY_CAP_SECONDS": "5",
    "POSTHORN_RETRY_ATTEMPTS_MAX": "1000",
    "POSTHORN_DRAIN_SECONDS": "20",
    "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8",
}
HEARTBEAT_SECONDS = 2
LEASE_SECONDS = float(SETTINGS["POSTHORN_LEASE_SECONDS"])


@dataclass(slots=True, eq=False)
class Slot:
    """A worker's place: its links stay when it is replaced. The first is ``steady``: its worker lives throughout."""

    number: int
    database: Relay
    broker: Relay
    worker: Worker | None = None

    @property
    def is_steady(self) -> bool:
        """Whether its worker may not be ended."""
        return self.number == 0

    @property
    def process(self) -> Worker:
        """Its worker, which must have been started."""
        assert self.worker is not None
        return self.worker


@dataclass(slots=True)
class Site:
    """Everything there is. ``ended`` tells of workers that ended though nobody ended them."""

    town: Town
    database: Database
    broker: Broker
    receivers: Relay
    slots: list[Slot]
    traffic: Traffic
    shifted_clock: Path
    why_no_clock: str
    chance: Random
    ended: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    _read: dict[Path, int] = field(default_factory=dict)
    _accepted: set[str] = field(default_factory=set)
    _lines_seen: int = 0

    # ------------------------------------------------------------------ workers

    async def start(self, slot: Slot, *, wait: bool = True, **settings: str) -> None:
        """Start a worker in a slot."""
        slot.worker = await self.town.start_worker(
            database_url=_through(self.town.database_url, slot.database),
            amqp_url=f"{_through(self.town.amqp_url, slot.broker)}?heartbeat={HEARTBEAT_SECONDS}",
            wait=wait,
            **SETTINGS,
            **settings,
        )

    def any_slot(self) -> Slot:
        """A slot by chance."""
        return self.chance.choice(self.slots)

    def mortal_slot(self) -> Slot:
        """One whose worker may be ended."""
        return self.chance.choice([slot for slot in self.slots if not slot.is_steady])

    async def held_by(self, slot: Slot) -> frozenset[Pair]:
        """What its worker has leased: in flight, answered and not committed, or not begun."""
        names = await self.town.leased_by(slot.process)
        return frozenset((event_id, path) for event_id, _, path in (name.partition(" at ") for name in names))

    async def all_ready(self) -> None:
        """Wait until /readyz of every worker answers 200; those that ended are told, and replaced."""
        ends_at = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < ends_at:
            await self._replace_ended()
            if all([(await slot.process.readiness())[0] == 200 for slot in self.slots]):  # noqa: PLR2004
                return
            await asyncio.sleep(POLL_SECONDS)
        raise SystemExit(f"the workers are not ready after {READY_SECONDS_MAX:g} s\n{self.town.told()}")

    async def _replace_ended(self) -> None:
        for slot in self.slots:
            code = slot.process.process.poll()
            if code is not None:
                self.ended.append(
                    f"the worker of slot {slot.number} ended by itself with {code}: {slot.process.said()}"
                )
                await self.start(slot)

    # ------------------------------------------------------------------ what is known

    async def recorded_count(self) -> int:
        """How many events the database has."""
        connection = await asyncpg.connect(self.town.database_url)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM events"))
        finally:
            await connection.close()

    async def accepted(self, ids: set[str]) -> None:
        """Wait until the receiver has taken these events."""
        while ids := ids - self._accepted:
            lines = self.town.ledger.lines()
            fresh, self._lines_seen = lines[self._lines_seen :], len(lines)
            self._accepted.update(line.id for line in fresh if line.is_accepted and line.path == STEADY_PATH)
            await asyncio.sleep(POLL_SECONDS)

    def troubles(self) -> Counter[str]:
        """What the workers' logs called trouble since this was asked last. Errors are also kept in ``errors``."""
        found: Counter[str] = Counter()
        for worker in self.town.workers:
            for line in self._fresh(worker.log):
                with suppress(ValueError):
                    told = json.loads(line)
                    text = f"{told.get('event')} {told.get('where', '')}: {told.get('error', '')}"
                    if told.get("event") == "trouble":
                        found[f"{told['where']}: {told['error']}"] += 1
                    if told.get("level") not in {"info", "warning"}:
                        self.errors[f"{text} {told.get('raised_at', '')}"] += 1
                    continue
                self.errors[line] += 1
        return found

    def _fresh(self, log: Path) -> list[str]:
        with log.open("rb") as file:
            file.seek(self._read.get(log, 0))
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read[log] = self._read.get(log, 0) + len(whole)
        return whole.decode("utf-8", "replace").splitlines()


def _through(url: str, relay: Relay) -> str:
    return make_url(url).set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)


@asynccontextmanager
async def open_site(directory: Path, *, rate: float, chance: Random) -> AsyncIterator[Site]:
    """Start everything; all of it is ended with the site, in whatever state it is."""
    async with AsyncExitStack() as stack:
        python = await asyncio.to_thread(make_receiver_python, directory)
        database = await stack.enter_async_context(own_database(directory))
        broker = await stack.enter_async_context(own_broker(directory))
        receiver = ReceiverProcess(python, directory)
        stack.callback(receiver.close)
        receivers = await stack.enter_async_context(Relay("127.0.0.1", receiver.about["port"]))
        receiver.about = {**receiver.about, "port": receivers.port}  # webhooks take the way that can fail
        engine = connect(database.url, pool_size=2)
        town = Town(database.url, broker.url, receiver, directory, engine)
        stack.push_async_callback(town.publisher.close)
        await town.open()
        await town.add_endpoint(STEADY_PATH)
        await town.add_endpoint("/slow/some", "message.sent")
        await town.add_endpoint("/fail-twice/some", "link.clicked")
        await engine.dispose()
        slots = []
        for number in range(WORKERS):
            urls = (database.url, broker.url)
            ways = [await stack.enter_async_context(Relay("127.0.0.1", urlsplit(url).port or 0)) for url in urls]
            slots.append(Slot(number, ways[0], ways[1]))
        library, why_not = await asyncio.to_thread(build_shifted_clock, ROOT, directory)
        site = Site(town, database, broker, receivers, slots, Traffic(town, rate), library, why_not, chance)
        stack.callback(_end_workers, town)  # before their links go
        for slot in slots:
            await site.start(slot)
        yield site


def _end_workers(town: Town) -> None:
    for worker in town.workers:
        worker.kill()
