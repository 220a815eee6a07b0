"""How long the dashboard's pages take: each page of the largest organization and of the operator, over HTTP.

    python -m bench.pages --database-url postgresql://…/seeded --amqp-url amqp://… [--runs 100] [--json pages.json]

The database must have been filled by bench.seed. A server of its own is started, and asked for one page after the other
with a session, as a browser would. The first request of a page, which may compile its template, is reported apart.
"""

import argparse
import asyncio
import base64
import json
import math
import os
import random
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import aiohttp
import aiormq
import psutil
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.reads import Known, look_around
from bench.seed import LARGE, endpoint_id
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.oversight import OversightReader
from service.adapters.postgres.requests.sessions import SessionStore
from service.adapters.rabbitmq.topology import declare_topology
from service.api.lists.cursor import write_cursor
from service.core.deliveries.delivery import DeliveryKey
from service.core.keys.scope import SCOPES
from service.core.session import TOKEN_BYTES, Guest, new_token
from service.ports.source import Topology
from service.web.page import OF_ORGANIZATION, PREFIX
from service.web.pages.all import all_pages
from service.web.pages.service import OperatorDesks

TOPOLOGY: Final = Topology(prefix="posthorn_bench_pages")
PARKED: Final = 300
READY_SECONDS_MAX: Final = 60

PATHS: Final = (
    "/overview",
    "/overview?period=1h",
    "/overview?period=7d",
    "/overview?period=30d",
    "/endpoints",
    "/endpoints?search=example/1",
    "/endpoints?state=paused,disabled",
    "/endpoints/new",
    "/endpoints/{endpoint}",
    "/endpoints/{endpoint}/test?test={delivery}",
    "/endpoints/{endpoint}/rehearse",
    "/endpoints/{endpoint}/replace-secret",
    "/endpoints/{endpoint}/end-overlap",
    "/endpoints/{endpoint}/remove",
    "/endpoints/{endpoint}/recover",
    "/endpoints/{endpoint}/history",
    "/deliveries",
    "/deliveries?cursor={deep_delivery}",
    "/deliveries/chart",
    "/deliveries/chart?endpoint_id={endpoint}",
    "/deliveries?endpoint_id={endpoint}",
    "/deliveries?endpoint_id={endpoint}&status_code=5xx",
    "/deliveries?state=dead",
    "/deliveries?state=pending",
    "/deliveries?reason=age_exceeded",
    "/deliveries?status_code=5xx",
    "/deliveries?event_type=message.failed&within=7d",
    "/deliveries?event_id={event}",
    "/deliveries?message_id={message}",
    "/deliveries/{delivery}",
    "/events",
    "/events?cursor={deep_event}",
    "/events?event_type=link.clicked",
    "/events?campaign_id={campaign}&within=7d",
    "/events?message_id={message}",
    "/events/{event}",
    "/find?q={event}",
    "/find?q={message}",
    "/replays",
    "/replays/new",
    "/replays/new?endpoint_id={endpoint}&states=dead",
    "/replays/new?endpoint_id={endpoint}&states=dead&count=1",
    "/replays/{replay}",
    "/event-types",
    "/event-types/{type}",
    "/keys",
    "/audit",
    "/audit?object_id={endpoint}",
)
"""The pages of an organization, with what is drawn for each run in braces."""
SERVICE_PATHS: Final = (
    "/service",
    "/service/organizations",
    "/service/organizations?q=org_9",
    "/service/open?organization=org_large",
    "/service/parked",
    "/service/parked?skip=200",
    "/service/parked/{parked}",
)

FILE: Final = "/export"
"""A list as a file is sent for as long as it takes, and is no page."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How long one page took, in milliseconds; ``cpu_ms`` is the server's own for each, without PostgreSQL's."""

    page: str
    first_ms: float
    p50_ms: float
    p99_ms: float
    most_ms: float
    cpu_ms: float
    bytes: int


class Asked:
    """The server, and the values that are drawn for the pages' paths."""

    def __init__(self, session: aiohttp.ClientSession, base: str, known: Known, draw: random.Random) -> None:
        self._session = session
        self._base = base
        self._known = known
        self._draw = draw
        self._found: dict[str, list[str]] = {}

    async def get(self, path: str, token: str) -> str:
        """The page. Raises ``SystemExit`` for one that is not shown."""
        headers = {"Cookie": f"posthorn={token}"}
        async with self._session.get(f"{self._base}{path}", headers=headers, allow_redirects=False) as response:
            text = await response.text()
        if response.status not in {200, 303} or response.headers.get("Location", "").startswith(f"{PREFIX}/sign-in"):
            raise SystemExit(f"{path} was answered with {response.status}")
        return text

    async def learn(self, name: str, path: str, pattern: str, token: str) -> None:
        """Take the values of ``name`` from a page."""
        self._found[name] = re.findall(pattern, await self.get(path, token))
        if not self._found[name]:
            raise SystemExit(f"{path} names no {name}: was the database filled by this version's bench.seed?")

    def path(self, template: str) -> str:
        """The path with its values drawn anew."""
        return re.sub(r"\{(\w+)\}", lambda found: self._drawn(found[1]), template)

    def _drawn(self, name: str) -> str:
        choice = self._draw.choice
        if name in self._found:
            return choice(self._found[name])
        event = choice([each for each in self._known.events if each["organization_id"] == LARGE])
        delivery = choice([each for each in self._known.deliveries if each["organization_id"] == LARGE])
        key = DeliveryKey(delivery["event_uid"], delivery["subscription_id"])
        drawn: Mapping[str, Callable[[], str]] = {
            "endpoint": lambda: endpoint_id(LARGE, self._draw.randrange(40)),
            "delivery": lambda: str(key),
            "event": lambda: event["event_id"],
            "message": lambda: event["message_id"],
            "campaign": lambda: event["campaign_id"],
            "type": lambda: event["event_type"],
            "deep_delivery": lambda: write_cursor(str(key)),
            "deep_event": lambda: write_cursor(event["uid"].hex),
        }
        return drawn[name]()


async def measure(options: argparse.Namespace) -> list[Figures]:
    """Start a server, and ask it for every page."""
    draw = random.Random(options.seed)  # noqa: S311 - parameters, no secrets
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_parked(options.amqp_url))
        engine = connect(options.database_url, pool_size=1)
        stack.push_async_callback(engine.dispose)
        missing = unmeasured(engine)
        if missing:
            raise SystemExit(f"say in PATHS how to ask for {', '.join(missing)}")
        async with driver(engine) as connection:
            known = await look_around(connection, draw)
        tokens = {owner: await _session(SessionStore(engine), owner) for owner in (LARGE, None)}
        server, base = await stack.enter_async_context(_server(options))
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        asked = Asked(session, base, known, draw)
        of_large = OF_ORGANIZATION.format(organization=LARGE)
        await asked.learn("replay", f"{PREFIX}{of_large}/replays", r"/replays/(rpl_\w+)", tokens[LARGE])
        await asked.learn("parked", f"{PREFIX}/service/parked", r"/service/parked/([\w-]+)", tokens[None])
        figures = []
        for owner, below, templates in ((LARGE, of_large, PATHS), (None, "", SERVICE_PATHS)):
            for template in templates:
                async with driver(engine) as connection:
                    await connection.execute("TRUNCATE rate_buckets")  # nobody looks at pages as fast as this
                figures.append(await _of_page(asked, f"{PREFIX}{below}{template}", tokens[owner], options.runs, server))
                _print(figures[-1])
    return figures


async def _of_page(asked: Asked, template: str, token: str, runs: int, server: psutil.Process) -> Figures:
    took, text = [], ""
    cpu = 0.0
    for number in range(runs + 1):
        if number == 1:
            cpu = _cpu_seconds(server)
        path = asked.path(template)
        started = time.perf_counter()
        text = await asked.get(path, token)
        took.append((time.perf_counter() - started) * 1000)
    cpu = _cpu_seconds(server) - cpu
    first, rest = took[0], sorted(took[1:])
    p50, p99, most = (round(rest[math.ceil(len(rest) * share) - 1], 2) for share in (0.5, 0.99, 1))
    return Figures(template, round(first, 2), p50, p99, most, round(cpu / runs * 1000, 2), len(text.encode()))


def _print(found: Figures) -> None:
    name = found.page.removeprefix(PREFIX).replace(OF_ORGANIZATION.format(organization=LARGE), "")
    figures = (found.first_ms, found.p50_ms, found.p99_ms, found.most_ms, found.cpu_ms)
    print(f"{name:60}" + "".join(f"{each:>10.1f}" for each in figures) + f"{found.bytes:>10}", flush=True)


def _cpu_seconds(server: psutil.Process) -> float:
    times = [each.cpu_times() for each in (server, *server.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


async def _session(store: SessionStore, owner: str | None) -> str:
    token = new_token(secrets.token_bytes(TOKEN_BYTES))
    await store.open(token, Guest(owner, frozenset(SCOPES), made_by="bench"), timedelta(hours=1))
    return token.text


@asynccontextmanager
async def _server(options: argparse.Namespace) -> AsyncIterator[tuple[psutil.Process, str]]:
    """``serve --role api`` on ports of its own; ended with the context."""
    http_port, ops_port = _free_port(), _free_port()
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("POSTHORN_")},
        "DATABASE_URL": options.database_url,
        "AMQP_URL": options.amqp_url,
        "SECRET_KEYS": "bench:" + base64.b64encode(os.urandom(32)).decode(),
        "POSTHORN_AMQP_PREFIX": TOPOLOGY.prefix,
        "POSTHORN_HTTP_PORT": str(http_port),
        "POSTHORN_OPS_PORT": str(ops_port),
        "POSTHORN_LOG_LEVEL": "warning",
        "POSTHORN_RATE_LIMIT_PER_HOUR": "1000000",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "serve", "--role", "api", env=environ
    )
    try:
        await _until_ready(f"http://127.0.0.1:{ops_port}/readyz")
        yield psutil.Process(process.pid), f"http://127.0.0.1:{http_port}"
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _until_ready(url: str) -> None:
    ends_at = time.monotonic() + READY_SECONDS_MAX
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < ends_at:
            try:
                async with session.get(url) as response:
                    if response.ok:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)
    raise SystemExit("the server did not become ready")


@asynccontextmanager
async def _parked(amqp_url: str) -> AsyncIterator[None]:
    """A parked queue with messages that are no events; deleted with the context."""
    await declare_topology(amqp_url, TOPOLOGY, "active")
    connection = await aiormq.connect(amqp_url)
    channel = await connection.channel()
    try:
        await channel.queue_purge(TOPOLOGY.parked)
        for number in range(PARKED):
            await channel.basic_publish(b'{"number":%d}' % number, routing_key=TOPOLOGY.parked)
        yield
    finally:
        for queue in (TOPOLOGY.intake_queue, TOPOLOGY.parked):
            await channel.queue_delete(queue)
        for exchange in (TOPOLOGY.events_exchange, TOPOLOGY.parked):
            await channel.exchange_delete(exchange)
        await connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def unmeasured(engine: AsyncEngine) -> list[str]:
    """The paths of pages that nothing here asks for."""
    known = {
        f"{below}{each.partition('?')[0]}"
        for below, paths in ((OF_ORGANIZATION, PATHS), ("", SERVICE_PATHS))
        for each in paths
    }
    shapes = {re.sub(r"\{\w+\}", "{}", each) for each in known}
    desks = OperatorDesks(OversightReader(engine))
    pages = [each.full_path for each in all_pages(desks) if each.method == "GET" and not each.path.endswith(FILE)]
    return [each for each in pages if re.sub(r"\{[^}]*\}", "{}", each) not in shapes]


def main() -> None:
    """Measure, print a table, and fail if a page was not asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--amqp-url", default="amqp://guest:guest@127.0.0.1:5672/")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    print(f"{'':60}" + "".join(f"{each:>10}" for each in ("first ms", "p50", "p99", "most", "CPU", "bytes")))
    figures = asyncio.run(measure(options))
    if options.json:
        document = {"runs": options.runs, "pages": [asdict(each) for each in figures]}
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
