"""The town's processes: workers of the service, and the receiver."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.end_to_end.waiting import SECONDS_MAX, until

ROOT = Path(__file__).parents[2]
RECEIVER_PROGRAM = Path(__file__).with_name("receiver_program.py")
LOG_CHARACTERS_MAX = 4_000

CLOCK = {name: os.environ[name] for name in ("TZ", "LD_PRELOAD", "CLOCK_SHIFT_SECONDS") if name in os.environ}
"""What day and time it is under .ci/at: for processes that inherit nothing else."""


def make_receiver_python(directory: Path) -> Path:
    """A new virtual environment with the receiver's package installed as receivers install it, and nothing else.

    Nothing is asked of an index: the wheel is built with the hatchling of the tests.
    """
    python = directory / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--isolated")
    options = ("--no-index", "--no-deps", "--no-input", "--disable-pip-version-check", "--quiet")
    _run(sys.executable, "-m", "venv", "--without-pip", str(directory / "venv"))
    _run(*pip, "wheel", *options, "--no-build-isolation", f"--wheel-dir={directory}", str(ROOT / "receiver"))
    [wheel] = directory.glob("*.whl")
    _run(*pip, "--python", str(python), "install", *options, str(wheel))
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


class ReceiverProcess:
    """The receiver, on a port of its own; ``ledger`` is the file that it writes."""

    def __init__(self, python: Path, directory: Path) -> None:
        self.ledger = directory / "ledger.jsonl"
        self.ledger.touch()
        self._process = subprocess.Popen(
            [str(python), "-I", str(RECEIVER_PROGRAM), str(self.ledger)],
            cwd=directory,
            env={"PATH": os.defpath, **CLOCK},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.about: Mapping[str, Any] = json.loads(self._process.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.about['port']}"

    def answer(self) -> None:
        """Have /hang/… answer from now on, also what it has kept waiting."""
        self._tell("answer")

    def hang(self) -> None:
        """Have /hang/… answer nothing from now on."""
        self._tell("hang")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def close(self) -> None:
        self._process.communicate(timeout=SECONDS_MAX)


@dataclass(slots=True)
class Worker:
    """A worker process; ``log`` has all that it said."""

    process: subprocess.Popen[bytes]
    ops_url: str
    log: Path

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], log: Path) -> "Worker":
        """``command`` follows ``python -m``. The worker inherits nothing from our environment that it would heed."""
        ops_port = free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "POSTHORN_OPS_PORT": str(ops_port), **CLOCK, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return cls(process, f"http://127.0.0.1:{ops_port}", log)

    async def ready(self) -> None:
        await until(self._is_ready_or_dead, "the worker is ready", told=self.said)
        assert self.process.poll() is None, self.said()

    async def _is_ready_or_dead(self) -> bool:
        return self.process.poll() is not None or (await self.readiness())[0] == 200

    async def readiness(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """What /readyz answers: the status, and the checks by name; 0 where nobody listens."""
        timeout = aiohttp.ClientTimeout(total=SECONDS_MAX)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self.ops_url}/readyz") as reply,
            ):
                return reply.status, (await reply.json())["checks"]
        except aiohttp.ClientConnectionError:
            return 0, {}

    async def metric(self, name: str) -> float:
        """The sum over all samples of a metric."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.ops_url}/metrics") as reply:
            lines = (await reply.text()).splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def kill(self) -> None:
        """As a power cut would: nothing is finished, nothing is said."""
        self.process.kill()
        self.process.wait(timeout=SECONDS_MAX)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        await until(lambda: self.process.poll() is not None, "the worker ends", told=self.said)
        return int(self.process.returncode)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS_MAX:]


def free_port() -> int:
    """A port below those that outgoing connections are given, so that none of them takes it before the worker does."""
    while True:
        port = random.randint(20_000, 30_000)  # noqa: S311 - no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
