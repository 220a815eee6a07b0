"""``posthorn demo``: everything on this machine, from publishing to verifying, and nothing left behind.

What runs is the service itself (``service.app.serve``) with settings of the demo's own; whatever POSTHORN_* and
DATABASE_URL say is left alone. Only AMQP_URL is heeded.
"""

import asyncio
import base64
import errno
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.logs import configure_logs, safe_text
from service.adapters.postgres import Administration, connect, migrate
from service.adapters.rabbitmq import EventPublisher, Publication, TopologyError, UnroutableError
from service.adapters.secret_box import AesSecretBox
from service.app import Role, serve
from service.core.sample import sample_event
from service.embedded.demo_broker import DemoBroker, demo_broker
from service.embedded.demo_directory import demo_directory
from service.embedded.demo_display import DemoDisplay
from service.embedded.demo_receiver import demo_receiver
from service.embedded.demo_record import Record, read_record
from service.embedded.demo_subscribers import EVENT_TYPES, Subscriber, demo_subscribers
from service.embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError
from service.ports import RefusedError, UnavailableError
from service.settings import Settings, SettingsError, load_settings
from webhook_signature import Webhook

ORGANIZATION_ID: Final = "org_demo"
RETRIES: Final = {"POSTHORN_RETRY_BASE_SECONDS": "0.5", "POSTHORN_RETRY_FACTOR": "2"}
EVENTS_PER_SECOND: Final = 50.0
EVENTS_PER_SECOND_MAX: Final = 200.0
EVENTS_SECONDS: Final = 10.0
LATE_SECONDS_MAX: Final = 60.0
LOOK_SECONDS: Final = 0.2
TRICKLE_SECONDS: Final = 1.0
TRICKLE_LINE_SECONDS: Final = 10.0
START_TRIES_MAX: Final = 5
INTERRUPTED: Final = 130


@dataclass(slots=True)
class Demo:
    """One run. ``problems`` is what is not (or not yet) as it should be; None before anybody looked."""

    events: int
    subscribers: Sequence[Subscriber]
    display: DemoDisplay
    engine: AsyncEngine
    publisher: EventPublisher
    published: Counter[str] = field(default_factory=Counter)
    published_at: dict[str, float] = field(default_factory=dict)

    async def run(self) -> bool:
        """Publish, watch, show; whether all is well. Never longer than the publishing and a minute."""
        planned = Counter(_event_type(number) for number in range(self.events))
        with self.display.live():
            publishing = asyncio.create_task(self._publish_all())
            try:
                record, problems = await self._watch(publishing, planned)
            finally:
                publishing.cancel()
        self.display.table(self.published, self.published_at, record)
        self._conclude(record, problems)
        return not problems

    async def _publish_all(self) -> None:
        rate = min(max(EVENTS_PER_SECOND, self.events / EVENTS_SECONDS), EVENTS_PER_SECOND_MAX)
        began_at = time.monotonic()
        number = 0
        while number < self.events:
            due = min(self.events, int((time.monotonic() - began_at) * rate) + 1)
            await self._publish(range(number, due))
            number = due
            await asyncio.sleep(max(0.0, began_at + number / rate - time.monotonic()))

    async def _publish(self, numbers: range) -> None:
        now, publications = datetime.now(UTC), []
        for number in numbers:
            event_type, event_id = _event_type(number), f"evt_demo_{number + 1:06}"
            body = sample_event(event_type, ORGANIZATION_ID, event_id=event_id, number=number, now=now)
            publications.append(Publication(body, event_type, event_id, now))
            self.published_at[event_id] = time.monotonic()
        await self.publisher.publish_many(publications)
        self.published.update(publication.event_type for publication in publications)

    async def _watch(self, publishing: asyncio.Task[None], planned: Counter[str]) -> tuple[Record, list[str]]:
        give_up_at = None
        while True:
            record = await read_record(self.engine, ORGANIZATION_ID)
            self.display.show(self.published, planned, record)
            if publishing.done():
                publishing.result()
                problems = self._problems(record)
                give_up_at = give_up_at or time.monotonic() + LATE_SECONDS_MAX
                if not problems or time.monotonic() > give_up_at:
                    return record, problems
            await asyncio.sleep(LOOK_SECONDS)

    def _problems(self, record: Record) -> list[str]:
        """What is missing or wrong, by the receivers' account and the database's together."""
        found = []
        total, published = record.total, self.published.total()
        if record.events != published:
            found.append(f"{published} events were published, {record.events} are recorded")
        if total.open or total.dead:
            found.append(f"{total.open} deliveries have not ended, {total.dead} are dead")
        for subscriber in self.subscribers:
            ends, accepted = record.of(subscriber.endpoint_id), len(subscriber.accepted)
            wanted = subscriber.wanted(self.published)
            if subscriber.unverified_count:
                found.append(f"{subscriber.name}: {subscriber.unverified_count} requests could not be verified")
            if accepted != wanted and not subscriber.is_leaver:
                found.append(f"{subscriber.name}: accepted {accepted} of {wanted} events")
            if accepted != ends.delivered:
                found.append(f"{subscriber.name}: accepted {accepted}, but {ends.delivered} are recorded as delivered")
        return found

    def _conclude(self, record: Record, problems: Sequence[str]) -> None:
        total = record.total
        ended = total.delivered + total.cancelled + total.dead
        self.display.say(
            f"Checked against the database: {record.events} events, {ended + total.open} deliveries, {ended} ended: "
            f"{total.delivered} delivered, {total.cancelled} cancelled by a 410, {total.dead} dead."
        )
        for problem in problems:
            self.display.say(f"NOT AS IT SHOULD BE: {problem}")

    async def trickle(self) -> None:
        """An event every second, until cancelled."""
        self.display.plain_seconds = TRICKLE_LINE_SECONDS
        number = self.events
        with self.display.live():
            while True:
                await self._publish(range(number, number + 1))
                number += 1
                await asyncio.sleep(TRICKLE_SECONDS)
                self.display.show(self.published, self.published, await read_record(self.engine, ORGANIZATION_ID))


def run_demo(*, events: int, once: bool) -> int:
    """Run the demo; returns the exit code. 0: all arrived, each signature verified, and the database agrees."""
    configure_logs("console", "error")
    try:
        return asyncio.run(_run_demo(events, once=once))
    except asyncio.CancelledError:
        return INTERRUPTED
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the command's own words
        return 2
    except (EmbeddedPostgresError, TopologyError, UnavailableError, UnroutableError, RefusedError, OSError) as error:
        print(f"demo: {safe_text(str(error))}", file=sys.stderr)  # noqa: T201
        return 1


async def _run_demo(events: int, *, once: bool) -> int:
    subscribers = demo_subscribers()
    display = DemoDisplay(subscribers)
    _end_on_signals(display)
    async with AsyncExitStack() as stack:
        demo = await _set_up(stack, events, subscribers, display)
        is_well = await demo.run()
        if once:
            return 0 if is_well else 1
        display.say("An event a second from here on. Ctrl-C ends the demo and removes everything.")
        try:
            await demo.trickle()
        except asyncio.CancelledError:
            return 0 if is_well else 1
    return 1
