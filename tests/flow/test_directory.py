"""The directory in memory: read page by page beside the road, changed by its changes, while others read it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import pytest

from service.core.endpoints.directory import DirectoryPage, Place
from service.core.endpoints.endpoint import StoredEndpoint
from service.core.endpoints.view import RemovalReason
from service.flow.directory import directory as flow
from service.flow.directory.directory import Directory
from service.ports.errors import UnavailableError
from service.ports.store import Disposition
from tests.fakes.database import EndpointRow, MemoryDatabase, SubscriptionRow
from tests.fakes.delivery_store import alike
from tests.fakes.events import event_of
from tests.fakes.secret_box import PlainSecretBox
from tests.fakes.subscription_store import MemorySubscriptionStore
from tests.flow.worker import Worker


class Interrupted:
    """A SubscriptionStore; something happens to the directory while it loads."""

    def __init__(self) -> None:
        self.directory: Directory | None = None
        self.loaded: list[set[str]] = []

    async def load(self, places: Mapping[str, Place], *, endpoints_max: int) -> Sequence[DirectoryPage]:
        assert endpoints_max
        self.loaded.append(set(places))
        if self.directory is not None:
            self.directory.forget(["a"])
        return [DirectoryPage(each, 1, after, Place(2), True, ()) for each, after in places.items()]  # noqa: FBT003

    async def endpoints(self, endpoint_ids: Collection[str]) -> Sequence[tuple[str, StoredEndpoint]]:
        raise AssertionError(endpoint_ids)

    async def ended(self, subscription_ids: Collection[int]) -> Mapping[int, RemovalReason]:
        raise AssertionError(subscription_ids)


async def test_what_others_forget_meanwhile_is_still_answered() -> None:
    store = Interrupted()
    directory = Directory(store, PlainSecretBox())
    await directory.of({"a"})
    store.directory = directory
    assert set(await directory.of({"a", "b"})) == {"a", "b"}
    assert store.loaded == [{"a"}, {"b"}]
    assert set(await directory.of({"a", "b"})) == {"a", "b"}
    assert store.loaded == [{"a"}, {"b"}, {"a"}]


async def test_what_is_evicted_for_room_is_still_answered() -> None:
    directory = Directory(Interrupted(), PlainSecretBox(), organizations_max=2)
    await directory.of({"a", "b"})
    assert set(await directory.of({"a", "c"})) == {"a", "c"}
    assert set(await directory.of({"a", "b", "c", "d"})) == {"a", "b", "c", "d"}


async def test_the_organization_that_was_used_longest_ago_makes_room() -> None:
    store = Interrupted()
    directory = Directory(store, PlainSecretBox(), organizations_max=2)
    for name in ("a", "b", "a", "c", "a", "b"):
        await directory.of({name})
    assert store.loaded == [{"a"}, {"b"}, {"c"}, {"b"}]


def _fill(database: MemoryDatabase, count: int, organization_id: str = "org_1") -> None:
    """Endpoints that are subscribed to a type each."""
    first = len(database.endpoints) + 1
    for number in range(first, first + count):
        endpoint_id = f"ep_{number:06}"
        url = f"https://{number}.example/"
        database.endpoints[endpoint_id] = EndpointRow(endpoint_id, organization_id, url, ())
        database.subscriptions[number] = SubscriptionRow(number, endpoint_id, "message.sent" if number < 100 else "*.x")
    database.directory_changed(organization_id)


class Slow(MemorySubscriptionStore):
    """Pages after the first come when a test lets them; each tells how many endpoints it has."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.pages: list[int] = []
        self.may_go_on = asyncio.Event()
        self.error: Exception | None = None

    async def load(self, places: Mapping[str, Place], *, endpoints_max: int) -> Sequence[DirectoryPage]:
        if any(place.version >= 0 for place in places.values()):
            await self.may_go_on.wait()
            if self.error is not None:
                raise self.error
        pages = await super().load(places, endpoints_max=endpoints_max)
        self.pages += [len(page.endpoints) for page in pages]
        return pages


async def _turns(condition: Callable[[], object]) -> None:
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what it waits for takes turns of the loop, and no time
            await asyncio.sleep(0)


@pytest.fixture
async def wide(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker whose directories are read in small pages, and an organization that has many of them."""
    monkeypatch.setattr(flow, "ON_THE_ROAD_MAX", 20)
    monkeypatch.setattr(flow, "PAGE_MAX", 30)
    async with Worker(delivers=False) as worker:
        await worker.administration.create_organization("org_small")
        await worker.administration.add_endpoint("org_small", "https://small.example/", ["message.sent"])
        _fill(worker.database, 100)
        worker.slow = Slow(worker.database)  # type: ignore[attr-defined]
        worker.directory._store = worker.slow  # type: ignore[attr-defined]
        yield worker


async def test_events_do_not_wait_for_a_large_directory(wide: Any) -> None:
    events = [event_of(id="evt_1"), event_of(id="evt_2", organization_id="org_small")]
    assert await wide.intake.take_in(events, "test") == [Disposition.RECORDED] * 2
    assert [row.delivery.organization_id for row in wide.database.deliveries.values()] == ["org_small"]
    assert len(wide.database.fan_outs) == 1, "its own event is fanned out from the database"

    copies = await wide.directory.of(["org_1"])
    assert copies["org_1"].version is None
    wide.slow.may_go_on.set()
    await _turns(lambda: copies["org_1"].version)
    assert sorted(wide.slow.pages) == [0, 1, 10, 30, 30, 30]
    await wide.intake.take_in([event_of(id="evt_3")], "test")
    assert len(wide.database.fan_outs) == 1, "now the copy serves"
    assert len(wide.database.deliveries) == 1 + 98


async def test_a_change_while_a_large_directory_is_read_is_not_missed(wide: Any) -> None:
    copies = await wide.directory.of(["org_1"])
    wide.database.endpoints["ep_000002"].url = "https://moved.example/"
    wide.database.endpoints["ep_000003"].is_removed = True
    _fill(wide.database, 1)
    wide.slow.may_go_on.set()
    await _turns(lambda: copies["org_1"].version)
    assert copies["org_1"].version == wide.database.versions["org_1"]
    assert copies["org_1"].find("ep_000002").url == "https://moved.example/"
    assert copies["org_1"].find("ep_000003") is None
    assert copies["org_1"].endpoint_count == 100


async def test_a_claim_does_not_wait_for_a_large_directory(wide: Any) -> None:
    await wide.intake.take_in([event_of()], "test")
    await wide.fan_out.round()
    claims = await wide.store.claim_due(alike(1000))
    serving = await wide.directory.serving(claims)
    assert [each.id for each in serving] == [claim.delivery.key.subscription_id for claim in claims]
    assert wide.slow.reads == [frozenset(claim.delivery.endpoint_id for claim in claims)]
    wide.slow.may_go_on.set()
    copies = await wide.directory.of(["org_1"])
    await _turns(lambda: copies["org_1"].version)
    assert [each.id for each in await wide.directory.serving(claims)] == [each.id for each in serving]
    assert len(wide.slow.reads) == 1, "now the copy serves"


async def test_reading_on_begins_again_where_an_outage_ended_it(wide: Any) -> None:
    copies = await wide.directory.of(["org_1"])
    wide.slow.error = UnavailableError("away")
    wide.slow.may_go_on.set()
    await _turns(lambda: not wide.directory._loading)
    wide.slow.error = None
    again = await wide.directory.of(["org_1"])
    assert again["org_1"] is copies["org_1"]
    await _turns(lambda: again["org_1"].version)
    assert sum(wide.slow.pages) == 100, "nothing was read twice"


async def test_what_changed_is_read_and_nothing_else(wide: Any) -> None:
    wide.slow.may_go_on.set()
    copies = await wide.directory.of(["org_1"])
    await _turns(lambda: copies["org_1"].version)
    wide.slow.pages.clear()
    wide.database.endpoints["ep_000050"].is_paused = True
    wide.database.directory_changed("org_1")
    wide.directory.forget(["org_1"])
    assert (await wide.directory.of(["org_1"]))["org_1"].find("ep_000050").is_paused
    assert wide.slow.pages == [1]


async def test_the_copies_are_bounded_in_endpoints() -> None:
    database = MemoryDatabase()
    for number in range(1, 5):
        database.versions[f"org_{number}"] = 1
        _fill(database, 10 * number, f"org_{number}")
    store = MemorySubscriptionStore(database)
    directory = Directory(store, PlainSecretBox(), endpoints_max=35)
    for number in (1, 2):
        await directory.of([f"org_{number}"])
    assert directory._endpoint_count == 30
    copies = await directory.of(["org_3"])
    assert (directory._endpoint_count, set(directory._known)) == (30, {"org_3"})
    too_large = (await directory.of(["org_4"]))["org_4"]
    assert (too_large.is_too_large, too_large.version, too_large.endpoint_count) == (True, None, 0)
    assert directory._endpoint_count == 0
    assert copies["org_3"].endpoint_count == 30, "whoever has it goes on with it"
    loads = len(store.loads)
    assert (await directory.of(["org_4"]))["org_4"] is too_large
    assert len(store.loads) == loads, "it is not read again and again"
    directory.forget(["org_4"])
    assert (await directory.of(["org_4"]))["org_4"].endpoint_count == 0


async def test_a_secret_is_opened_when_it_is_first_used_and_then_kept() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a", "message.sent")
        await worker.endpoint("b", "link.clicked")
        opened: list[str] = []
        unseal = worker.secret_box.open

        def counted(sealed: str, *, endpoint_id: str, **row: str) -> str:
            opened.append(endpoint_id)
            return unseal(sealed, endpoint_id=endpoint_id, **row)

        worker.secret_box.open = counted  # type: ignore[method-assign]
        await worker.directory.of(["org_1"])
        assert opened == []
        await worker.intake.take_in([event_of(id="evt_1"), event_of(id="evt_2")], "test")
        await worker.directory.serving(await worker.store.claim_due(alike(10)))
        assert opened == ["ep_1"]
        await worker.endpoint("c", "link.clicked")
        await worker.intake.take_in([event_of(id="evt_3")], "test")
        assert opened == ["ep_1"], "a change elsewhere leaves it open"


class Turns:
    """Counts how often work let others run, as if each endpoint took a millisecond."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Callable[[], Awaitable[None]]:
        return self._take

    async def _take(self) -> None:
        self.count += 1


async def test_long_work_lets_others_run() -> None:
    async with Worker(delivers=False) as worker:
        turns = Turns()
        worker.directory._slices = turns
        for number in range(50):
            await worker.endpoint(f"e{number}")
        await worker.intake.take_in([event_of()], "test")
        assert turns.count == 50, "once for each endpoint that is opened"
        await worker.directory.serving(await worker.store.claim_due(alike(50)))
        assert turns.count == 100
