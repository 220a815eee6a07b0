"""Keys that are about to expire: counted, told of once a day, and no longer once another one follows."""

import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect
from service.adapters.postgres.requests.keys import KeyStore
from service.core.keys.api_key import RANDOM_BYTES, generate_key
from service.flow.surroundings import Surroundings
from service.flow.upkeep.expiring_keys import LOOK_SECONDS, ExpiringKeys
from service.ports.observer import KeyExpires, KeysMeasured
from tests.api.entrance_rig import make_key
from tests.fakes.actor import SOMEBODY
from tests.fakes.clock import ManualClock
from tests.fakes.observer import RecordingObserver

pytestmark = pytest.mark.clock

DAY_SECONDS = timedelta(days=1).total_seconds()


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


async def test_who_has_a_key_that_expires_soon_is_told_once_a_day(engine: AsyncEngine) -> None:
    soon = await make_key(engine, "org_a", expires_in=timedelta(days=13))
    sooner = await make_key(engine, "org_b", expires_in=timedelta(days=1))
    revoked = await make_key(engine, "org_b", expires_in=timedelta(days=1))
    store, observer, clock = KeyStore(engine), RecordingObserver(), ManualClock()
    await store.revoke(revoked.key_id, by=SOMEBODY)
    await make_key(engine, "org_a", expires_in=timedelta(days=15))
    await make_key(engine, "org_a", expires_in=timedelta(seconds=-1))
    await make_key(engine, "org_a")
    expiring = ExpiringKeys(store, Surroundings(clock, observer, lambda: 0.0, clock.pause))
    await expiring.look_once()
    told = observer.of(KeyExpires)
    assert [(each.key.organization_id, each.key.key_id) for each in told] == [
        ("org_b", sooner.key_id),
        ("org_a", soon.key_id),
    ]
    clock.advance(LOOK_SECONDS)
    await expiring.look_once()
    assert len(observer.of(KeyExpires)) == 2
    clock.advance(DAY_SECONDS)
    await expiring.look_once()
    assert len(observer.of(KeyExpires)) == 4
    new = generate_key(secrets.token_bytes(RANDOM_BYTES))
    await store.rotate(
        "org_b", sooner.key_id, new, overlap=timedelta(days=1), expires_in=timedelta(days=90), by=SOMEBODY
    )
    await expiring.look_once()
    assert observer.of(KeysMeasured) == [KeysMeasured(2)] * 3 + [KeysMeasured(1)]
