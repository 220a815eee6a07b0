"""``serve``: run the service, in one process or in several under a supervisor."""

import asyncio
import errno
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
import typer

from service.adapters.exit.sources import SourceAddressError, SourceAddresses
from service.adapters.observers.logs import configure_logs
from service.adapters.postgres.schema import is_migrated
from service.app.descriptors import TooFewDescriptorsError, api_connections_max
from service.app.role import Role
from service.app.supervisor import ECHO_SECONDS, Supervisor, follow
from service.cli.database import NOT_MIGRATED, connected, database_url_of, require_secret_keys
from service.cli.secrets.sealed import require_openable
from service.cli.terminal import BAD_USAGE, CommandError
from service.settings import Settings, environment_name, load_settings


def serve(role: Role, processes: int, ops_socket: Path | None, supervisor_id: int | None) -> None:
    """Run it until a signal. ``ops_socket`` and ``supervisor_id`` are given to a supervisor's processes."""
    if supervisor_id is not None:
        follow(supervisor_id)
    settings = load_settings()
    database_url_of(settings)
    require_secret_keys(settings)
    _require_descriptors(settings, role)
    _require_source_addresses(settings, role)
    configure_logs(settings.log_format, settings.log_level)
    asyncio.run(_look(settings, is_alone=supervisor_id is None))
    if processes > 1:
        _require_free_port(settings, role)
        with _explained_port(settings):
            supervisor = Supervisor(settings, role.value, processes)
            raise typer.Exit(asyncio.run(supervisor.run()))
    with _explained_port(settings), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, role, ops_socket))


async def _look(settings: Settings, *, is_alone: bool) -> None:
    """Refuse a database without this release's schema, or whose secrets were all sealed with other keys."""
    async with connected(settings) as engine:
        if not await is_migrated(engine):
            raise CommandError(NOT_MIGRATED)
        await require_openable(engine, settings, tells=is_alone)


async def _serve(settings: Settings, role: Role, ops_socket: Path | None) -> None:
    from service.app import assembly  # a supervisor does without the whole service

    stop, started = asyncio.Event(), asyncio.Event()
    _stop_on_signals(stop, is_supervised=ops_socket is not None)
    telling = asyncio.create_task(_tell_start(settings, role, started, is_supervised=ops_socket is not None))
    try:
        await assembly.run_process(settings, role, stop, name=worker_name(), ops_socket=ops_socket, on_started=started)
    finally:
        telling.cancel()
    structlog.get_logger().info("service.stopped")


def _stop_on_signals(stop: asyncio.Event, *, is_supervised: bool) -> None:
    """Drain at the first signal, exit at the second.

    Under a supervisor, only the supervisor decides to exit: an init system may signal all processes, and then the
    signal that the supervisor forwards would be the second.
    """
    loop = asyncio.get_running_loop()

    first_at = 0.0

    def on_signal(number: int) -> None:
        nonlocal first_at
        if stop.is_set():
            if not is_supervised and loop.time() - first_at > ECHO_SECONDS:
                os._exit(128 + number)
            return
        first_at = loop.time()
        structlog.get_logger().info("service.stopping", signal=signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)


async def _tell_start(settings: Settings, role: Role, started: asyncio.Event, *, is_supervised: bool) -> None:
    await started.wait()
    told = {"role": role.value, "pid": os.getpid()}
    if role is not Role.WORKER:
        told["api"] = f"http://{settings.http_host}:{settings.http_port}"
    if not is_supervised:
        told["ops"] = f"http://{settings.ops_host}:{settings.ops_port}"
    if role is not Role.API:
        told["broker"] = "configured" if settings.amqp_url else "none: events arrive over HTTP only"
    structlog.get_logger().info("service.started", **told)


def worker_name() -> str:
    """The holder's name in a lease: host, process id, and a random part in case the process id is reused."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # the extra "speed"
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _require_descriptors(settings: Settings, role: Role) -> None:
    """Refuse settings that need more open files than a process may have."""
    try:
        api_connections_max(settings, delivers=role is not Role.API)
    except TooFewDescriptorsError as error:
        raise CommandError(str(error), BAD_USAGE) from None


def _require_source_addresses(settings: Settings, role: Role) -> None:
    """Refuse addresses that connections cannot come from."""
    if role is Role.API:
        return
    try:
        SourceAddresses(settings.source_addresses)
    except SourceAddressError as error:
        raise CommandError(f"{environment_name('source_addresses')}: {error.strerror}.", BAD_USAGE) from None


def _require_free_port(settings: Settings, role: Role) -> None:
    """Refuse a port that is in use. The processes share theirs, and would share it with any other program too."""
    if role is Role.WORKER:
        return
    family, _, _, _, address = socket.getaddrinfo(settings.http_host, settings.http_port, type=socket.SOCK_STREAM)[0]
    with _explained_port(settings), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a socket in TIME_WAIT is not a listener
        try:
            probe.bind(address)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror} ({settings.http_host!r}, {settings.http_port})") from error


_PORT_ADVICE: Final = {
    errno.EADDRINUSE: "is in use: stop the program that listens there (ss -ltnp shows it), or change",
    errno.EACCES: "is not permitted for this user: use a port from 1024 up in",
    errno.EADDRNOTAVAIL: "is not an address of this machine: change",
}


@contextmanager
def _explained_port(settings: Settings) -> Iterator[None]:
    """Turn a failure to listen on a port into a ``CommandError`` that names the setting."""
    try:
        yield
    except OSError as error:
        advice = _PORT_ADVICE.get(error.errno or 0)
        if advice is None:
            raise
        is_ops = f"{settings.ops_port})" in str(error)
        part = "ops" if is_ops else "http"
        host, port = (settings.ops_host, settings.ops_port) if is_ops else (settings.http_host, settings.http_port)
        names = [environment_name(f"{part}_port")]
        if error.errno == errno.EADDRNOTAVAIL:
            names = [environment_name(f"{part}_host")]
        raise CommandError(f"{host}:{port} {advice} {names[0]}.") from error
