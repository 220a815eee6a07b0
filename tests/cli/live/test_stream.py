"""How listen and tail follow the stream of a service that says what they cannot read."""

import asyncio
from contextlib import aclosing

from aiohttp import web
from aiohttp.test_utils import TestServer

from service.cli.live.stream import Lost, News, Opened, Skipped, Stream, Told
from service.cli.remote.client import ApiClient
from service.cli.remote.target import ApiTarget

SECONDS_MAX = 60.0
FIRST = (
    b": open\nid: a\n\n"
    b'id: b\nevent: event\ndata: {"id": "evt_1",\n\n'  # cut off in the middle
    b"id: c\nevent: event\ndata: [1]\n\n"
    b"id: d\nevent: gap\ndata: {}\n\n"
    b'id: e\nevent: event\ndata: {"id": "evt_2"}\n\n'
    b"id: f\nevent: attempt\ndata: \xff\n\n"
)
SECOND = b': open\n\nid: g\nevent: event\ndata: {"id": "evt_3"}\n\n'


async def test_what_cannot_be_read_is_skipped_once_and_said() -> None:
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Last-Event-ID"))
        return web.Response(body=FIRST if len(asked) == 1 else SECOND, content_type="text/event-stream")

    application = web.Application()
    application.router.add_get("/v1/stream", answer)
    heard: list[News] = []
    async with TestServer(application) as server, asyncio.timeout(SECONDS_MAX):
        target = ApiTarget(str(server.make_url("")).rstrip("/"), "ph_live_x", "test")
        async with ApiClient(target) as client, aclosing(Stream(client, {}).news()) as news:
            async for each in news:
                heard.append(each)
                if each == Told("event", {"id": "evt_3"}):
                    break
    assert [type(each) for each in heard] == [Opened, Skipped, Skipped, Skipped, Told, Skipped, Lost, Opened, Told]
    skipped = [each for each in heard if isinstance(each, Skipped)]
    assert [(each.message, each.cursor) for each in skipped] == [
        ("event", "b"),
        ("event", "c"),
        ("gap", "d"),
        ("attempt", "f"),
    ]
    assert skipped[0].record == {"kind": "skipped", "message": "event", "cursor": "b"}
    assert "event" in skipped[0].sentence
    assert asked == [None, "f"]  # it went on after the last one, which it could not read
