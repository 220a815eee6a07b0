"""Buckets in PostgreSQL: the statement does what the pure arithmetic says, however many processes ask at once."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.requests.rate_buckets import RateBucketStore
from service.core.budget import Budget

pytestmark = pytest.mark.clock


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


async def _later(engine: AsyncEngine, bucket: str, seconds: float) -> None:
    """As if so much time had passed."""
    async with driver(engine) as connection:
        await connection.execute(
            "UPDATE rate_buckets SET measured_at = measured_at - $2 * interval '1 second' WHERE bucket = $1",
            bucket,
            seconds,
        )


@pytest.mark.parametrize("seed", range(4))
async def test_the_statement_and_the_arithmetic_agree(engine: AsyncEngine, seed: int) -> None:
    store, dice, used, at = RateBucketStore(engine), random.Random(seed), 0.0, None  # noqa: S311 - a walk
    for _ in range(150):
        budget = Budget("requests", dice.choice([3, 3, 3, 7, 1]), dice.choice([60, 3_600]))  # limits may change
        seconds = dice.choice([0, 0, 0, dice.uniform(0, 30), dice.uniform(0, 4_000)])
        await _later(engine, "org:a", seconds)
        taken = await store.take("org:a", budget, "none")
        if at is not None:  # the database's own clock moved on, too
            used = budget.eased(used, seconds + (taken.at - at).total_seconds())
        assert taken.is_refused is not budget.fits(used)
        used = budget.after_one(used)
        assert taken.used == pytest.approx(used, abs=1e-3)
        used, at = taken.used, taken.at


async def test_processes_share_a_bucket(database_url: str) -> None:
    budget, engines = Budget("requests", 20, 3_600), [connect(database_url) for _ in range(3)]
    asked = [RateBucketStore(engines[number % 3]).take("org:a", budget, "none") for number in range(30)]
    found = await asyncio.gather(*asked)
    assert [each.is_refused for each in found].count(False) == 20
    assert sorted(round(each.used) for each in found if not each.is_refused) == list(range(1, 21))
    assert not (await RateBucketStore(engines[0]).take("org:b", budget, "none")).is_refused
    for engine in engines:
        await engine.dispose()


async def test_a_clock_that_goes_back_earns_nothing_and_loses_nothing(engine: AsyncEngine) -> None:
    store, budget = RateBucketStore(engine), Budget("requests", 2, 60)
    await store.take("org:a", budget, "none")
    await _later(engine, "org:a", -600)
    first, second = [await store.take("org:a", budget, "none") for _ in range(2)]
    assert (first.used, first.is_refused, second.used, second.is_refused) == (2, False, 2, True)
    assert second.at == first.at


async def test_the_highest_limit_is_counted_exactly(engine: AsyncEngine) -> None:
    store, budget = RateBucketStore(engine), Budget("requests", 1_000_000_000, 3_600)
    await store.take("org:a", budget, "none")
    async with driver(engine) as connection:
        await connection.execute("UPDATE rate_buckets SET used = 999999999, measured_at = now() + interval '1 hour'")
    assert [(await store.take("org:a", budget, "none")).is_refused for _ in range(2)] == [False, True]
