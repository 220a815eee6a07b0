"""The npm libraries verify what we sign, and we verify what they sign.

They are installed into a temporary folder, at fixed versions, running none of their scripts. Without node, npm or the
registry these tests are skipped and say so: they are the only ones that reach another machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from webhook_signature import Webhook
from webhook_signature.ed25519 import decode_key
from webhook_signature.styles import joined

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.clock

PACKAGES = ("standardwebhooks@1.1.1", "svix@2.5.0")
INSTALL_SECONDS_MAX = 60
A = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
B = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
KEY = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
BODIES = ["{}", '{"text":"é😀"}', '"' + "x" * 100_000 + '"']
PROGRAM = """
const {library, secret, id, seconds, body, headers} = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const webhook = new (require(library).Webhook)(secret);
let verified = true;
try { webhook.verify(body, headers); } catch (error) { verified = error.constructor.name; }
console.log(JSON.stringify({verified, signature: webhook.sign(id, new Date(seconds * 1000), body)}));
"""
KEY_PROGRAM = """
const {x, content, signature} = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const crypto = require('crypto');
const key = crypto.createPublicKey({key: {kty: 'OKP', crv: 'Ed25519', x}, format: 'jwk'});
console.log(crypto.verify(null, Buffer.from(content), key, Buffer.from(signature, 'base64')));
"""


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here: the npm libraries are not tested")
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    node_modules = tmp_path_factory.mktemp("npm")
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--fetch-retries=0", "--fetch-timeout=20000"]
    command = [_program("npm"), "install", "--prefix", str(node_modules), *options, *PACKAGES]
    try:
        subprocess.run(command, cwd=node_modules, capture_output=True, timeout=INSTALL_SECONDS_MAX, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"npm could not install {' and '.join(PACKAGES)}: they are not tested")
    return node_modules


def _run(program: str, given: dict[str, Any], folder: Path) -> Any:
    command = [_program("node"), "-e", program]
    done = subprocess.run(command, cwd=folder, input=json.dumps(given), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("library", ["standardwebhooks", "svix"])
@pytest.mark.parametrize("secret", [A, B])
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_they_verify_ours_and_we_verify_theirs(installed: Path, library: str, secret: str, body: str) -> None:
    now = int(time.time())
    ours = Webhook([secret])
    headers = ours.sign("msg_a", now, body.encode())
    case = {"library": library, "secret": secret, "id": "msg_a", "seconds": now, "body": body}

    told = _run(PROGRAM, {**case, "headers": headers}, installed)

    assert told["verified"] is True
    theirs = {**headers, "webhook-signature": told["signature"]}
    assert ours.verify(body.encode(), theirs).json() == json.loads(body)
    forged = _run(PROGRAM, {**case, "headers": {**headers, "webhook-id": "msg_b"}}, installed)
    assert forged["verified"] == "WebhookVerificationError"


@pytest.mark.parametrize("library", ["standardwebhooks", "svix"])
def test_in_a_rotation_and_in_a_change_of_style_they_take_their_part(installed: Path, library: str) -> None:
    now = int(time.time())
    rotated = Webhook([B, A]).sign("msg_a", now, b"{}")
    changed = joined(Webhook([KEY], style="ed25519").sign("msg_a", now, b"{}"), Webhook([A]).sign("msg_a", now, b"{}"))
    for headers in (rotated, changed):
        case = {"library": library, "secret": A, "id": "msg_a", "seconds": now, "body": "{}", "headers": headers}
        assert _run(PROGRAM, case, installed)["verified"] is True


def test_node_verifies_a_key_pairs_signature(tmp_path: Path) -> None:
    """By the key as JWKS shows it; neither library knows this style."""
    now = int(time.time())
    signature = Webhook([KEY], style="ed25519").sign("msg_a", now, b"{}")["webhook-signature"]
    x = decode_key(KEY).public_text.removeprefix("whpk_").rstrip("=").translate({ord("+"): "-", ord("/"): "_"})
    given = {"x": x, "signature": signature.removeprefix("v1a,")}

    assert _run(KEY_PROGRAM, {**given, "content": f"msg_a.{now}.{{}}"}, tmp_path) is True
    assert _run(KEY_PROGRAM, {**given, "content": f"msg_a.{now}.[]"}, tmp_path) is False
