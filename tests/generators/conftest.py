"""A running service with a receiver, and the programs that integrators point at its documents."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.adapters.postgres.engine import connect
from service.adapters.secret_box import AesSecretBox, parse_secret_keys
from tests.end_to_end.known_ids import make_known_things
from tests.end_to_end.processes import Worker, free_port
from tests.end_to_end.town import SECRET_KEYS, SETTINGS

INSTALL_SECONDS_MAX = 120
TOOL_SECONDS_MAX = 240
NODE_VERSION_MIN = (20, 19)
NPM = Path(__file__).with_name("npm")
NPM_OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000")
GENERATOR = ("openapi-python-client==0.29.1", "mypy==2.4.1")


@dataclass(frozen=True)
class Running:
    """A service that runs: ``key`` may do anything, ``receiver_url`` answers whatever comes with 200."""

    url: str
    key: str
    receiver_url: str

    async def document(self, name: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/{name}.json") as reply:
            assert reply.status == 200
            return await reply.json()


@pytest.fixture(scope="module")
async def running(migrated_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async def accept(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    receiver = web.Application()
    receiver.router.add_route("*", "/{path:.*}", accept)
    port = free_port()
    settings = {
        **SETTINGS,
        "POSTHORN_ATTEMPT_TIMEOUT_SECONDS": "15",
        "POSTHORN_LEASE_SECONDS": "60",
        "DATABASE_URL": migrated_database_url,
        "POSTHORN_HTTP_PORT": str(port),
        "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8",
    }
    engine = connect(migrated_database_url, pool_size=1)
    worker = Worker.start(
        ("service", "serve", "--role", "all"), settings, tmp_path_factory.mktemp("generators") / "service.log"
    )
    try:
        async with TestServer(receiver) as server:
            await worker.ready()
            box = AesSecretBox(parse_secret_keys(SECRET_KEYS))
            known = await make_known_things(engine, box, f"org_{uuid4().hex}")
            yield Running(f"http://127.0.0.1:{port}", known.key, str(server.make_url("/hook")))
    finally:
        worker.kill()
        await engine.dispose()


def program(name: str) -> str:
    """Its path; without it, the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here: what integrators generate from the documents is not tested")
    return found


@pytest.fixture(scope="session")
def npm_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of ``npm/package-lock.json``, and the files beside it."""

    def install(folder: Path) -> None:
        shutil.copytree(NPM, folder, dirs_exist_ok=True)
        run([program("npm"), "ci", *NPM_OPTIONS], folder, seconds_max=INSTALL_SECONDS_MAX)

    told = run([program("node"), "--version"], NPM).decode().strip()
    if tuple(map(int, told.removeprefix("v").split(".")[:2])) < NODE_VERSION_MIN:
        least = ".".join(map(str, NODE_VERSION_MIN))
        pytest.skip(f"node is {told}, and its packages need {least}: what integrators generate is not tested")
    return once("npm packages", tmp_path_factory, install)


@pytest.fixture(scope="session")
def python_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a virtual environment that has ``GENERATOR``."""

    def install(folder: Path) -> None:
        run([sys.executable, "-m", "venv", str(folder / "venv")], folder, seconds_max=INSTALL_SECONDS_MAX)
        options = ("--quiet", "--disable-pip-version-check", "--retries=0", "--timeout=20")
        python = str(folder / "venv" / "bin" / "python")
        run([python, "-m", "pip", "install", *options, *GENERATOR], folder, seconds_max=INSTALL_SECONDS_MAX)

    return once("openapi-python-client", tmp_path_factory, install)


def once(name: str, tmp_path_factory: pytest.TempPathFactory, install: Callable[[Path], None]) -> Path:
    """A folder that is filled once in a run, whichever of its processes comes first. Skips what cannot be had."""
    here = tmp_path_factory.getbasetemp()
    shared = here.parent if "PYTEST_XDIST_WORKER" in os.environ else here  # xdist gives each process its own
    folder = shared / name.replace(" ", "-")
    folder.mkdir(exist_ok=True)
    outcome = folder / "outcome.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not outcome.exists():
            try:
                install(folder)
                told = None
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                told = f"{error}: {(error.stderr or b'')[-300:]!r}"
            outcome.write_text(json.dumps(told), "utf-8")
    told = json.loads(outcome.read_text("utf-8"))
    if told is not None:
        pytest.skip(f"{name} could not be installed, so what integrators generate is not tested: {told}")
    return folder


def run(command: Sequence[str], folder: Path, *, seconds_max: float = TOOL_SECONDS_MAX, **options: Any) -> bytes:
    """What it prints. Raises ``CalledProcessError`` and ``TimeoutExpired``."""
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=seconds_max, check=True, **options)
    return bytes(done.stdout)
