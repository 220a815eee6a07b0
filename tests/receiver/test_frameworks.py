"""Each Python block of docs/receiving.md, run as it stands there."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import aiohttp.test_utils
import httpx
import pytest
from django import conf, setup, test, urls  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.routing import Route

from webhook_signature import VerificationError, Webhook
from webhook_signature.ed25519 import decode_key

pytestmark = pytest.mark.clock

PAGE = (Path(__file__).parents[2] / "docs" / "receiving.md").read_text("utf-8")
BLOCKS: dict[str, str] = dict(re.findall(r"^```python name=(\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))

NEW = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"type":"message.replied","text":"é😀","n":1.0}'.encode()
ACCEPTED: tuple[int, dict[str, bytes]] = (204, {"evt_1": BODY})
REFUSED: tuple[int, dict[str, bytes]] = (400, {})


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRETS", f"{NEW} {OLD}")


def snippet(name: str) -> SimpleNamespace:
    namespace: dict[str, Any] = {"__name__": f"receiving_{name}"}
    exec(compile(BLOCKS[name], f"docs/receiving.md:{name}", "exec"), namespace)  # noqa: S102 - our own page
    return SimpleNamespace(**namespace)


def signed_headers() -> dict[str, str]:
    """As a sender does during a rotation's overlap, with the header that makes frameworks parse."""
    headers = Webhook([NEW, OLD]).sign("evt_1", int(time.time()), BODY)
    return {"Content-Type": "application/json", **headers}


def forged_headers() -> dict[str, str]:
    return {**signed_headers(), "webhook-id": "evt_2"}


CASES = pytest.mark.parametrize(("headers_of", "expected"), [(signed_headers, ACCEPTED), (forged_headers, REFUSED)])


def test_every_python_block_has_a_name_and_so_a_test() -> None:
    tested = {
        *("standardwebhooks", "verify", "other-style", "ed25519", "jwks", "flask", "django", "fastapi", "aiohttp"),
        *("replay-memory", "replay-redis", "own-test"),
    }

    assert set(BLOCKS) == tested
    assert PAGE.count("```python") == len(tested)


@CASES
def test_verify_in_ten_lines(headers_of: Any, expected: Any) -> None:
    page = snippet("verify")

    status, _ = page.receive(BODY, headers_of())

    assert (status, page.inbox) == expected


@CASES
def test_flask(headers_of: Any, expected: Any) -> None:
    page = snippet("flask")

    reply = page.app.test_client().post("/webhooks", data=BODY, headers=headers_of())

    assert (reply.status_code, page.inbox) == expected


@CASES
def test_a_library_of_standard_webhooks(monkeypatch: pytest.MonkeyPatch, headers_of: Any, expected: Any) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", OLD)  # it takes one; the sender signs with both
    page = snippet("standardwebhooks")
    body = b'{"id":"evt_1"}'
    headers = headers_of()
    signed = Webhook([NEW, OLD]).sign("evt_1", int(time.time()), body)
    headers["webhook-signature"] = signed["webhook-signature"]

    status, _ = page.receive(body, headers)

    assert (status, page.inbox) == (expected[0], {"evt_1": body} if expected[1] else {})


@pytest.fixture(scope="module")
def django_configured() -> None:
    if not conf.settings.configured:
        middleware = ["django.middleware.csrf.CsrfViewMiddleware"]
        conf.settings.configure(ALLOWED_HOSTS=["testserver"], MIDDLEWARE=middleware, SECRET_KEY="test")
    setup()


@pytest.mark.usefixtures("django_configured")
@CASES
def test_django(headers_of: Any, expected: Any) -> None:
    page = snippet("django")
    routes = ModuleType("routes")
    vars(routes)["urlpatterns"] = [urls.path("webhooks", page.receive)]
    headers = headers_of()
    content_type = headers.pop("Content-Type")

    with test.override_settings(ROOT_URLCONF=routes):
        client = test.Client(enforce_csrf_checks=True)
        reply = client.post("/webhooks", data=BODY, content_type=content_type, headers=headers)

    assert (reply.status_code, page.inbox) == expected


@CASES
@pytest.mark.parametrize("framework", ["fastapi", "starlette"])
async def test_fastapi_and_starlette(framework: str, headers_of: Any, expected: Any) -> None:
    page = snippet("fastapi")
    route = Route("/webhooks", page.receive, methods=["POST"])
    app = page.app if framework == "fastapi" else Starlette(routes=[route])

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://receiver.test") as client:
        reply = await client.post("/webhooks", content=BODY, headers=headers_of())

    assert (reply.status_code, page.inbox) == expected


@CASES
async def test_aiohttp(headers_of: Any, expected: Any) -> None:
    page = snippet("aiohttp")

    server = aiohttp.test_utils.TestServer(page.app)
    async with (
        aiohttp.test_utils.TestClient(server) as client,
        client.post("/webhooks", data=BODY, headers=headers_of()) as reply,
    ):
        assert (reply.status, page.inbox) == expected


@pytest.mark.parametrize("name", ["Webhook-Id", "webhook-signature"])
async def test_a_repeated_header_is_seen_through_each_framework(name: str) -> None:
    """Frameworks join repeated headers, or keep them all; none may hide the second one."""
    repeated = [*signed_headers().items(), (name, signed_headers()[name.lower()])]

    flask = snippet("flask")
    assert flask.app.test_client().post("/webhooks", data=BODY, headers=repeated).status_code == 400

    transport = httpx.ASGITransport(app=snippet("fastapi").app)
    async with httpx.AsyncClient(transport=transport, base_url="http://receiver.test") as client:
        assert (await client.post("/webhooks", content=BODY, headers=repeated)).status_code == 400

    # Not aiohttp's own client: it drops a repeated name that is spelled in another case.
    async with (
        aiohttp.test_utils.TestServer(snippet("aiohttp").app) as server,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        url = str(server.make_url("/webhooks"))
        assert (await client.post(url, content=BODY, headers=repeated)).status_code == 400


def test_another_style() -> None:
    webhook = snippet("other-style").webhook
    headers = webhook.sign("", int(time.time()), BODY)

    assert list(headers) == ["X-Blooio-Signature"]
    assert webhook.verify(BODY, headers).body == BODY


def test_a_pair_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    private = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    monkeypatch.setenv("WEBHOOK_PUBLIC_KEYS", decode_key(private).public_text)
    headers = Webhook(private, style="ed25519").sign("evt_1", int(time.time()), BODY)

    assert snippet("ed25519").webhook.verify(BODY, headers).id == "evt_1"


def test_keys_that_are_fetched(tmp_path: Path) -> None:
    private = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    x = "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"
    document = tmp_path / "keys"
    document.write_text(f'{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}]}}')
    headers = Webhook(private, style="ed25519").sign("evt_1", int(time.time()), BODY)

    assert snippet("jwks").webhook_of(document.as_uri()).verify(BODY, headers).id == "evt_1"


def test_memory_replay_store() -> None:
    webhook = snippet("replay-memory").webhook
    headers = signed_headers()

    webhook.verify(BODY, headers)

    with pytest.raises(VerificationError, match="replayed"):
        webhook.verify(BODY, headers)


class FakeRedis:
    """SET with NX as Redis answers it: True when set, None when the key was there."""

    def __init__(self) -> None:
        self.expiry_seconds: dict[str, int] = {}

    def set(self, name: str, value: int, *, nx: bool, ex: int) -> bool | None:  # noqa: ARG002 - Redis's signature
        assert nx
        if name in self.expiry_seconds:
            return None
        self.expiry_seconds[name] = ex
        return True


def test_redis_replay_store() -> None:
    client = FakeRedis()
    webhook = Webhook([NEW], replay_store=snippet("replay-redis").RedisReplayStore(client))
    headers = signed_headers()

    webhook.verify(BODY, headers)

    with pytest.raises(VerificationError, match="replayed"):
        webhook.verify(BODY, headers)
    (key,) = client.expiry_seconds
    assert key == f"webhook:evt_1.{headers['webhook-timestamp']}"
    assert 295 <= client.expiry_seconds[key] <= 301


def test_a_receivers_own_tests() -> None:
    page = snippet("own-test")

    page.test_signed_request_is_verified()
    page.test_old_request_is_verified_at_its_own_time()
