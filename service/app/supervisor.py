"""Run several processes as one service: start them, restart those that die, stop them together.

They share the API's port (the kernel spreads connections) and the work (the database and the broker spread it). The
supervisor serves the ops port, with the metrics of all processes added up and their readiness combined.
"""

import asyncio
import ctypes
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from prometheus_client import CollectorRegistry

from service.adapters.observers.exposition import MULTIPROCESS_VARIABLE, process_ended, render
from service.api.ops import Check, make_ops
from service.app.descriptors import OPS_CONNECTIONS_MAX
from service.app.listening import listen
from service.settings import Settings

PR_SET_PDEATHSIG: Final = 1

LIVED_WELL_SECONDS: Final = 60.0
PAUSE_SECONDS_MIN: Final = 0.25
PAUSE_SECONDS_MAX: Final = 30.0
ASK_SECONDS_MAX: Final = 3.0
DRAIN_MARGIN_SECONDS: Final = 5.0
ECHO_SECONDS: Final = 0.1
"""A second signal this soon is an echo: a sender that signals the process group may also forward the signal."""

Checks = Mapping[str, Check]


def follow(supervisor_id: int) -> None:
    """Called by a child: get SIGTERM when the supervisor dies, however it dies. Exits if it is already dead."""
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != supervisor_id:  # it died before prctl took effect
        sys.exit(1)


@dataclass(slots=True)
class Child:
    """A slot for a process, and the process in it, if any."""

    socket: Path
    process: asyncio.subprocess.Process | None = None


class Supervisor:
    """Runs ``count`` processes of one role until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, role: str, count: int) -> None:
        self._settings = settings
        self._role = role
        self._count = count
        self._children: list[Child] = []
        self._stop = asyncio.Event()
        self._had_to_kill = False
        self._signalled_at = 0.0
        self._log = structlog.get_logger()

    async def run(self) -> int:
        """Return the exit code: 0 after a drain, 1 if a process did not drain in time."""
        async with AsyncExitStack() as stack:
            directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="posthorn-", ignore_cleanup_errors=True))
            )
            metrics = directory / "metrics"
            metrics.mkdir()
            os.environ[MULTIPROCESS_VARIABLE] = str(metrics)  # the children inherit it
            self._children = [Child(directory / f"{number}.sock") for number in range(1, self._count + 1)]
            self._stop_on_signals()
            await self._serve_ops(stack)
            self._log.info("supervisor.started", processes=self._count, role=self._role, pid=os.getpid())
            async with asyncio.TaskGroup() as tasks:
                for child in self._children:
                    tasks.create_task(self._keep(child))
        self._log.info("supervisor.stopped")
        return int(self._had_to_kill)

    # ------------------------------------------------------------------ the children

    async def _keep(self, child: Child) -> None:
        """Keep a process running in this slot until the stop; then wait for its end."""
        pause_seconds = PAUSE_SECONDS_MIN
        while not self._stop.is_set():
            began_at = time.monotonic()
            process = child.process = await self._start(child)
            self._log.info("child.started", child_pid=process.pid)
            if self._stop.is_set():
                _signal(process, signal.SIGTERM)  # the signal came while it was being started
            code = await self._watch(process)
            child.process = None
            process_ended(process.pid)
            if self._stop.is_set():
                return
            if time.monotonic() - began_at > LIVED_WELL_SECONDS:
                pause_seconds = PAUSE_SECONDS_MIN
            self._log.error("child.ended", child_pid=process.pid, code=code, restart_in_seconds=pause_seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause_seconds)
            pause_seconds = min(2 * pause_seconds, PAUSE_SECONDS_MAX)

    async def _start(self, child: Child) -> asyncio.subprocess.Process:
        child.socket.unlink(missing_ok=True)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "serve", "--role", self._role),
            *("--ops-socket", str(child.socket), "--supervisor-id", str(os.getpid())),
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which passes it on once
        )

    async def _watch(self, process: asyncio.subprocess.Process) -> int:
        """Wait for the process to end; once stopping, at most as long as it may drain."""
        stopping, ending = asyncio.create_task(self._stop.wait()), asyncio.create_task(process.wait())
        try:
            await asyncio.wait((stopping, ending), return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                await asyncio.wait((ending,), timeout=self._settings.drain_seconds + DRAIN_MARGIN_SECONDS)
            if not ending.done():
                self._log.error("child.killed", child_pid=process.pid, why="it did not drain in time")
                self._had_to_kill = True
                _signal(process, signal.SIGKILL)
            return await ending
        finally:
            stopping.cancel()

    def _stop_on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: int) -> None:
        now = time.monotonic()
        is_second = self._stop.is_set()
        if is_second and now - self._signalled_at < ECHO_SECONDS:
            return
        self._signalled_at = now
        self._stop.set()
        self._log.info("supervisor.stopping", signal=signal.Signals(number).name)
        for child in self._children:
            if child.process is not None:
                _signal(child.process, signal.SIGKILL if is_second else signal.SIGTERM)
        if is_second:
            os._exit(128 + number)

    # ------------------------------------------------------------------ shared by all children

    async def _serve_ops(self, stack: AsyncExitStack) -> None:
        ops, settings = make_ops(self._readiness, self), self._settings
        await listen(stack, ops, settings.ops_host, settings.ops_port, connections_max=OPS_CONNECTIONS_MAX)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics of all processes, added up."""
        return render(CollectorRegistry(), accept)

    async def _readiness(self) -> Checks:
        answers = await asyncio.gather(*(_ask(child.socket) for child in self._children))
        return merge(answers)


def merge(answers: "list[Checks | None]") -> Checks:
    """Combine the checks of all processes: each is well only if it is well in all. None means no answer."""
    present = [answer for answer in answers if answer is not None]
    merged: dict[str, Check] = {}
    for answer in present:
        for name, check in answer.items():
            if name not in merged or (merged[name].is_well and not check.is_well):
                merged[name] = check
    merged["processes"] = Check(len(present) == len(answers), f"{len(present)} of {len(answers)} answer")
    return merged


async def _ask(socket: Path) -> Checks | None:
    try:
        timeout = aiohttp.ClientTimeout(total=ASK_SECONDS_MAX)
        connector = aiohttp.UnixConnector(str(socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://child/readyz") as reply,
        ):
            found = await reply.json()
        return {
            name: Check(bool(each["ok"]), str(each["detail"]), bool(each["needed"]))
            for name, each in found["checks"].items()
        }
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError):
        return None


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)
