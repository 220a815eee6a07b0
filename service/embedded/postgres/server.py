"""The server's life cycle: cluster created once, then started, ready, stopped."""

import asyncio
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from service.embedded.postgres.binaries import EmbeddedPostgresError, find_binaries
from service.embedded.postgres.ending import end_at_once
from service.embedded.postgres.launcher import Launcher

USER: Final = "posthorn"
DATABASE: Final = "posthorn"
POLL_SECONDS: Final = 0.01
RETRY_SECONDS: Final = 0.1
RETRY_SECONDS_MAX: Final = 5.0
START_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 15.0
ABANDON_SECONDS_MAX: Final = 10.0
LOG_CHARACTERS_SHOWN: Final = 2000
STATE_LINE: Final = 7
PASSING_SIGNS: Final = (
    'lock file "postmaster.pid" already exists',
    "pre-existing shared memory block",  # the last server was killed, and its child processes have not noticed yet
    "Address already in use",
)

Steps = Generator[float, None, None]
"""Work that yields how many seconds to wait before it continues, so that it runs with or without an event loop."""


class EmbeddedPostgres:
    """``async with EmbeddedPostgres(directory) as server:``, or plain ``with``; then connect to ``server.url``.

    ``settings`` are PostgreSQL's, by name (tests: ``{"fsync": "off"}``). ``port`` 0 means a free one at each start.
    Start it from the main thread, or one that lives as long as the server should: on Linux the server stops when that
    thread ends, killed or not.
    """

    def __init__(self, data_directory: Path | str, settings: Mapping[str, str] | None = None, *, port: int = 0) -> None:
        self._directory = Path(data_directory).absolute()
        self._settings = dict(settings or {})
        self._cluster = self._directory / "cluster"
        self._draft = self._directory / "cluster.draft"
        self._password = self._directory / "password"
        self._log = self._directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._wished_port = self._port = port

    @property
    def url(self) -> str:
        """The URL to connect to, including the password."""
        return f"postgresql://{USER}:{self._password.read_text()}@127.0.0.1:{self._port}/{DATABASE}"

    @property
    def process_id(self) -> int | None:
        """The server's process id; None while it is not running."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Create the cluster if needed, start the server, wait until it is ready. Raises ``EmbeddedPostgresError``."""
        with closing(self._starting()) as steps:
            for seconds in steps:
                time.sleep(seconds)

    def stop(self) -> None:
        """Shut down: connections are closed, nothing committed is lost. Does nothing if no server is running."""
        with closing(self._stopping()) as steps:
            for seconds in steps:
                time.sleep(seconds)

    def _starting(self) -> Steps:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        launcher = Launcher(find_binaries(self._cluster), self._directory)
        is_new = not self._cluster.exists()
        try:
            if is_new:
                yield from self._make_cluster(launcher)
            launcher.own()
            yield from self._start_server(launcher)
        except BaseException:  # also when cancelled: a program that still runs would outlive this process
            self._abandon()
            if is_new:
                shutil.rmtree(self._draft, ignore_errors=True)
            raise

    def _make_cluster(self, launcher: Launcher) -> Steps:
        """Build it in a draft directory and rename it when complete: dying halfway leaves no broken cluster behind."""
        draft = self._draft
        shutil.rmtree(draft, ignore_errors=True)
        self._password.unlink(missing_ok=True)
        self._password.touch(mode=0o600, exist_ok=False)
        self._password.write_text(secrets.token_hex(24))
        launcher.own()
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", f"--pwfile={self._password}"]
        if self._settings.get("fsync") == "off":
            options.append("--no-sync")
        yield from self._run(launcher, ["initdb", f"--pgdata={draft}", f"--username={USER}", *options])
        # No server is running yet to connect to: single-user mode reads SQL from its standard input.
        yield from self._run(
            launcher, ["postgres", "--single", "-D", str(draft), "postgres"], f"CREATE DATABASE {DATABASE}"
        )
        draft.rename(self._cluster)

    def _run(self, launcher: Launcher, command: list[str], told: str = "") -> Steps:
        with self._log.open("wb") as log:
            process = self._process = launcher.spawn(command, log, stdin=subprocess.PIPE)
        if process.stdin is not None:
            with process.stdin as stdin:
                stdin.write(told.encode())
        while process.poll() is None:
            yield POLL_SECONDS
        said = self._log.read_text(errors="replace")
        if process.returncode != 0 or "ERROR:" in said:  # single-user mode exits 0 after an error
            raise EmbeddedPostgresError(f"{command[0]} failed in {self._directory}: {said[-LOG_CHARACTERS_SHOWN:]}")

    def _start_server(self, launcher: Launcher) -> Steps:
        """Start; retry for a while if the last server is still shutting down, or another process took the port."""
        began_at = time.monotonic()
        while True:
            self._port = self._wished_port or _free_port()
            process = self._process = self._spawn_server(launcher)
            while process.poll() is None:
                if self._is_ready(process):
                    return
                if time.monotonic() - began_at > START_SECONDS_MAX:
                    raise EmbeddedPostgresError(f"PostgreSQL is not ready after {START_SECONDS_MAX} s; see {self._log}")
                yield POLL_SECONDS
            said = self._log.read_text(errors="replace")
            may_pass = any(sign in said for sign in PASSING_SIGNS)
            if not may_pass or time.monotonic() - began_at > RETRY_SECONDS_MAX:
                raise EmbeddedPostgresError(f"PostgreSQL does not start: {said[-LOG_CHARACTERS_SHOWN:]}")
            yield RETRY_SECONDS

    def _spawn_server(self, launcher: Launcher) -> subprocess.Popen[bytes]:
        settings = {
            **self._settings,
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        with self._log.open("wb") as log:  # only the last start's log, to find out why it failed
            return launcher.spawn(["postgres", "-D", str(self._cluster), *options], log)

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Read postmaster.pid, as pg_ctl does: whether it is this server's, and whether it accepts connections."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > STATE_LINE and lines[0] == str(process.pid) and lines[STATE_LINE].strip() == "ready"

    def _stopping(self) -> Steps:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + STOP_SECONDS_MAX
            while process.poll() is None and time.monotonic() < deadline:
                yield POLL_SECONDS
        finally:  # also when cancelled: as after a crash, the next start recovers
            end_at_once(process, seconds_max=ABANDON_SECONDS_MAX)

    def _abandon(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            end_at_once(process, seconds_max=ABANDON_SECONDS_MAX)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        with closing(self._starting()) as steps:
            for seconds in steps:
                await asyncio.sleep(seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with closing(self._stopping()) as steps:
            for seconds in steps:
                await asyncio.sleep(seconds)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
