"""What listen forwards is verified by what its readers build: the guide's Flask app, and Express with npm's library."""

import asyncio
import re
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from tests.cli.live.rig import SECONDS_MAX, Session, following

PACKAGES = ("express@5.3.0", "standardwebhooks@1.1.1")
INSTALL_SECONDS_MAX = 60
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
GUIDE = Path(__file__).parents[3] / "docs" / "receiving.md"
EXPRESS = """
const express = require('express');
const { Webhook } = require('standardwebhooks');
const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const app = express();
app.post('/webhooks', express.raw({ type: 'application/json' }), (request, response) => {
  try {
    const event = webhook.verify(request.body.toString('utf8'), request.headers);
    console.log('verified ' + event.id);
    response.status(204).end();
  } catch (error) {
    response.status(400).send(error.message);
  }
});
const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


@contextmanager
def flask_app(secret: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The guide's own, on a port; its URL and its inbox."""
    monkeypatch.setenv("WEBHOOK_SECRETS", secret)
    found = re.search(r"^```python name=flask\n(.*?)^```$", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    page: dict[str, Any] = {"__name__": "receiving_flask"}
    exec(compile(found[1], "docs/receiving.md:flask", "exec"), page)  # noqa: S102 - our own page
    server = make_server("127.0.0.1", 0, page["app"])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/webhooks", page["inbox"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("secret", "status"), [(SECRET, 204), (OTHER, 400)])
async def test_flask(session: Session, secret: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with flask_app(SECRET, monkeypatch) as (url, inbox):
        arguments = ("listen", "--forward-to", url, "--secret", secret)
        async with following(session.environ, *arguments) as listening:
            await listening.next("open")
            await session.publish("evt_1", text="é😀")
            assert (await listening.next("forwarded"))["status"] == status
        assert list(inbox) == (["evt_1"] if status == 204 else [])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--fetch-retries=0", "--fetch-timeout=20000"]
    command = [_program("npm"), "install", "--prefix", str(folder), *options, *PACKAGES]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, timeout=INSTALL_SECONDS_MAX, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"npm could not install {' and '.join(PACKAGES)}: an Express app is not tested")
    return folder


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here: an Express app is not tested")
    return found


@asynccontextmanager
async def express_app(folder: Path, secret: str) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    process = await asyncio.create_subprocess_exec(
        *(_program("node"), "-e", EXPRESS), cwd=folder, env={"WEBHOOK_SECRET": secret}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS_MAX):
            port = int(await process.stdout.readline())
        yield f"http://localhost:{port}/webhooks", process.stdout
    finally:
        process.kill()
        await process.wait()


async def test_express(session: Session, installed: Path) -> None:
    async with express_app(installed, SECRET) as (url, said):
        async with following(session.environ, "listen", "--forward-to", url, "--secret", SECRET) as listening:
            await listening.next("open")
            await session.publish("evt_1", text="é😀")
            assert (await listening.next("forwarded"))["status"] == 204
            async with asyncio.timeout(SECONDS_MAX):
                assert await said.readline() == b"verified evt_1\n"
        async with following(session.environ, "listen", "--forward-to", url) as listening:
            await listening.next("open")
            await session.publish("evt_2")
            told = await listening.next("forwarded")
            assert (told["status"], told["reply"]) == (400, "No matching signature found")
