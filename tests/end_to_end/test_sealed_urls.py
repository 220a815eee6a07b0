"""A token in a URL's query reaches its receiver, and nothing else: no table, no line of the log, no metric."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.end_to_end.processes import free_port
from tests.end_to_end.town import ORGANIZATION, Town
from tests.end_to_end.waiting import until

TOKEN = "t0p-s3cret-qu3ry"
QUERY = f"token={TOKEN}&{TOKEN[::-1]}"


class Receiver:
    """Fails, redirects, then accepts an event; at /gone it answers 410."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.asked_with: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if request.path == "/gone":
            return web.Response(status=410)
        event_id = request.headers["webhook-id"]
        self.asked_with[event_id] += 1
        status = {1: 500, 2: 302}.get(self.asked_with[event_id], 200)
        return web.Response(status=status, headers={"Location": f"{request.path_qs}&moved"} if status == 302 else {})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        app = web.Application()
        app.router.add_post("/{path}", self.answer)
        async with TestServer(app, host="127.0.0.1") as server:
            assert server.port is not None
            yield server.port


async def test_a_token_in_a_query_is_stored_and_logged_nowhere(town: Town) -> None:
    receiver, port = Receiver(), free_port()
    async with receiver.listening() as target_port:
        await town.start_worker(
            *("service", "serve", "--role", "all"),
            POSTHORN_HTTP_PORT=str(port),
            POSTHORN_EGRESS_ALLOW=f"127.0.0.1/32:{target_port}",
        )
        headers = {"Authorization": f"Bearer {await town.make_key('read', 'write', 'publish', 'admin')}"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:

            async def ask(method: str, path: str, body: object = None) -> Any:
                async with session.request(method, path, json=body) as reply:
                    assert reply.status < 400, await reply.text()
                    return await reply.json() if reply.status != 204 else None

            target = f"http://127.0.0.1:{target_port}"
            asked = {"url": f"{target}/hook?{QUERY}", "event_types": ["message.sent", "endpoint.*"]}
            made = await ask("POST", "/v1/endpoints", asked)
            assert made["url"] == asked["url"]
            gone = await ask(
                "POST", "/v1/endpoints", {"url": f"{target}/gone?{QUERY}", "event_types": ["link.clicked"]}
            )
            for number, event_type in enumerate(("message.sent", "link.clicked")):
                await ask("POST", "/v1/events", json.loads(town.event(number, event_type).body))
            await until(lambda: _have_ended(town, 3), "all are delivered, and endpoint.gone is told", told=town.told)
            assert (await ask("GET", f"/v1/endpoints/{gone['id']}"))["state"] == "gone"

            (delivery,) = (await ask("GET", "/v1/deliveries?event_type=message.sent"))["data"]
            detail = await ask("GET", f"/v1/deliveries/{delivery['id']}")
            assert [each["status"] for each in detail["attempts"]] == [500, 302, 200]
            assert "/hook?***" in detail["attempts"][1]["detail"]
            assert {each["request"]["url"] for each in detail["attempts"]} == {f"{target}/hook?***"}
            await ask("POST", f"/v1/deliveries/{delivery['id']}/replay")
            await until(lambda: _have_ended(town, 4), "the replay is delivered", told=town.told)
            await ask("PATCH", f"/v1/endpoints/{made['id']}", {"url": f"{asked['url']}&more={TOKEN}"})
            await ask("POST", f"/v1/endpoints/{made['id']}/test", {})
            await until(lambda: _have_ended(town, 5), "the test is delivered", told=town.told)
            await ask("DELETE", f"/v1/endpoints/{made['id']}")
            assert (await ask("GET", "/v1/audit"))["data"][0]["operation"] == "endpoint.delete"
        assert f"/gone?{QUERY}" in receiver.asked
        assert receiver.asked[-1] == f"/hook?{QUERY}&more={TOKEN}"
        ops_url = town.workers[0].ops_url
        async with aiohttp.ClientSession() as session, session.get(f"{ops_url}/metrics") as reply:
            metrics = await reply.text()
    everything = await _database(town) + metrics + town.workers[0].log.read_text(encoding="utf-8")
    assert made["id"] in everything
    for secret in (TOKEN, TOKEN[::-1]):
        for form in (secret, secret.encode().hex()):
            assert form not in everything


async def _have_ended(town: Town, count: int) -> bool:
    connection = await asyncpg.connect(town.database_url)
    try:
        statement = "SELECT count(*) FROM final_deliveries WHERE organization_id = $1 AND state <> 'dead'"
        return int(await connection.fetchval(statement, ORGANIZATION)) >= count
    finally:
        await connection.close()


async def _database(town: Town) -> str:
    """All that the database holds, as text; what is bytes as itself."""
    connection = await asyncpg.connect(town.database_url)
    try:
        await connection.execute("SET bytea_output = 'escape'")
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert len(tables) > 20
        rows = [row for (table,) in tables for row in await connection.fetch(f'SELECT t::text FROM "{table}" t')]  # noqa: S608
        return "\n".join(row[0] for row in rows)
    finally:
        await connection.close()
