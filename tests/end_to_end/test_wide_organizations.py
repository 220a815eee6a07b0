"""An organization with 10,000 endpoints, on a real database: what it takes of the event loop that all others share.

Measured is the CPU time of each callback of the loop, so a busy machine changes nothing.
"""

import asyncio
import gc
import time
from asyncio.events import Handle
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import asyncpg
import pytest

from service.adapters.postgres.deliveries.fan_outs import PostgresFanOutStore
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.engine import connect
from service.adapters.secret_box import AesSecretBox, SecretKey
from service.adapters.system import SystemClock, draw, new_uid
from service.core.deliveries.fairness.lanes import LaneLimits, Lanes
from service.core.endpoints.retry_schedule import STANDARD
from service.core.events.event import Event, parse_event
from service.core.events.sample import sample_event
from service.flow.directory.directory import Directory
from service.flow.fan_out import FanOut
from service.flow.intake.intake import Intake
from service.flow.surroundings import Surroundings
from service.ports.store import Disposition
from tests.fakes.observer import RecordingObserver

ENDPOINTS = 10_000
HELD_UP_SECONDS_MAX = 0.15
"""Ten times what the longest takes. To unseal the secrets of all in one go takes 0.4 to 1.3 s."""

FILL = """
INSERT INTO endpoints (id, organization_id, url, filter)
SELECT 'ep_' || n, 'org_wide', 'http://127.0.0.1/' || n,
       CASE WHEN n % 2 = 0 THEN '{"match": {"data.message.text": {"exists": true}}}'::jsonb END
  FROM generate_series(1, $1::int) AS n
"""
SUBSCRIBE = """
INSERT INTO subscriptions (organization_id, endpoint_id, event_type, target_url)
SELECT organization_id, id, 'message.sent', url FROM endpoints
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO organizations (id) VALUES ('org_wide'), ('org_small')")
    await connection.execute(FILL, ENDPOINTS)
    await connection.execute(SUBSCRIBE)
    box = AesSecretBox([SecretKey("k1", b"k" * 32)])
    secret = "whsec_" + "A" * 43 + "="
    rows = [
        (f"sec_{n}", "org_wide", f"ep_{n}", box.seal(secret, organization_id="org_wide", **_row(n)), "AAAA")
        for n in range(1, ENDPOINTS + 1)
    ]
    columns = ("id", "organization_id", "endpoint_id", "sealed", "hint")
    await connection.copy_records_to_table("endpoint_secrets", records=rows, columns=columns)
    await connection.execute("ANALYZE")
    yield connection
    await connection.close()


def _row(number: int) -> dict[str, str]:
    return {"endpoint_id": f"ep_{number}", "secret_id": f"sec_{number}"}


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The CPU time of every callback of the loop. As in the service, what is loaded by now is not scanned for garbage."""
    seen: list[float] = []
    run = Handle._run

    def timed(handle: Handle) -> None:
        began_at = time.thread_time()
        run(handle)
        seen.append(time.thread_time() - began_at)

    monkeypatch.setattr(Handle, "_run", timed)
    gc.collect()
    gc.freeze()
    yield seen
    gc.unfreeze()


class Hungry:
    """Stands where the lanes are: it takes all there is."""

    is_hungry = True

    def wake(self) -> None:
        """Nothing is claimed here."""


def _event(organization_id: str, event_id: str) -> Event:
    now = datetime.now(UTC)
    parsed = parse_event(sample_event("message.sent", organization_id, event_id=event_id, number=1, now=now), now)
    assert isinstance(parsed, Event)
    return parsed


async def test_ten_thousand_endpoints_hold_nobody_up(
    database: asyncpg.Connection, database_url: str, held_up: list[float]
) -> None:
    engine = connect(database_url)
    around = Surroundings(SystemClock(), RecordingObserver(), draw, asyncio.sleep)
    box = AesSecretBox([SecretKey("k1", b"k" * 32)])
    directory = Directory(PostgresSubscriptionStore(engine), box, schedule=STANDARD, slices=around.slices)
    store = PostgresDeliveryStore(engine, worker_name="w", lease_seconds=60)
    intake = Intake(store, directory, None, new_uid, around, batch_max=100, lease_seconds=60)
    fan_out = FanOut(PostgresFanOutStore(engine), Hungry(), around)  # type: ignore[arg-type]
    held_up.clear()

    events = [_event("org_wide", f"evt_{number}") for number in range(3)] + [_event("org_small", "evt_small")]
    assert await intake.take_in(events, "test") == [Disposition.RECORDED] * 4
    assert await database.fetchval("SELECT count(*) FROM fan_outs") == 3
    while await fan_out.round():
        fan_out._made.clear()
    counts = await database.fetch("SELECT event_id, count(*) FROM open_deliveries GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in counts] == [(f"evt_{number}", ENDPOINTS) for number in range(3)]
    lanes = Lanes(LaneLimits())
    claims = await store.claim_due(lambda turns: lanes.share_out(turns, 500, 1, time.monotonic()))
    assert len(claims) >= LaneLimits().lane_in_flight_max
    assert None not in await directory.serving(claims)
    while directory._loading:
        await asyncio.gather(*directory._loading.values())
    assert directory._known["org_wide"].endpoint_count == ENDPOINTS
    assert directory._known["org_wide"].version is not None
    await database.execute("UPDATE organizations SET directory_version = directory_version + 1")
    assert await intake.take_in([_event("org_wide", "evt_after")], "test") == [Disposition.RECORDED]

    await engine.dispose()
    assert max(held_up) < HELD_UP_SECONDS_MAX
