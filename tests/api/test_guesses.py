"""Keys that are not right: few are looked up, and whoever has a right one never notices."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect
from service.adapters.postgres.requests.keys import KeyStore
from service.api.entrance import guesses
from service.api.entrance.guesses import Guesses
from service.api.errors import ApiError
from service.core.keys.api_key import RANDOM_BYTES, NewKey, StoredKey, generate_key
from service.ports.errors import UnavailableError
from tests.api.conftest import Client
from tests.api.entrance_rig import ask, bearing, make_key, real_entrance, serving
from tests.api.v2.surface_rig import serving as serving_v2
from tests.fakes.actor import SOMEBODY

HERE, THERE = "192.0.2.7", "192.0.2.8"
DIGEST = b"d" * 32


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five guesses at once, then one a second; twenty, then eight a second, from everywhere."""
    for name, value in (
        ("GUESSES_PER_SECOND", 1.0),
        ("GUESSES_BURST", 5),
        ("ALL_GUESSES_PER_SECOND", 8.0),
        ("ALL_GUESSES_BURST", 20),
        ("ADDRESSES_MAX", 8),
    ):
        monkeypatch.setattr(guesses, name, value)


class Keys:
    """The KeyRing port: these digests are right."""

    def __init__(self, right: Mapping[str, bytes]) -> None:
        self.right = right
        self.asked = 0

    async def find(self, _: str) -> StoredKey | None:
        raise AssertionError("guesses look up nothing")

    async def recent(self, count_max: int) -> Mapping[str, bytes]:
        self.asked += 1
        return dict([*self.right.items()][:count_max])


class Watched:
    """Guesses with a clock."""

    def __init__(self, **right: bytes) -> None:
        self.now = 1_000.0
        self.keys = Keys(right)
        self.guesses = Guesses(self.keys, lambda: self.now)

    async def guess(self, address: str | None = HERE, key_id: str = "wrong") -> int:
        """0 if it was looked up, in vain; else in how many seconds to come again."""
        try:
            await self.guesses.admit(address, key_id, DIGEST)
        except ApiError as error:
            return int(error.headers["Retry-After"])
        self.guesses.was_wrong(address, key_id, DIGEST)
        return 0


async def test_an_address_may_guess_so_often_and_no_more() -> None:
    watched = Watched()
    assert [await watched.guess() for _ in range(7)] == [0] * 5 + [1] * 2
    assert await watched.guess(THERE) == 0
    watched.now += 2
    assert [await watched.guess() for _ in range(3)] == [0, 0, 1]


async def test_all_addresses_together_may_guess_so_often_and_no_more() -> None:
    watched = Watched()
    waits = [await watched.guess(f"192.0.2.{number}") for number in range(50)]
    assert waits == [0] * 20 + [1] * 30


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.7", HERE, True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        (None, "no address", True),
    ],
)
async def test_whose_guesses_are_counted_together(first: str | None, second: str | None, *, is_one: bool) -> None:
    watched = Watched()
    for _ in range(5):
        assert await watched.guess(first) == 0
    assert (await watched.guess(second) > 0) == is_one


async def test_a_right_key_passes_whoever_guesses_from_its_address() -> None:
    watched = Watched()
    watched.guesses.was_right("right", DIGEST)
    while not await watched.guess():
        pass
    await watched.guesses.admit(HERE, "right", DIGEST)
    with pytest.raises(ApiError):
        await watched.guesses.admit(HERE, "right", b"e" * 32)  # its id alone is not enough
    watched.guesses.was_wrong(HERE, "right", b"e" * 32)
    await watched.guesses.admit(HERE, "right", DIGEST)  # and cannot make it forgotten
    watched.guesses.was_wrong(HERE, "right", DIGEST)
    with pytest.raises(ApiError):
        await watched.guesses.admit(HERE, "right", DIGEST)  # it was revoked


async def test_a_process_that_has_just_started_asks_which_keys_are_right_and_not_often() -> None:
    watched = Watched(right=DIGEST)
    while not await watched.guess():
        pass
    assert watched.keys.asked == 1
    await watched.guesses.admit(HERE, "right", DIGEST)
    for _ in range(100):
        assert await watched.guess()
    assert watched.keys.asked == 1
    watched.keys.right = {"new": b"n" * 32}
    with pytest.raises(ApiError):
        await watched.guesses.admit(HERE, "new", b"n" * 32)
    watched.now += guesses.LOOK_AGAIN_SECONDS
    watched.guesses._strangers._of_all.take(watched.now)
    for _ in range(20):
        watched.guesses.was_wrong(HERE, "wrong", DIGEST)
    await watched.guesses.admit(HERE, "new", b"n" * 32)
    assert watched.keys.asked == 2


class SlowKeys(Keys):
    """Digests that are looked up in a database, which answers when it is told to, or is away."""

    def __init__(self, right: Mapping[str, bytes]) -> None:
        super().__init__(right)
        self.may_answer = asyncio.Event()
        self.is_away = False

    async def recent(self, count_max: int) -> Mapping[str, bytes]:
        found = await super().recent(count_max)
        await self.may_answer.wait()
        if self.is_away:
            raise UnavailableError("it is away")
        return found


async def _many_with_right_keys() -> tuple[Watched, SlowKeys, list[asyncio.Task[None]]]:
    """Twenty who show right keys, at once, to a process that knows none and has met many guesses."""
    digests = {f"key{number}": DIGEST for number in range(20)}
    watched, keys = Watched(), SlowKeys(digests)
    watched.guesses = Guesses(keys, lambda: watched.now)
    for _ in range(20):
        watched.guesses.was_wrong(HERE, "wrong", DIGEST)
    asking = [asyncio.create_task(watched.guesses.admit(HERE, key_id, DIGEST)) for key_id in digests]
    await asyncio.sleep(0)
    return watched, keys, asking


async def test_right_keys_that_come_during_the_look_after_guesses_wait_for_it() -> None:
    _, keys, asking = await _many_with_right_keys()
    asking[0].cancel()  # it began the look; the others need it
    keys.may_answer.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in found[:1]] == [asyncio.CancelledError]
    assert found[1:] == [None] * 19
    assert keys.asked == 1


async def test_a_look_after_guesses_that_fails_is_made_again() -> None:
    watched, keys, asking = await _many_with_right_keys()
    keys.is_away = True
    keys.may_answer.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(each) for each in found} == {UnavailableError}
    keys.is_away = False
    await watched.guesses.admit(HERE, "key7", DIGEST)
    assert keys.asked == 2


async def test_after_guesses_the_key_used_last_is_forgotten_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "RIGHT_MAX", 3)
    watched = Watched(last=DIGEST, before=DIGEST, long_ago=DIGEST)
    while not await watched.guess():
        pass
    watched.guesses.was_right("new", DIGEST)
    assert [*watched.guesses._right] == ["before", "last", "new"]


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "RIGHT_MAX", 3)
    watched = Watched()
    for number in range(10):
        watched.guesses.was_wrong(f"192.0.2.{number}", "wrong", DIGEST)
        watched.guesses.was_right(f"key{number}", DIGEST)
    assert len(watched.guesses._strangers._of_address) == 8
    assert [*watched.guesses._right] == ["key7", "key8", "key9"]


# ---------------------------------------------------------------------- the same on a database


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


def wrong_key() -> NewKey:
    return generate_key(secrets.token_bytes(RANDOM_BYTES))


async def statuses(client: Client, *keys: NewKey) -> list[int]:
    return [(await ask(client, "GET", "/v1/me", headers=bearing(key))).status for key in keys]


async def test_guesses_end_before_the_database(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    find = KeyStore.find

    async def counted(self: KeyStore, key_id: str) -> StoredKey | None:
        found.append(key_id)
        return await find(self, key_id)

    monkeypatch.setattr(KeyStore, "find", counted)
    right, revoked = await make_key(engine, "org_a"), await make_key(engine, "org_a")
    async with serving([], real_entrance(engine)) as client:
        assert await statuses(client, *(wrong_key() for _ in range(8))) == [401] * 5 + [429] * 3
        assert len(found) == 5
        told = await ask(client, "GET", "/v1/me", headers=bearing(wrong_key()))
        assert told.json["code"] == "RATE_LIMIT_EXCEEDED"
        assert int(told.headers["Retry-After"]) >= 1
        assert await statuses(client, right, revoked) == [200, 200]  # this process saw neither before
        await KeyStore(engine).revoke(revoked.key_id, by=SOMEBODY)
        assert await statuses(client, revoked, revoked, right) == [401, 429, 200]


async def test_guesses_are_told_of_in_the_shape_of_rapidpro(database_url: str) -> None:
    async with serving_v2(database_url) as surface:
        headers = {"Authorization": f"Token {wrong_key().text}"}
        asked = [await ask(surface.client, "GET", "/api/v2/resthooks.json", headers=headers) for _ in range(6)]
    told = asked[-1]
    assert told.status == 429
    assert [*told.json] == ["detail"]
    assert int(told.headers["Retry-After"]) >= 1
