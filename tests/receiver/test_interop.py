"""The libraries that receivers in the field use verify what we sign, and we verify what they sign."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks

from webhook_signature import VerificationError, Webhook

pytestmark = pytest.mark.clock

A = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
B = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
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
