"""When a measurement takes the service that it started for ready."""

import asyncio
import json
import sys

from bench.limits.worker import Worker


async def test_a_service_is_ready_for_publishers_once_it_has_declared_where_they_publish() -> None:
    """With the API it is ready without the broker; what is published before it has connected has no exchange."""
    answers = [False, False, True]
    asked: list[bool] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.append(answers[len(asked)])
        checks = {"database": {"ok": True, "needed": True}, "broker": {"ok": asked[-1], "needed": False}}
        body = json.dumps({"status": "ready", "checks": checks}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        worker = Worker(process, server.sockets[0].getsockname()[1], 0)
        assert await worker.is_ready(seconds=60)
    assert asked == answers
    await process.communicate(b"\n")
