"""One run of the demo: publish, watch, show, and compare the receivers' counts with the database."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.rabbitmq.publisher import EventPublisher, Publication
from service.core.events.sample import sample_event
from service.core.wording import count_of
from service.demo.display import DemoDisplay
from service.demo.record import Record, read_record
from service.demo.subscribers import EVENT_TYPES, DemoSubscriber

ORGANIZATION_ID: Final = "org_demo"
EVENTS_PER_SECOND: Final = 50.0
EVENTS_PER_SECOND_MAX: Final = 200.0
EVENTS_SECONDS: Final = 10.0
LATE_SECONDS_MAX: Final = 60.0
LOOK_SECONDS: Final = 0.2
TRICKLE_SECONDS: Final = 1.0
TRICKLE_LINE_SECONDS: Final = 10.0


@dataclass(slots=True)
class Demo:
    """One run: its participants, and what was published so far."""

    events: int
    subscribers: Sequence[DemoSubscriber]
    display: DemoDisplay
    database_url: str
    engine: AsyncEngine
    publisher: EventPublisher
    published: Counter[str] = field(default_factory=Counter)
    published_at: dict[str, float] = field(default_factory=dict)

    async def run(self) -> bool:
        """Publish, watch and show; return whether all is well. Waits at most a minute after publishing."""
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
            message_number = number // len(EVENT_TYPES)
            body = sample_event(event_type, ORGANIZATION_ID, event_id=event_id, number=message_number, now=now)
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
        """Describe what is missing or differs between the receivers' counts and the database."""
        found = []
        total, published = record.total, self.published.total()
        if record.events != published:
            found.append(f"published: {count_of(published, 'event')}, recorded: {record.events}")
        if total.open or total.dead:
            found.append(f"not ended: {count_of(total.open, 'delivery', 'deliveries')}, dead: {total.dead}")
        for subscriber in self.subscribers:
            ends, accepted = record.of(subscriber.endpoint_id), len(subscriber.accepted)
            wanted = subscriber.wanted(self.published)
            if subscriber.unverified_count:
                found.append(f"{subscriber.name}: could not verify {count_of(subscriber.unverified_count, 'request')}")
            if accepted != wanted and not subscriber.is_leaver:
                found.append(f"{subscriber.name}: accepted {accepted} of {count_of(wanted, 'event')}")
            if accepted != ends.delivered:
                found.append(f"{subscriber.name}: accepted {accepted}, but {ends.delivered} are recorded as delivered")
        return found

    def _conclude(self, record: Record, problems: Sequence[str]) -> None:
        total = record.total
        ended = total.delivered + total.cancelled + total.dead
        self.display.say(
            f"Checked against the database: {count_of(record.events, 'event')}, "
            f"{count_of(ended + total.open, 'delivery', 'deliveries')}, {ended} ended: "
            f"{total.delivered} delivered, {total.cancelled} cancelled by a 410, {total.dead} dead."
        )
        for problem in problems:
            self.display.say(f"PROBLEM: {problem}")

    async def trickle(self) -> None:
        """Publish an event every second, until cancelled."""
        self.display.plain_seconds = TRICKLE_LINE_SECONDS
        number = self.events
        with self.display.live():
            while True:
                await self._publish(range(number, number + 1))
                number += 1
                await asyncio.sleep(TRICKLE_SECONDS)
                self.display.show(self.published, self.published, await read_record(self.engine, ORGANIZATION_ID))


def _event_type(number: int) -> str:
    return EVENT_TYPES[number % len(EVENT_TYPES)]
