"""serve: what it refuses to start with, how it stops, and several processes as one service."""

import asyncio
import base64
import socket
from signal import SIGINT, SIGKILL, SIGTERM
from typing import Any

import aiohttp
import psutil

from tests.cli.command import Run, Serving, serving


async def ask(environment: dict[str, str], path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{environment['POSTHORN_OPS_PORT']}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as reply:
        return reply.status, await reply.text()


async def started(service: Serving, count: int) -> list[dict[str, Any]]:
    """The next ``count`` processes' word that they serve."""
    async with asyncio.timeout(200):
        return [await service.told("service.started") for _ in range(count)]


async def test_it_serves_until_sigterm(environment: dict[str, str]) -> None:
    async with serving(environment) as service:
        await started(service, 1)
        assert (await ask(environment, "/readyz"))[0] == 200
        assert "posthorn_build_info" in (await ask(environment, "/metrics"))[1]
        service.signal(SIGTERM)
        assert await service.end() == 0
    assert service.lines[-1]["event"] == "service.stopped"


async def test_it_refuses_to_start_without_what_it_needs(posthorn: Run, environment: dict[str, str]) -> None:
    keyless = await posthorn("serve", SECRET_KEYS="")
    assert (keyless.code, keyless.out) == (2, "")
    assert "openssl rand -base64 32" in keyless.err
    elsewhere = await posthorn("serve", POSTHORN_SOURCE_ADDRESSES="127.0.0.2,192.0.2.1")
    assert (elsewhere.code, elsewhere.out) == (2, "")
    assert "POSTHORN_SOURCE_ADDRESSES: 192.0.2.1 is not an address of this host." in elsewhere.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name in ("POSTHORN_HTTP_PORT", "POSTHORN_OPS_PORT"):
            for processes in ("1", "2"):
                told = await posthorn("serve", "--processes", processes, **{name: port})
                assert told.code == 1
                assert f"127.0.0.1:{port} is in use" in told.err
                assert name in told.err


OTHER_KEY = "k2:" + base64.b64encode(b"x" * 32).decode()


async def add_endpoint(posthorn: Run, url: str = "https://example.org/", **changes: str) -> None:
    endpoint = ("--url", url, "--event-types", "message.sent")
    assert (await posthorn("endpoints", "add", "--organization", "org_a", *endpoint, **changes)).code == 0


async def test_secrets_that_do_not_open_are_told_at_the_start(posthorn: Run, environment: dict[str, str]) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    await add_endpoint(posthorn)
    await add_endpoint(posthorn, "https://example.org/2", SECRET_KEYS=f"{OTHER_KEY},{environment['SECRET_KEYS']}")
    async with serving(environment | {"SECRET_KEYS": OTHER_KEY}, "--role", "api") as service:
        told = await service.told("secrets.unopenable")
        assert told["detail"].startswith("1 signing secret sealed with key 'k1': the key that sealed")
        assert told["looked_at"] == 2
        assert "back into SECRET_KEYS" in told["advice"]
        await started(service, 1)
        service.signal(SIGTERM)
        assert await service.end() == 0


async def test_it_refuses_to_start_where_its_keys_open_nothing(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    await add_endpoint(posthorn)
    same_id = OTHER_KEY.replace("k2", "k1")
    for keys, why in ((OTHER_KEY, "is not in SECRET_KEYS"), (same_id, "'k1' in SECRET_KEYS is not the one")):
        for processes in ("1", "2"):
            told = await posthorn("serve", "--processes", processes, SECRET_KEYS=keys)
            assert (told.code, told.out) == (2, "")
            assert "SECRET_KEYS opens nothing that is stored. It needs 'k1'" in told.err
            assert why in told.err


async def test_processes_are_one_service(environment: dict[str, str]) -> None:
    async with serving(environment, "--processes", "2") as service:
        first, second = await started(service, 2)
        status, text = await ask(environment, "/readyz")
        assert (status, "2 of 2 answer" in text) == (200, True)
        assert (await ask(environment, "/livez"))[0] == 200
        assert "posthorn_in_flight 0.0" in (await ask(environment, "/metrics"))[1]
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{environment['POSTHORN_HTTP_PORT']}/v1/events"
            async with session.post(url, json={}) as reply:
                assert reply.status == 401
        psutil.Process(first["pid"]).kill()
        assert (await service.told("child.ended"))["child_pid"] == first["pid"]
        assert (await ask(environment, "/readyz"))[0] == 503
        [third] = await started(service, 1)
        assert third["pid"] not in {first["pid"], second["pid"]}
        assert (await ask(environment, "/readyz"))[0] == 200
        service.signal(SIGTERM)
        assert await service.end() == 0
    assert [line["event"] for line in service.lines].count("service.stopped") == 2


async def test_no_process_outlives_a_killed_supervisor(environment: dict[str, str]) -> None:
    async with serving(environment, "--processes", "2") as service:
        children = [psutil.Process(each["pid"]) for each in await started(service, 2)]
        service.signal(SIGKILL)
        await service.end()
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=100)
    assert not alive


async def test_no_process_is_left_where_the_supervisor_dies_at_once(environment: dict[str, str]) -> None:
    async with serving(environment, "--processes", "2") as service:
        # Before the children could ask to be told of its death.
        children = [psutil.Process((await service.told("child.started"))["child_pid"]) for _ in range(2)]
        service.signal(SIGKILL)
        await service.end()
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=100)
    assert not alive


async def test_ctrl_c_stops_all_once(environment: dict[str, str]) -> None:
    async with serving(environment, "--processes", "2", "--role", "worker") as service:
        await started(service, 2)
        service.signal(SIGINT)
        assert await service.end() == 0
    events = [line["event"] for line in service.lines]
    assert events.count("service.stopping") == events.count("service.stopped") == 2
