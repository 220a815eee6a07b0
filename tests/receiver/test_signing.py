"""Secrets, styles and signing: what is refused before any request arrives, and that what is signed verifies."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webhook_signature import VerificationError, Webhook
from webhook_signature.sign import decode_secret, sign_standard

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
NOW = 1_700_000_000
BODY = b'{"a":1}'
# A busy machine is no reason to fail: the limit on time is the whole test's.
FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("secrets", [[], [SECRET] * 4, None, 7, [None], [SECRET.encode()], SECRET.encode(), ""])
def test_secrets_that_cannot_be_used(secrets: Any) -> None:
    with pytest.raises(VerificationError) as caught:
        Webhook(secrets)
    assert caught.value.reason == "bad_secret"


def test_one_secret_may_be_given_as_text() -> None:
    webhook = Webhook(SECRET, now=lambda: NOW)
    assert webhook.verify(BODY, webhook.sign("msg_a", NOW, BODY)).key_index == 0


def test_a_style_that_is_not_supported_names_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"'t-v1' is not supported; supported: standard$"):
        Webhook([SECRET], style="t-v1")


@pytest.mark.parametrize("limit", [{"tolerance_seconds": 0}, {"tolerance_seconds": -1}, {"body_bytes_max": 0}])
def test_a_limit_below_one_is_refused(limit: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Webhook([SECRET], **limit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key_count", "message_id", "timestamp"),
    [
        (0, "a", 1),
        (4, "a", 1),
        (1, "", 1),
        (1, "a.b", 1),
        (1, "a" * 65, 1),
        (1, "a\n", 1),
        (1, "a", -1),
        (1, "a", 10**12),
    ],
)
def test_nothing_is_signed_that_could_not_be_verified(key_count: int, message_id: str, timestamp: int) -> None:
    with pytest.raises(ValueError, match=r"sign with|an id|a timestamp"):
        sign_standard([bytes(32)] * key_count, message_id, timestamp, b"")


texts = st.text(max_size=80)
scalars = st.one_of(st.none(), st.integers(), st.floats(), texts, st.binary(max_size=80))
keys = st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=3, unique=True)


@FUZZ
@given(
    keys=keys,
    message_id=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    timestamp=st.integers(0, 10**12 - 1),
    body=st.binary(max_size=500),
    data=st.data(),
)
def test_what_is_signed_verifies_and_no_other_body_does(
    keys: list[bytes], message_id: str, timestamp: int, body: bytes, data: st.DataObject
) -> None:
    secrets = ["whsec_" + base64.b64encode(key).decode() for key in keys]
    webhook = Webhook(secrets, now=lambda: timestamp)
    headers = webhook.sign(message_id, timestamp, body)
    verified = webhook.verify(body, headers)
    assert (verified.id, verified.timestamp, verified.body, verified.key_index) == (message_id, timestamp, body, 0)

    index = data.draw(st.integers(0, len(keys) - 1))
    assert Webhook([secrets[index]], now=lambda: timestamp).verify(body, headers).key_index == 0

    other = data.draw(st.binary(max_size=500).filter(lambda candidate: candidate != body))
    with pytest.raises(VerificationError, match=r"^no_match: "):
        webhook.verify(other, headers)


@FUZZ
@given(secret=st.one_of(scalars, texts.map("whsec_".__add__), st.binary(max_size=80).map(base64.b64encode)))
def test_no_secret_whatever_raises_anything_else(secret: Any) -> None:
    try:
        key = decode_secret(secret)
    except VerificationError as error:
        assert error.reason == "bad_secret"  # noqa: PT017 - either end is right
    else:
        assert "whsec_" + base64.b64encode(key).decode() == secret
