"""Commands as people and scripts run them: processes, with their output and their exit code."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

COMMAND_SECONDS_MAX = 200


@dataclass(frozen=True)
class Finished:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


Run = Callable[..., Awaitable[Finished]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def run_posthorn(environ: dict[str, str], *arguments: str, stdin: bytes = b"") -> Finished:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", *arguments),
        env=environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Finished(process.returncode, out.decode(), err.decode())


class CommandServer:
    """Runs each command once as ``run_posthorn`` does, and from then on without Python's start and end."""

    def __init__(self, directory: Path) -> None:
        self._known: set[str] = set()
        self._address = str(directory / "commands")
        program = [sys.executable, "-m", "tests.cli.command_server", self._address]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    async def run(self, environ: dict[str, str], *arguments: str, stdin: bytes = b"") -> Finished:
        """Run a command."""
        if (name := " ".join(arguments[:1])) not in self._known:
            self._known.add(name)
            return await run_posthorn(environ, *arguments, stdin=stdin)
        # In a thread, as what the command talks to may live in our event loop.
        finished = await asyncio.to_thread(self._run, environ, arguments, stdin)
        assert "Traceback" not in finished.err, finished.err
        return finished

    def _run(self, environ: dict[str, str], arguments: Sequence[str], stdin: bytes) -> Finished:
        asked = json.dumps({"environ": environ, "arguments": arguments}).encode()
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
            TemporaryFile() as given,
            TemporaryFile() as out,
            TemporaryFile() as err,
        ):
            given.write(stdin)
            given.seek(0)
            connection.settimeout(COMMAND_SECONDS_MAX)
            connection.connect(self._address)
            socket.send_fds(connection, [asked], [each.fileno() for each in (given, out, err)])
            code = int(connection.recv(100))
            out.seek(0)
            err.seek(0)
            return Finished(code, out.read().decode(), err.read().decode())

    def close(self) -> None:
        self._process.communicate()


class Serving:
    """A ``posthorn serve`` that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def told(self, event: str) -> dict[str, Any]:
        """Its next log line of this event."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            assert line.startswith(b"{"), line.decode()
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"it ended before {event}: {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> int:
        """Read it to its end; its exit code."""
        assert self.process.stderr is not None
        rest = await self.process.stderr.read()
        self.lines += [json.loads(line) for line in rest.splitlines() if line.startswith(b"{")]
        return await self.process.wait()


@asynccontextmanager
async def serving(environ: dict[str, str], *arguments: str) -> AsyncIterator[Serving]:
    """Start ``posthorn serve``; it does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "serve", *arguments), env=environ, stderr=asyncio.subprocess.PIPE
    )
    service = Serving(process)
    try:
        yield service
    finally:
        if process.returncode is None:
            process.kill()
            await service.end()
