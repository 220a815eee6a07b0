"""The CountStore port: one suite for the fake and for PostgreSQL."""

import pytest

from service.core.deliveries.request import Reply
from tests.contract.stores.rig import Bench
from tests.fakes.settlements import settled_by

pytestmark = pytest.mark.clock


async def ends(bench: Bench, count: int) -> None:
    """So many deliveries end, each with a commit of its own; another one is tried again later."""
    await bench.pending(count + 1)
    *claims, again = await bench.claim()
    for each in claims:
        await bench.settle(settled_by(each))
    await bench.settle(settled_by(again, Reply(500, 1)))
    await bench.database.pass_time(0.001)


async def test_what_ended_before_the_first_step_is_counted_back(bench: Bench) -> None:
    await bench.endpoint()
    await ends(bench, 5)
    counts = bench.database.counts
    assert (await counts.count_back(10)).counted == 0, "before the first step there is no back"
    assert (await counts.count_on(10)).counted == 0
    counted = [await counts.count_back(2) for _ in range(5)]
    assert sum(each.counted for each in counted) == 5
    assert counted[0].is_behind
    assert not counted[-1].is_behind


async def test_what_ends_is_counted_once(bench: Bench) -> None:
    await bench.endpoint()
    counts = bench.database.counts
    await counts.count_on(10)
    for _ in range(2):
        await ends(bench, 5)
        steps = [await counts.count_on(2) for _ in range(6)]
        assert sum(each.counted for each in steps) == 5
        assert steps[0].is_behind
        assert not steps[-1].is_behind
        assert steps[-1].lag_seconds is not None
    assert (await counts.count_back(10)).counted == 0
