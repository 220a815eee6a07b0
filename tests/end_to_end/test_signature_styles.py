"""A change of signature style over the wire: while it overlaps, receivers of both styles take every webhook."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.end_to_end.processes import free_port
from tests.end_to_end.town import Town
from tests.end_to_end.waiting import until
from webhook_signature import Webhook, public_keys

Ask = Callable[..., Awaitable[Any]]


async def test_a_shared_secret_gives_way_to_a_pair_of_keys(town: Town) -> None:
    arrived: list[tuple[bytes, dict[str, str]]] = []

    async def receive(request: web.Request) -> web.Response:
        arrived.append((await request.read(), dict(request.headers)))
        return web.Response(status=204)

    app, port = web.Application(), free_port()
    app.router.add_post("/hook", receive)
    async with TestServer(app, host="127.0.0.1") as server, aiohttp.ClientSession() as session:
        await town.start_worker(
            *("service", "serve", "--role", "all"),
            POSTHORN_HTTP_PORT=str(port),
            POSTHORN_EGRESS_ALLOW=f"127.0.0.1/32:{server.port}",
        )
        key = await town.make_key("read", "write")

        async def ask(method: str, path: str, body: object = None, **headers: str) -> Any:
            async with session.request(method, f"http://127.0.0.1:{port}{path}", json=body, headers=headers) as reply:
                assert reply.status < web.HTTPMultipleChoices.status_code, await reply.text()
                return await reply.json(content_type=None)

        async def sent(endpoint_id: str) -> tuple[bytes, dict[str, str]]:
            """A test webhook, as it arrived."""
            before = len(arrived)
            await ask("POST", f"/v1/endpoints/{endpoint_id}/test", {}, Authorization=f"Bearer {key}")
            await until(lambda: len(arrived) > before, "the test event comes", told=town.told)
            await town.all_ended()
            return arrived[-1]

        wanted = {"url": str(server.make_url("/hook")), "event_types": ["*"]}
        made = await ask("POST", "/v1/endpoints", wanted, Authorization=f"Bearer {key}")
        shared, endpoint_id = Webhook(made["secret"]), made["id"]
        assert shared.verify(*await sent(endpoint_id)).key_index == 0

        change = {"signature_style": "ed25519", "overlap_seconds": 3600}
        changed = await ask("PATCH", f"/v1/endpoints/{endpoint_id}", change, Authorization=f"Bearer {key}")
        keys = public_keys(await ask("GET", f"/.well-known/webhook-keys/{endpoint_id}"))
        assert keys == [changed["public_key"]]
        webhook = await sent(endpoint_id)
        assert shared.verify(*webhook).id == Webhook(keys, style="ed25519").verify(*webhook).id
