"""posthorn rehearse: a receiver on this machine, without a database or any setting."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.cli.command import CommandServer
from webhook_signature import VerificationError, Webhook

pytestmark = pytest.mark.clock

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A receiver that is right at /right, and checks no time at /timeless."""
    webhook = Webhook(SECRET)

    async def right(request: web.Request) -> web.Response:
        try:
            webhook.verify(await request.read(), request.headers)
        except VerificationError:
            return web.Response(status=400)
        return web.Response(status=204 if request.headers.get("X-Pass", "p") == "p" else 403)

    async def timeless(request: web.Request) -> web.Response:
        signed_at = int(request.headers.get("webhook-timestamp", 0))
        try:
            Webhook(SECRET, now=lambda: signed_at).verify(await request.read(), request.headers)
        except VerificationError:
            return web.Response(status=400)
        return web.Response()

    application = web.Application()
    application.router.add_post("/right", right)
    application.router.add_post("/timeless", timeless)
    async with TestServer(application, host="127.0.0.1") as server:
        yield f"http://localhost:{server.port}"


async def test_a_right_receiver(commands: CommandServer, bare_environment: dict[str, str], url: str) -> None:
    told = await commands.run(bare_environment, "rehearse", f"{url}/right", "--secret", SECRET)
    assert (told.code, told.err) == (0, "")
    # A busy machine may answer late, which is advice.
    assert told.out.splitlines()[-1].startswith(("passed: 14 of 14 cases passed", "advised: 14 of 14 cases passed"))
    assert "WRONG" not in told.out


async def test_a_mistake_is_told_with_its_remedy(
    commands: CommandServer, bare_environment: dict[str, str], url: str
) -> None:
    asked = ("rehearse", f"{url}/timeless", "--header", "X-Pass: p")
    told = await commands.run(bare_environment, *asked, stdin=f"{SECRET}\n".encode())  # the secret is asked for
    assert told.code == 1
    (finding,) = [line for line in told.out.splitlines() if line.startswith("MUST")]
    assert finding == "MUST  time_not_checked: it accepts an event signed an hour ago and an hour ahead."
    assert "Refuse a timestamp more than five minutes away" in told.out
    wrong = [line.split()[0] for line in told.out.splitlines() if " WRONG " in line]
    assert wrong == ["old", "future"]
    shown = (await commands.run(bare_environment, *asked, "--secret", SECRET, "--json")).json
    musts = [each["code"] for each in shown["findings"] if each["level"] == "must"]
    assert (shown["conclusion"], musts) == ("failed", ["time_not_checked"])


async def test_a_wrong_secret_ends_it_early(
    commands: CommandServer, bare_environment: dict[str, str], url: str
) -> None:
    told = await commands.run(bare_environment, "rehearse", f"{url}/right", "--secret", OTHER)
    assert told.code == 1
    assert "MUST  valid_refused: it answers a valid event with 400." in told.out
    assert "failed: 0 of 2 cases passed, 12 not tried" in told.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("http://localhost:8000/", "--secret", "whsec_hunter2"), "--secret: "),
        (("http://localhost:8000/", "--style", "ed25519", "--secret", "whpk_" + "A" * 43 + "="), "private key"),
        (("ftp://localhost/", "--secret", SECRET), "URL: the URL must start with https:// or http://"),
        (("http://169.254.169.254/", "--secret", SECRET), "URL: this address is not allowed"),
        (("http://localhost:8000/", "--secret", SECRET, "--event-type", "message.snet"), "did you mean"),
        (("http://localhost:8000/", "--secret", SECRET, "--header", "nonsense"), "--header: "),
        (("http://localhost:8000/",), "--secret"),
    ],
)
async def test_wrong_usage_is_told(
    commands: CommandServer, bare_environment: dict[str, str], arguments: tuple[str, ...], sentence: str
) -> None:
    told = await commands.run(bare_environment, "rehearse", *arguments)
    assert (told.code, told.out) == (2, "")
    assert sentence in told.err
    assert "hunter2" not in told.err
