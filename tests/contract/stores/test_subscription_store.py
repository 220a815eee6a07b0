"""What a SubscriptionStore loads, of either kind."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import service
from service.adapters.postgres.endpoints.clear_urls import seal_clear_urls
from service.adapters.postgres.endpoints.expiry import PostgresExpiryStore
from service.adapters.postgres.endpoints.removal import remove_subscriptions
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import driver
from service.adapters.secret_box import AesSecretBox, SecretKey
from service.core.endpoints.directory import BEGINNING, DirectoryPage, OrganizationDirectory, Place
from service.core.endpoints.endpoint import StoredEndpoint
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.view import RemovalReason
from tests.contract.stores.rig import Bench, Database, InPostgres
from tests.fakes.actor import SOMEBODY
from tests.fakes.administration import LOOPBACK_ALLOWED
from tests.fakes.secret_box import PlainSecretBox

SERVICE = Path(service.__file__).parent
URL = "https://a.example/"
EVERYTHING: Mapping[str, Any] = {
    "sealed_headers": "v1:k1:AAAA",
    "signature_style": "t-v1",
    "signature_header": "X-Blooio-Signature",
    "filter": {"match": {"data.x": {"in": ["é", 1, 1.5, None, True]}, "data.y": {"gt": 2**53 + 1, "lt": 2**63 - 1}}},
    "retry": [4, 16.5, 64],
    "timeout_seconds": 7.5,
    "rate_limit_per_second": 2.5,
    "max_in_flight": 3,
    "order_by": "data.contact.id",
    "sealed_auth": "v1:k1:BBBB",
    "sealed_url": "v1:k1:CCCC",
    "valid_until": datetime(2999, 1, 31, 12, tzinfo=UTC),
}


async def _loaded(bench: Bench) -> dict[str, StoredEndpoint]:
    (page,) = await bench.database.subscriptions.load({"org_1": BEGINNING, "org_nobody": BEGINNING}, endpoints_max=100)
    return {each.url: each for each in page.endpoints}


async def test_an_endpoint_that_asks_for_nothing(bench: Bench) -> None:
    made = await bench.administration.add_endpoint("org_1", "https://a.example/", ["message.*", "*"])
    stored = (await _loaded(bench))["https://a.example/"]
    assert [event_type for _, event_type in stored.subscriptions] == ["message.*", "*"]
    assert stored == StoredEndpoint(made.id, made.url, False, stored.secrets, stored.subscriptions)  # noqa: FBT003
    assert len(stored.secrets) == 1


def test_everything_is_everything() -> None:
    assert EVERYTHING.keys() == {each.name for each in fields(StoredEndpoint) if each.default is not MISSING}


async def test_an_endpoint_that_asks_for_everything(bench: Bench) -> None:
    made = await bench.administration.add_endpoint("org_1", "https://a.example/", ["message.sent"])
    await bench.administration.add_endpoint("org_1", "https://b.example/", ["message.sent"])
    await bench.database.set_endpoint(made.id, **EVERYTHING)
    loaded = await _loaded(bench)
    stored = loaded["https://a.example/"]
    assert {name: getattr(stored, name) for name in EVERYTHING} == EVERYTHING
    assert loaded["https://b.example/"].filter is None


@pytest.mark.parametrize("retry", ["politicalcomms", [5]])
async def test_a_schedule_by_name_or_by_list(bench: Bench, retry: object) -> None:
    made = await bench.administration.add_endpoint("org_1", "https://a.example/", ["message.sent"])
    await bench.database.set_endpoint(made.id, retry=retry)
    assert (await _loaded(bench))["https://a.example/"].retry == retry


# --------------------------------------------------------------------------- pages, and what has changed


async def _page(database: Database, after: Place, endpoints_max: int = 100) -> DirectoryPage:
    (page,) = await database.subscriptions.load({"org_1": after}, endpoints_max=endpoints_max)
    assert (page.organization_id, page.after) == ("org_1", after)
    return page


async def test_a_directory_is_read_page_by_page(bench: Bench) -> None:
    made = {(await bench.administration.add_endpoint("org_1", f"https://{n}.example/", ["*"])).id for n in range(5)}
    read: list[str] = []
    page = await _page(bench.database, BEGINNING, 2)
    while not page.is_last:
        read += [each.id for each in page.endpoints]
        page = await _page(bench.database, page.until, 2)
    read += [each.id for each in page.endpoints]
    assert (len(read), set(read)) == (5, made)


async def test_organizations_are_read_together_each_from_its_place(bench: Bench) -> None:
    await bench.administration.create_organization("org_2")
    for organization_id in ("org_1", "org_2"):
        for number in range(3):
            await bench.administration.add_endpoint(organization_id, f"https://{number}.example/", ["*"])
    until = (await _page(bench.database, BEGINNING)).until
    await bench.administration.add_endpoint("org_1", "https://new.example/", ["*"])
    pages = await bench.database.subscriptions.load({"org_1": until, "org_2": BEGINNING}, endpoints_max=3)
    found = {page.organization_id: (len(page.endpoints), page.is_last) for page in pages}
    assert found["org_2"] == (3, False)
    assert found["org_1"] in {(1, True), (2, True)}, "the new one, and perhaps the one before it again"


async def test_what_changes_while_pages_are_read_comes_at_last(bench: Bench) -> None:
    ids = [(await bench.administration.add_endpoint("org_1", f"https://{n}.example/", ["*"])).id for n in range(4)]
    page = await _page(bench.database, BEGINNING, 3)
    await bench.administration.pause_endpoint("org_1", page.endpoints[0].id, True)  # noqa: FBT003
    assert await bench.administration.remove_endpoint("org_1", page.endpoints[1].id)
    rest = await _page(bench.database, page.until)
    assert rest.is_last
    assert {each.id: each.is_paused for each in rest.endpoints}[page.endpoints[0].id]
    assert page.endpoints[1].id in rest.removed
    assert {each.id for each in (*page.endpoints, *rest.endpoints)} | set(rest.removed) == set(ids)


async def test_own_event_types_are_read_once(bench: Bench) -> None:
    await bench.administration.register_event_type("org_1", "order.placed", "{}")
    page = await _page(bench.database, BEGINNING)
    assert set(page.event_types) == {"order.placed"}
    await bench.administration.register_event_type("org_1", "order.sent", "{}")
    later = await _page(bench.database, page.until)
    assert "order.sent" in later.event_types
    assert (later.version, later.is_last, later.endpoints) == (page.version + 1, True, ())


async def test_single_endpoints_are_read_with_their_organization(bench: Bench) -> None:
    await bench.administration.create_organization("org_2")
    mine = await bench.administration.add_endpoint("org_1", "https://a.example/", ["message.*", "*"])
    theirs = await bench.administration.add_endpoint("org_2", "https://a.example/", ["*"])
    gone = await bench.administration.add_endpoint("org_1", "https://b.example/", ["*"])
    await bench.administration.remove_endpoint("org_1", gone.id)
    found = dict(await bench.database.subscriptions.endpoints([mine.id, theirs.id, gone.id, "ep_none"]))
    assert {owner: stored.id for owner, stored in found.items()} == {"org_1": mine.id, "org_2": theirs.id}
    assert found["org_1"] == (await _loaded(bench))["https://a.example/"]


# --------------------------------------------------------------------------- every change says which endpoint changed


async def _create(endpoints: EndpointStore, _: str) -> object:
    return await endpoints.create(
        "org_1", EndpointWish({"url": "https://new.example/", "event_types": ["*"]}), by=SOMEBODY
    )


async def _subscribe(endpoints: EndpointStore, _: str) -> object:
    return await endpoints.subscribe("org_1", EndpointWish({"url": URL, "event_types": ["link.clicked"]}), by=SOMEBODY)


async def _change(endpoints: EndpointStore, endpoint_id: str) -> object:
    return await endpoints.change("org_1", endpoint_id, EndpointWish({"timeout_seconds": 7}), by=SOMEBODY)


async def _move(endpoints: EndpointStore, endpoint_id: str) -> object:
    return await endpoints.change("org_1", endpoint_id, EndpointWish({"url": "https://moved.example/"}), by=SOMEBODY)


async def _pause(endpoints: EndpointStore, endpoint_id: str) -> object:
    return await endpoints.set_paused("org_1", endpoint_id, is_paused=True, by=SOMEBODY)


async def _rotate(endpoints: EndpointStore, endpoint_id: str) -> object:
    return await endpoints.rotate_secret("org_1", endpoint_id, None, timedelta(hours=1), by=SOMEBODY)


async def _rotate_at_once(endpoints: EndpointStore, endpoint_id: str) -> object:
    return await endpoints.rotate_secret("org_1", endpoint_id, None, timedelta(0), by=SOMEBODY)


async def _remove(endpoints: EndpointStore, endpoint_id: str) -> object:
    return await endpoints.remove("org_1", endpoint_id, by=SOMEBODY)


async def _unsubscribe(endpoints: EndpointStore, endpoint_id: str) -> object:
    async with driver(endpoints._engine) as connection:
        found = await connection.fetchval("SELECT min(id) FROM subscriptions WHERE endpoint_id = $1", endpoint_id)
    return await endpoints.unsubscribe("org_1", found, by=SOMEBODY)


async def _end(endpoints: EndpointStore, endpoint_id: str) -> object:
    """A receiver answers 410."""
    async with driver(endpoints._engine) as connection, connection.transaction():
        found = await connection.fetchval("SELECT min(id) FROM subscriptions WHERE endpoint_id = $1", endpoint_id)
        return await remove_subscriptions(connection, [found], because=RemovalReason.GONE)


async def _expire(endpoints: EndpointStore, endpoint_id: str) -> object:
    """Its ``valid_until`` has come, and upkeep ends it."""
    async with driver(endpoints._engine) as connection:
        await connection.execute("UPDATE endpoints SET valid_until = now() WHERE id = $1", endpoint_id)
    return await PostgresExpiryStore(endpoints._engine).end("org_1", [endpoint_id])


async def _seal(endpoints: EndpointStore, endpoint_id: str) -> object:
    """``secrets rewrap`` seals a URL that an earlier release stored in clear."""
    async with driver(endpoints._engine) as connection:
        await connection.execute("UPDATE endpoints SET url = url || '?token=hush' WHERE id = $1", endpoint_id)
    box = AesSecretBox([SecretKey("k1", bytes(32))])
    return [step async for step in seal_clear_urls(endpoints._engine, box, by=SOMEBODY)]


CHANGES = (
    _create,
    _subscribe,
    _change,
    _move,
    _pause,
    _rotate,
    _rotate_at_once,
    _remove,
    _unsubscribe,
    _end,
    _expire,
    _seal,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.__name__.strip("_"))
async def test_every_change_is_found_by_the_version(in_postgres: InPostgres, change: Any) -> None:
    """Also the second time: what is read once more after its change must not hide the next one."""
    await in_postgres.administration.create_organization("org_1")
    endpoints = EndpointStore(in_postgres._engine, PlainSecretBox(), LOOPBACK_ALLOWED)
    await in_postgres.administration.add_endpoint("org_1", "https://other.example/", ["*"])
    made = await in_postgres.administration.add_endpoint("org_1", URL, ["message.sent", "message.replied"])
    copy = OrganizationDirectory("org_1")
    copy.take(await _page(in_postgres, BEGINNING))
    before = copy.find(made.id)
    copy.take(await _page(in_postgres, copy.place))
    assert copy.find(made.id) is before

    await change(endpoints, made.id)

    page = await _page(in_postgres, copy.place)
    assert (page.version > (copy.version or 0), page.is_last) == (True, True)
    copy.take(page)
    whole = await _page(in_postgres, BEGINNING)
    assert {each.id: each for each in whole.endpoints} == {each.id: copy.find(each.id) for each in whole.endpoints}
    assert copy.endpoint_count == len(whole.endpoints)
    assert copy.find(made.id) != before or change is _create


def test_every_way_to_change_a_directory_is_among_them() -> None:
    """Whoever raises the version is called by one of these; a new caller belongs among them."""
    callers = {
        path.relative_to(SERVICE).as_posix()
        for path in SERVICE.rglob("*.py")
        if "bump_directory(" in path.read_text(encoding="utf-8")
    }
    assert callers == {
        "adapters/postgres/endpoints/clear_urls.py",
        "adapters/postgres/endpoints/version.py",
        "adapters/postgres/endpoints/store/changing.py",
        "adapters/postgres/endpoints/store/creating.py",
        "adapters/postgres/endpoints/store/switching.py",
        "adapters/postgres/endpoints/removal.py",
        "adapters/postgres/events/types.py",
    }
