"""``posthorn demo``: everything on this machine, from publishing to verifying, and nothing left behind.

It runs the service itself (``app.assembly.run_process``) with its own settings: POSTHORN_* and DATABASE_URL are
ignored, only AMQP_URL is used.
"""

import asyncio
import base64
import errno
import os
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.observers.logs import configure_logs, safe_text
from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import connect
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.postgres.schema import migrate_schema
from service.adapters.rabbitmq.publisher import EventPublisher, UnroutableError
from service.adapters.rabbitmq.topology import TopologyError
from service.adapters.secret_box import AesSecretBox
from service.adapters.system import command_actor, new_key
from service.app.assembly import run_process
from service.app.dashboard_link import make_dashboard_link
from service.app.descriptors import TooFewDescriptorsError
from service.app.role import Role
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.view import Registered
from service.core.keys.grant import KeyWish
from service.core.keys.scope import SCOPES
from service.demo.broker import DemoBroker, demo_broker
from service.demo.display import DemoDisplay
from service.demo.receiver import demo_receiver
from service.demo.run import ORGANIZATION_ID, Demo
from service.demo.subscribers import DemoSubscriber, demo_subscribers
from service.demo.workplace import demo_directory
from service.embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError
from service.ports.errors import RefusedError, UnavailableError
from service.settings import Settings, SettingsError, load_settings
from webhook_signature import Webhook

START_TRIES_MAX: Final = 5
INTERRUPTED: Final = 130


def run_demo(*, events: int, once: bool, command: str) -> int:
    """Run the demo; returns the exit code. 0: all arrived, each signature verified, and the database agrees.

    ``command`` is how a shell calls this program from any directory.
    """
    configure_logs("console", "error")
    try:
        return asyncio.run(_run_demo(events, once=once, command=command))
    except asyncio.CancelledError:
        return INTERRUPTED
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the command's own words
        return 2
    except (
        *(EmbeddedPostgresError, TopologyError, UnavailableError, UnroutableError, RefusedError),
        *(TooFewDescriptorsError, OSError),
    ) as error:
        print(f"demo: {safe_text(str(error))}", file=sys.stderr)  # noqa: T201
        return 1


async def _run_demo(events: int, *, once: bool, command: str) -> int:
    subscribers = demo_subscribers()
    display = DemoDisplay(subscribers)
    _end_on_signals(display)
    async with AsyncExitStack() as stack:
        demo, key, service_url = await _set_up(stack, events, subscribers, display)
        is_well = await demo.run()
        if once:
            return 0 if is_well else 1
        display.say("To look closer, run in another terminal:")
        # Quoted: zsh takes a bare ? for a pattern, and a directory may have a space in its name.
        display.say(f"  curl -H 'X-API-Key: {key}' '{service_url}/v1/deliveries?state=cancelled'")
        display.say(f"  DATABASE_URL={shlex.quote(demo.database_url)} {command} deliveries list")
        over_http = f"POSTHORN_API_URL={shlex.quote(service_url)} POSTHORN_API_KEY={key} {command}"
        display.say(f"  {over_http} tail")
        display.say(f"  {over_http} listen --forward-to http://localhost:3000/hooks  # or wherever your own program is")
        display.say("From now on, one event per second. Ctrl-C ends the demo and removes everything.")
        try:
            await demo.trickle()
        except asyncio.CancelledError:
            return 0 if is_well else 1
    return 1


async def _set_up(
    stack: AsyncExitStack, events: int, subscribers: Sequence[DemoSubscriber], display: DemoDisplay
) -> tuple[Demo, str, str]:
    """Return the demo, an API key of its organization, and the API's base URL."""
    display.say("Posthorn demo: runs on this machine only, and removes everything at the end.")
    amqp_url = _heeded_settings().amqp_url
    directory = stack.enter_context(demo_directory())
    postgres = await stack.enter_async_context(EmbeddedPostgres(directory))
    await migrate_schema(postgres.url)
    broker = await stack.enter_async_context(demo_broker(amqp_url))
    receiver_url = await stack.enter_async_context(demo_receiver(subscribers))
    settings = _settings(postgres.url, broker, receiver_url)
    engine = connect(postgres.url, pool_size=2)
    stack.push_async_callback(engine.dispose)
    key = await _subscribe(engine, settings, subscribers, receiver_url)
    settings = await stack.enter_async_context(_serving(settings))
    service_url = f"http://{settings.http_host}:{settings.http_port}"
    lasts = timedelta(days=1)
    link = await make_dashboard_link(engine, settings, None, SCOPES, lasts=lasts, by=command_actor())
    display.link("Dashboard, signed in:", f"{link}?next=/dashboard/o/{ORGANIZATION_ID}/overview")
    display.fact("", "open it in a browser: it signs you in, once, within ten minutes")
    display.fact("Service", f"{service_url}/docs, with secret keys generated for this run")
    display.fact("", "may call http:// and loopback addresses; retries after 0.5, 1, 2 s (default: 5, 15, 45 s)")
    display.fact("Receivers", f"{receiver_url}/<subscriber>, each verifies every signature")
    display.fact("Operations", f"http://{settings.ops_host}:{settings.ops_port}/metrics and /readyz")
    display.fact("Broker", broker.description)
    aside = " (your DATABASE_URL is not used)" if os.environ.get("DATABASE_URL") else ""
    display.fact("PostgreSQL", f"embedded{aside}, its data in {directory}, removed at the end")
    display.say()
    publisher = await stack.enter_async_context(EventPublisher(broker.url, broker.topology, app_id="posthorn-demo"))
    return Demo(events, subscribers, display, postgres.url, engine, publisher), key, service_url


def _heeded_settings() -> Settings:
    """Load the only setting that the demo reads: AMQP_URL, or AMQP_URL_FILE."""
    return load_settings({name: value for name, value in os.environ.items() if name in {"AMQP_URL", "AMQP_URL_FILE"}})


def _settings(database_url: str, broker: DemoBroker, receiver_url: str) -> Settings:
    http_port, ops_port = _free_ports()
    return load_settings(
        {
            "DATABASE_URL": database_url,
            "AMQP_URL": broker.url,
            "POSTHORN_AMQP_PREFIX": broker.topology.prefix,
            "SECRET_KEYS": f"demo:{base64.b64encode(os.urandom(32)).decode()}",
            "POSTHORN_HTTP_PORT": str(http_port),
            "POSTHORN_OPS_PORT": str(ops_port),
            # Repeated with its port: a free port may be a well-known database port, which is refused by default.
            "POSTHORN_EGRESS_ALLOW": f"127.0.0.0/8,::1/128,127.0.0.1/32:{urlsplit(receiver_url).port}",
            "POSTHORN_ALLOW_HTTP": "true",
            "POSTHORN_IN_FLIGHT_MAX": "128",  # so that 1,024 open files are enough
            "POSTHORN_RETRY_BASE_SECONDS": "0.5",
            "POSTHORN_RETRY_FACTOR": "2",
            "POSTHORN_DRAIN_SECONDS": "3",
            "POSTHORN_LOG_LEVEL": "error",
        }
    )


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


async def _subscribe(
    engine: AsyncEngine, settings: Settings, subscribers: Sequence[DemoSubscriber], receiver_url: str
) -> str:
    """Register the receivers; return an API key of the organization."""
    by = command_actor()
    await OrganizationStore(engine).create(ORGANIZATION_ID, by=by)
    endpoints = EndpointStore(engine, AesSecretBox(settings.secret_keys), settings.endpoint_rules)
    for subscriber in subscribers:
        url = f"{receiver_url}/{subscriber.name}"
        wish = EndpointWish({"url": url, "event_types": subscriber.event_types})
        made = await endpoints.create(ORGANIZATION_ID, wish, by=by)
        if not isinstance(made, Registered):
            raise TypeError(f"the demo's own endpoint was refused: {made}")
        subscriber.endpoint_id = made.endpoint.id
        subscriber.webhook = Webhook((made.new_secret and made.new_secret.text) or "")
    key = new_key()
    await KeyStore(engine).create_key(ORGANIZATION_ID, key, KeyWish(SCOPES), by=by)
    return key.text


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[Settings]:
    """Run the service in the background; yields its settings. If it ends by itself, its error is raised here."""
    stop, us = asyncio.Event(), _current_task()
    service, settings = await _start(settings, stop)
    service.add_done_callback(lambda _: None if stop.is_set() else us.cancel())
    try:
        yield settings
    except asyncio.CancelledError:
        if service.done() and not service.cancelled():
            service.result()
        raise
    finally:
        stop.set()
        await asyncio.wait([service])
    service.result()


async def _start(settings: Settings, stop: asyncio.Event) -> tuple[asyncio.Task[None], Settings]:
    """Start the service; use other ports if these are taken before it listens."""
    for _ in range(START_TRIES_MAX - 1):
        try:
            return await _start_once(settings, stop), settings
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        settings = settings.model_copy(update=dict(zip(("http_port", "ops_port"), _free_ports(), strict=True)))
    return await _start_once(settings, stop), settings


async def _start_once(settings: Settings, stop: asyncio.Event) -> asyncio.Task[None]:
    started = asyncio.Event()
    service = asyncio.create_task(run_process(settings, Role.ALL, stop, name="demo", on_started=started))
    starting = asyncio.create_task(started.wait())
    try:
        await asyncio.wait([service, starting], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        service.cancel()
        await asyncio.wait([service])
        raise
    finally:
        starting.cancel()
    if service.done():
        service.result()
    return service


def _end_on_signals(display: DemoDisplay) -> None:
    """End the demo in order on Ctrl-C, SIGTERM or a closed terminal; further signals are ignored."""
    us = _current_task()
    signalled = asyncio.Event()

    def end() -> None:
        if not signalled.is_set():
            signalled.set()
            us.cancel()
            display.say("Stopping: removing everything.")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # under nohup it goes on
            asyncio.get_running_loop().add_signal_handler(number, end)


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker: a coroutine that runs has a task
    return task
