"""Room for large bodies while they arrive: nobody takes all of it, and small bodies need none."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from service.api import validation
from service.api.errors import error_middleware
from service.api.validation import BODY_BYTES_MAX, read_body
from service.core.room import Room
from tests.api.conftest import Client
from tests.fakes.observer import RecordingObserver

LARGE = 400_000


def test_a_holder_leaves_as_much_room_as_it_has() -> None:
    room = Room(64)
    assert [room.take("a", 8) for _ in range(6)] == [True] * 4 + [False] * 2
    assert [room.take("b", 8) for _ in range(3)] == [True, True, False]
    assert room.take("c", 8)
    room.give_back("a", 32)
    assert room.take("b", 8)
    for holder, count in (("b", 24), ("c", 8)):
        room.give_back(holder, count)
    assert not room._held


class Watched(Room):
    """Room whose changes can be waited for."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max)
        self._has_changed = asyncio.Event()

    def take(self, holder: str, count: int) -> bool:
        self._has_changed.set()
        return super().take(holder, count)

    def give_back(self, holder: str, count: int) -> None:
        super().give_back(holder, count)
        self._has_changed.set()

    async def until_held(self, least: int, most: int) -> None:
        while not least <= self._held.total() <= most:
            self._has_changed.clear()
            await self._has_changed.wait()


@pytest.fixture
def room() -> Watched:
    """For two bodies of half a megabyte, one of each organization."""
    return Watched(1_000_000)


@pytest.fixture
async def client(room: Room, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(validation, "ROOM", room)

    async def take(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await read_body(request, 500_000, request.query["of"]))))

    app = web.Application(middlewares=[error_middleware(RecordingObserver(), None)])
    app.router.add_post("/", take)
    async with TestClient(TestServer(app)) as client:
        yield client
    assert not room._held


class Upload:
    """A body of which all but the last byte has arrived."""

    def __init__(self, client: Client, of: str) -> None:
        self._may_end = asyncio.Event()
        self._asking = asyncio.create_task(self._ask(client, of))

    async def _ask(self, client: Client, of: str) -> ClientResponse:
        return await client.post("/", params={"of": of}, data=self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield b"x" * (LARGE - 1)
        await self._may_end.wait()
        yield b"x"

    def leave(self) -> None:
        self._asking.cancel()

    async def end(self) -> str:
        self._may_end.set()
        return await (await self._asking).text()


async def test_no_room_is_a_503_and_others_and_small_bodies_find_room(client: Client, room: Watched) -> None:
    upload = Upload(client, "a")
    async with asyncio.timeout(60):
        await room.until_held(LARGE // 2, LARGE)
        refused = await client.post("/", params={"of": "a"}, data=b"x" * LARGE)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert (await refused.json())["code"] == "UNAVAILABLE"
        for of, size in (("b", 300_000), ("a", BODY_BYTES_MAX)):
            assert await (await client.post("/", params={"of": of}, data=b"x" * size)).text() == str(size)
        assert await upload.end() == str(LARGE)
        assert (await client.post("/", params={"of": "a"}, data=b"x" * LARGE)).status == 200


async def test_a_body_that_breaks_off_gives_its_room_back(client: Client, room: Watched) -> None:
    upload = Upload(client, "a")
    async with asyncio.timeout(60):
        await room.until_held(LARGE // 2, LARGE)
        upload.leave()
        await room.until_held(0, 0)
