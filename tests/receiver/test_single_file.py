"""``webhook_signature`` as the service gives it away: one file, imported by a clean interpreter, on all the vectors."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import webhook_signature
from service.api.documents.receivers import MODULES, VERIFIERS, receiver_routes, single_file, verifier

VECTORS = Path(__file__).parents[2] / "receiver" / "vectors.json"

PROGRAM = """
import base64, json, sys
sys.path.insert(0, sys.argv[1])
styles = sys.argv[3].split(",")
from webhook_signature import VerificationError, Webhook
import webhook_signature
assert webhook_signature.__file__.endswith("webhook_signature.py")
count = 0
with open(sys.argv[2], encoding="utf-8") as file:
    requests = json.load(file)["requests"]
for vector in requests:
    if vector.get("style", "standard") not in styles:
        continue
    options = {name: vector[name] for name in ("style", "signature_header", "tolerance_seconds", "body_bytes_max")
               if name in vector}
    webhook = Webhook(vector["secrets"], now=lambda: vector["now_seconds"], **options)
    try:
        told = {"key_index": webhook.verify(base64.b64decode(vector["body_base64"]), vector["headers"]).key_index}
    except VerificationError as error:
        told = {"reason": error.reason}
    assert told == vector["expect"], (vector["name"], told)
    count += 1
print(count)
"""


@pytest.mark.parametrize(
    ("flags", "styles"),
    [
        (["-I", "-S"], {"standard", "t-v1", "sha256-body"}),  # without any installed package
        (["-I"], {"ed25519"}),  # with cryptography
    ],
)
async def test_the_file_that_is_served_decides_on_every_vector(
    flags: list[str], styles: set[str], tmp_path: Path
) -> None:
    application = web.Application()
    application.router.add_routes(receiver_routes())
    async with TestClient(TestServer(application)) as client:
        async with client.get("/docs/webhook_signature.py") as reply:  # no key is needed
            assert (reply.status, reply.content_type) == (200, "text/plain")
            served = await reply.read()
            proof = reply.headers["Repr-Digest"]
        async with client.get("/docs/webhook_signature.py.sha256") as reply:
            told = await reply.text()
    digest = hashlib.sha256(served)
    assert told == f"{digest.hexdigest()}  webhook_signature.py\n"
    assert b64decode(proof.removeprefix("sha-256=:").removesuffix(":")) == digest.digest()
    (tmp_path / "webhook_signature.py").write_bytes(served)
    wanted = [
        each for each in json.loads(VECTORS.read_text("utf-8"))["requests"] if each.get("style", "standard") in styles
    ]

    command = [sys.executable, *flags, "-W", "error", "-c", PROGRAM, str(tmp_path), str(VECTORS), ",".join(styles)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == (f"{len(wanted)}\n", "")
    assert len(wanted) > 5


def test_it_is_the_whole_package(tmp_path: Path) -> None:
    folder = Path(webhook_signature.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} == {*MODULES, "__init__"}
    path = tmp_path / "one_file.py"
    path.write_bytes(single_file())
    spec = importlib.util.spec_from_file_location("one_file", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["one_file"] = module
    try:
        spec.loader.exec_module(module)
        assert module.__all__ == webhook_signature.__all__
        assert all(hasattr(module, name) for name in module.__all__)
    finally:
        del sys.modules["one_file"]


async def test_the_verifiers_are_served_as_they_are() -> None:
    application = web.Application()
    application.router.add_routes(receiver_routes())
    async with TestClient(TestServer(application)) as client:
        for name in VERIFIERS:
            async with client.get(f"/docs/verifiers/{name}") as reply:
                assert (reply.status, reply.content_type, await reply.text()) == (200, "text/plain", verifier(name))
        for name in ("verify.py", "..%2Freceivers.py", "%2Fetc%2Fpasswd"):
            async with client.get(f"/docs/verifiers/{name}") as reply:
                assert reply.status == 404
