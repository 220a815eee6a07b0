"""The published vectors: what must match, and what must be refused and why."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from webhook_signature import REASONS, VerificationError, Webhook
from webhook_signature.ed25519 import decode_key
from webhook_signature.sign import decode_secret
from webhook_signature.styles import STYLES

VECTORS = json.loads((Path(__file__).parents[2] / "receiver" / "vectors.json").read_text("utf-8"))


def _name(vector: dict[str, Any]) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", VECTORS["signatures"], ids=_name)
def test_sender_writes_the_signature(vector: dict[str, Any]) -> None:
    name = vector.get("style", "standard")
    webhook = Webhook(vector["secrets"], style=name)
    headers = webhook.sign(vector.get("id", ""), vector["timestamp_seconds"], base64.b64decode(vector["body_base64"]))

    signature_header = STYLES[name].headers[-1]
    assert {header.lower(): value for header, value in headers.items()}[signature_header] == vector["signature"]


@pytest.mark.parametrize("vector", VECTORS["requests"], ids=_name)
def test_receiver_decides(vector: dict[str, Any]) -> None:
    options = {
        name: vector[name]
        for name in ("style", "signature_header", "tolerance_seconds", "body_bytes_max")
        if name in vector
    }
    webhook = Webhook(vector["secrets"], now=lambda: vector["now_seconds"], **options)
    body = base64.b64decode(vector["body_base64"])
    headers = [(name, value) for name, value in vector["headers"]]

    if "reason" in vector["expect"]:
        with pytest.raises(VerificationError) as caught:
            webhook.verify(body, headers)
        assert caught.value.reason == vector["expect"]["reason"]
    else:
        verified = webhook.verify(body, headers)
        assert verified.key_index == vector["expect"]["key_index"]
        assert verified.body == body
        style = STYLES[vector.get("style", "standard")]
        if "webhook-id" in style.headers:
            by_name = {name.lower(): value for name, value in headers}
            assert (verified.id, str(verified.timestamp)) == (by_name["webhook-id"], by_name["webhook-timestamp"])
        else:
            assert verified.id == ""
            assert verified.timestamp == (1_700_000_000 if style.signs_time else 0)


@pytest.mark.parametrize("vector", VECTORS["good_secrets"], ids=_name)
def test_good_secret(vector: dict[str, Any]) -> None:
    assert len(decode_secret(vector["secret"])) == vector["bytes"]


@pytest.mark.parametrize("vector", VECTORS["bad_secrets"], ids=_name)
def test_bad_secret_is_refused_at_construction_and_never_shown(vector: dict[str, Any]) -> None:
    with pytest.raises(VerificationError) as caught:
        Webhook([vector["secret"]])

    assert caught.value.reason == "bad_secret"
    encoded = vector["secret"][len("whsec_") :].strip()
    assert len(encoded) < 4 or encoded not in str(caught.value)


@pytest.mark.parametrize("vector", VECTORS["good_keys"], ids=_name)
def test_good_key(vector: dict[str, Any]) -> None:
    assert decode_key(vector["key"]).public_text == vector["public"]


@pytest.mark.parametrize("vector", VECTORS["bad_keys"], ids=_name)
def test_bad_key_is_refused_at_construction_and_never_shown(vector: dict[str, Any]) -> None:
    with pytest.raises(VerificationError) as caught:
        Webhook([vector["key"]], style="ed25519")

    assert caught.value.reason == "bad_secret"
    encoded = vector["key"][len("whsk_") :].strip()
    assert len(encoded) < 4 or encoded not in str(caught.value)


def test_vectors_cover_every_style_and_every_reason_a_single_request_can_give() -> None:
    assert {vector.get("style", "standard") for vector in VECTORS["signatures"]} == set(STYLES)
    covered = {vector["expect"].get("reason") for vector in VECTORS["requests"]} - {None}

    assert covered == set(REASONS) - {"replayed", "bad_secret"}  # a second copy, and no request at all
