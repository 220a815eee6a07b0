"""Whether a lease that has waited in a worker may still be used."""

from collections.abc import Sequence

import pytest

from service.core.deliveries.delivery import Lease
from service.ports.store import DeliveryStore
from tests.contract.stores.rig import Bench
from tests.fakes.settlements import lease_for, released, settled_by


@pytest.fixture(params=["still_wanted", "begin"])
def verb(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# The newest is not asked about: its version may be one too high, which costs a question too many.
ENDPOINTS = (("a", ["message.sent"]), ("b", ["message.sent"]), ("newest", ["link.clicked"]))


async def ask(store: DeliveryStore, verb: str, leases: Sequence[Lease]) -> list[bool]:
    return list(await (store.begin(leases) if verb == "begin" else store.still_wanted(leases)))


async def test_only_those_of_an_endpoint_that_is_paused_are_not(bench: Bench, verb: str) -> None:
    paused, _, _ = [await bench.endpoint(name, types) for name, types in ENDPOINTS]
    await bench.pending(2)
    leases = [lease_for(claim) for claim in await bench.claim()]
    assert await ask(bench.store, verb, leases) == [True] * 4
    await bench.database.administration.pause_endpoint("org_1", paused, True)  # noqa: FBT003
    assert await ask(bench.store, verb, leases) == [lease.endpoint.id != paused for lease in leases]
    await bench.database.administration.pause_endpoint("org_1", paused, False)  # noqa: FBT003
    after = await ask(bench.store, verb, leases)
    assert after == [lease.endpoint.id != paused for lease in leases], "it may have been changed while it was paused"


async def test_nor_those_of_one_that_has_changed_though_never_for_another_s_change(bench: Bench, verb: str) -> None:
    changed, other, newest = [await bench.endpoint(name, types) for name, types in ENDPOINTS]
    await bench.pending()
    leases = {lease.endpoint.id: lease for lease in map(lease_for, await bench.claim())}
    await bench.database.set_endpoint(changed, timeout_seconds=7)
    await bench.database.administration.pause_endpoint("org_1", newest, True)  # noqa: FBT003
    assert await ask(bench.store, verb, [leases[changed], leases[other]]) == [False, True]
    await bench.settle(*map(released, leases.values()))
    fresh = [lease_for(claim) for claim in await bench.claim()]
    assert await ask(bench.store, verb, fresh) == [True, True]


async def test_nor_those_whose_receiver_asked_another_worker_for_a_pause(bench: Bench, verb: str) -> None:
    await bench.endpoint("a")
    await bench.pending(2)
    throttled, held = await bench.claim()
    await bench.settle(settled_by(throttled, 429, retry_after="60"), by=bench.database.store("worker-2"))
    assert await ask(bench.store, verb, [lease_for(held)]) == [False]


async def test_nor_those_that_were_lost_or_removed(bench: Bench, verb: str) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.pending(2)
    gone, kept = map(lease_for, await bench.claim())
    await bench.settle(released(gone))
    assert await ask(bench.store, verb, [gone, kept]) == [False, True]
    await bench.database.administration.remove_endpoint("org_1", endpoint_id)
    assert await ask(bench.store, verb, [kept]) == [False]
    assert await ask(bench.store, verb, []) == []
