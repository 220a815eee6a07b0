"""The libraries that receivers in the field use verify what we sign, and we verify what they sign."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks

from webhook_signature import VerificationError, Webhook
from webhook_signature.ed25519 import decode_key
from webhook_signature.styles import joined

pytestmark = pytest.mark.clock

A = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
B = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
KEY = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
BODIES = ["{}", '{"a":1}', '{"text":"é😀"}', '{"nested":{"list":[1,2.5,null]}}', '"' + "x" * 100_000 + '"']
LIBRARIES = [standardwebhooks.Webhook, svix.webhooks.Webhook]


@pytest.mark.parametrize("library", LIBRARIES, ids=["standardwebhooks", "svix"])
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("secret", [A, B])
def test_they_verify_ours_and_we_verify_theirs(library: Any, body: str, secret: str) -> None:
    theirs, ours = library(secret), Webhook([secret])
    now = int(time.time())

    theirs.verify(body.encode(), ours.sign("msg_a", now, body.encode()))

    signature = theirs.sign("msg_a", datetime.fromtimestamp(now, tz=UTC), body)
    headers = {"webhook-id": "msg_a", "webhook-timestamp": str(now), "webhook-signature": signature}
    assert ours.verify(body.encode(), headers).json() == json.loads(body)
    assert ours.sign("msg_a", now, body.encode()) == headers


@pytest.mark.parametrize("library", LIBRARIES, ids=["standardwebhooks", "svix"])
@pytest.mark.parametrize("secret", [A, B])
def test_during_a_rotation_a_library_with_either_secret_verifies(library: Any, secret: str) -> None:
    headers = Webhook([B, A]).sign("msg_a", int(time.time()), b"{}")

    library(secret).verify(b"{}", headers)


@pytest.mark.parametrize("library", LIBRARIES, ids=["standardwebhooks", "svix"])
def test_during_a_rotation_we_verify_what_a_library_signed_with_the_old_secret(library: Any) -> None:
    now = int(time.time())
    signature = library(A).sign("msg_a", datetime.fromtimestamp(now, tz=UTC), "{}")
    headers = {"webhook-id": "msg_a", "webhook-timestamp": str(now), "webhook-signature": signature}

    assert Webhook([B, A]).verify(b"{}", headers).key_index == 1


@pytest.mark.parametrize("library", LIBRARIES, ids=["standardwebhooks", "svix"])
def test_both_sides_refuse_another_body(library: Any) -> None:
    headers = Webhook([A]).sign("msg_a", int(time.time()), b"{}")

    with pytest.raises(standardwebhooks.WebhookVerificationError):
        library(A).verify(b"[]", headers)
    with pytest.raises(VerificationError):
        Webhook([A]).verify(b"[]", headers)


@pytest.mark.parametrize("library", LIBRARIES, ids=["standardwebhooks", "svix"])
def test_during_a_change_of_style_a_library_takes_its_part(library: Any) -> None:
    """Neither library knows key pairs: both pass over their signatures."""
    now = int(time.time())
    newer = Webhook([KEY], style="ed25519").sign("msg_a", now, b"{}")
    headers = joined(newer, Webhook([A]).sign("msg_a", now, b"{}"))

    library(A).verify(b"{}", headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        library(B).verify(b"{}", headers)


def test_openssl_agrees_about_key_pairs(tmp_path: Path) -> None:
    """What ``cryptography`` signed, verified by the program of another build."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    now = int(time.time())
    headers = Webhook([KEY], style="ed25519").sign("msg_a", now, b"{}")
    # SubjectPublicKeyInfo of Ed25519 is a fixed head and the 32 bytes.
    (tmp_path / "key").write_bytes(bytes.fromhex("302a300506032b6570032100") + decode_key(KEY).public_bytes)
    (tmp_path / "signature").write_bytes(base64.b64decode(headers["webhook-signature"].removeprefix("v1a,")))
    (tmp_path / "content").write_bytes(f"msg_a.{now}.{{}}".encode())
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "key", "-rawin", "-in", "content"]

    done = subprocess.run(
        [*command, "-sigfile", "signature"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout.strip()) == (0, "Signature Verified Successfully")
