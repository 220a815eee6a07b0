"""Strangers who open connections and never end a request: everybody else gets through, and nothing is lost."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.end_to_end.processes import ROOT, free_port
from tests.end_to_end.test_http_publishing import BATCH, HttpPublisher
from tests.end_to_end.test_killed_workers import judged
from tests.end_to_end.town import Town

FILES = 480
STRANGERS = 1_100


@asynccontextmanager
async def strangers_at(port: int) -> AsyncIterator[None]:
    program = (sys.executable, "-m", "tests.end_to_end.strangers_program", str(port), str(STRANGERS))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*program, cwd=ROOT, stdin=pipe, stdout=pipe)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"here\n"
        yield
        said, _ = await process.communicate(b"")
        assert int(said) > STRANGERS  # they were closed, and came again
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_unended_requests_cost_nobody_anything(town: Town, processes: str) -> None:
    await town.add_endpoint("/ok/all")
    port, key = free_port(), await town.make_key("publish")
    publisher = HttpPublisher(town, f"http://127.0.0.1:{port}", key)
    command = ("tests.end_to_end.few_files", str(FILES), "serve", "--role", "all", "--processes", processes)
    worker = await town.start_worker(*command, POSTHORN_HTTP_PORT=str(port))
    async with strangers_at(port):
        await publisher.publish(range(20 * BATCH))
        assert not publisher.unanswered
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/openapi.json") as reply:
            assert reply.status == 200
        assert (await worker.readiness())[0] == 200
        await judged(town, 0, set())
    assert not await worker.metric("posthorn_troubles_total"), worker.said()
