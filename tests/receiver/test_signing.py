"""Secrets, styles and signing: what is refused before any request arrives, and that what is signed verifies."""

from __future__ import annotations

import base64
import json
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webhook_signature import MemoryReplayStore, VerificationError, Webhook, public_keys
from webhook_signature.ed25519 import decode_key, sign_ed25519
from webhook_signature.sign import decode_secret, encode_text_secret, sign_sha256_body, sign_standard, sign_t_v1
from webhook_signature.styles import STYLES, StyleName, joined

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PRIVATE = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
NOW = 1_700_000_000
BODY = b'{"a":1}'
TEXT_STYLES = [name for name, style in STYLES.items() if style.decode_secret is encode_text_secret]
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
    with pytest.raises(ValueError, match=rf"'t-v2' is not supported; supported: {', '.join(STYLES)}$"):
        Webhook([SECRET], style="t-v2")
    assert tuple(STYLES) == get_args(StyleName)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"style": "sha256-body", "replay_store": MemoryReplayStore()}, "retries look like replays"),
        ({"style": "sha256-body", "signature_header": "X-Hub-Signature-256"}, "only be set for the style t-v1"),
        ({"signature_header": "X-Other"}, "only be set for the style t-v1"),
        ({"style": "t-v1", "signature_header": ""}, "a header name"),
        ({"style": "t-v1", "signature_header": "X-Böse"}, "a header name"),
        ({"style": "t-v1", "signature_header": "X-A\r\nX-B"}, "a header name"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        Webhook([SECRET], **options)


@pytest.mark.parametrize("secret", ["", " ", "a ", "\na", "a\n", "\ud800", "x" * 513, "é" * 257, None, b"a", 7])
@pytest.mark.parametrize("style", TEXT_STYLES)
def test_texts_that_are_no_key(secret: Any, style: str) -> None:
    with pytest.raises(VerificationError) as caught:
        Webhook([secret], style=style)
    assert caught.value.reason == "bad_secret"


def test_a_replay_is_told_from_a_retry_where_no_id_is_signed() -> None:
    webhook = Webhook([SECRET], style="t-v1", replay_store=MemoryReplayStore(), now=lambda: NOW)
    for body, timestamp in ((b"a", NOW), (b"b", NOW), (b"a", NOW + 1)):
        headers = webhook.sign("", timestamp, body)
        webhook.verify(body, headers)
        with pytest.raises(VerificationError, match=r"^replayed: "):
            webhook.verify(body, headers)


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


@pytest.mark.parametrize(("key_count", "timestamp"), [(0, 1), (4, 1), (1, -1), (1, 10**12)])
def test_nor_in_the_style_t_v1(key_count: int, timestamp: int) -> None:
    with pytest.raises(ValueError, match=r"sign with|a timestamp"):
        sign_t_v1([bytes(32)] * key_count, timestamp, b"")


@pytest.mark.parametrize("key_count", [0, 4])
def test_nor_in_the_style_sha256_body(key_count: int) -> None:
    with pytest.raises(ValueError, match="sign with"):
        sign_sha256_body([bytes(32)] * key_count, b"")


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
@given(
    style=st.sampled_from(TEXT_STYLES),
    secrets=st.lists(
        st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=60), min_size=1, max_size=3
    ),
    timestamp=st.integers(0, 10**12 - 1),
    body=st.binary(max_size=500),
    other=st.binary(max_size=500),
)
def test_the_other_styles_verify_what_they_sign(
    style: str, secrets: list[str], timestamp: int, body: bytes, other: bytes
) -> None:
    webhook = Webhook(secrets, style=style, now=lambda: timestamp)
    headers = webhook.sign("", timestamp, body)
    assert webhook.verify(body, headers).key_index == secrets.index(secrets[-1 if style == "sha256-body" else 0])
    if other != body:
        with pytest.raises(VerificationError, match=r"^no_match: "):
            webhook.verify(other, headers)


def test_a_key_pair_verifies_by_its_public_half_alone() -> None:
    private = Webhook(PRIVATE, style="ed25519", now=lambda: NOW)
    headers = private.sign("msg_a", NOW, BODY)
    public = Webhook(decode_key(PRIVATE).public_text, style="ed25519", now=lambda: NOW)
    assert public.verify(BODY, headers).id == "msg_a"
    with pytest.raises(ValueError, match="sign with a private key"):
        public.sign("msg_a", NOW, BODY)


def test_a_key_shows_nothing_of_itself() -> None:
    shown = repr(decode_key(PRIVATE))
    assert PRIVATE[5:] not in shown
    assert str(base64.b64decode(PRIVATE[5:])) not in shown


@pytest.mark.parametrize("style", TEXT_STYLES)
def test_a_public_key_is_no_shared_secret(style: str) -> None:
    """Who configured the wrong style would let everybody sign who knows the public key."""
    for text in (PRIVATE, decode_key(PRIVATE).public_text):
        with pytest.raises(VerificationError, match="ed25519 key"):
            Webhook(text, style=style)


def test_a_style_is_changed_in_one_request_of_both() -> None:
    older = Webhook(SECRET, now=lambda: NOW)
    newer = Webhook(PRIVATE, style="ed25519", now=lambda: NOW)
    headers = joined(newer.sign("msg_a", NOW, BODY), older.sign("msg_a", NOW, BODY))
    for webhook in (older, newer):
        assert webhook.verify(BODY, headers).id == "msg_a"
    timed = Webhook("any text", style="t-v1", now=lambda: NOW)
    headers = joined(older.sign("msg_a", NOW, BODY), timed.sign("msg_a", NOW, BODY))
    for webhook in (older, timed):
        assert webhook.verify(BODY, headers).body == BODY


@pytest.mark.parametrize(
    ("key_count", "message_id", "timestamp"), [(0, "a", 1), (4, "a", 1), (1, "a.b", 1), (1, "a", -1)]
)
def test_nor_in_the_style_ed25519(key_count: int, message_id: str, timestamp: int) -> None:
    with pytest.raises(ValueError, match=r"sign with|an id|a timestamp"):
        sign_ed25519([decode_key(PRIVATE)] * key_count, message_id, timestamp, b"")


@FUZZ
@given(
    seeds=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3, unique=True),
    message_id=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    timestamp=st.integers(0, 10**12 - 1),
    body=st.binary(max_size=500),
    other=st.binary(max_size=500),
)
def test_the_style_ed25519_verifies_what_it_signs(
    seeds: list[bytes], message_id: str, timestamp: int, body: bytes, other: bytes
) -> None:
    secrets = ["whsk_" + base64.b64encode(seed).decode() for seed in seeds]
    headers = Webhook(secrets, style="ed25519").sign(message_id, timestamp, body)
    for secret in secrets:
        webhook = Webhook(decode_key(secret).public_text, style="ed25519", now=lambda: timestamp)
        verified = webhook.verify(body, headers)
        assert (verified.id, verified.timestamp, verified.body) == (message_id, timestamp, body)
        if other != body:
            with pytest.raises(VerificationError, match=r"^no_match: "):
                webhook.verify(other, headers)


@FUZZ
@given(
    key=st.one_of(
        scalars,
        texts.map("whpk_".__add__),
        st.binary(max_size=80).map(lambda raw: b"whsk_" + base64.b64encode(raw)).map(bytes.decode),
    )
)
def test_no_key_whatever_raises_anything_else(key: Any) -> None:
    try:
        read = decode_key(key)
    except VerificationError as error:
        assert error.reason == "bad_secret"  # noqa: PT017 - either end is right
    else:
        assert key in {read.public_text, key if key.startswith("whsk_") else ""}


def test_the_keys_of_a_jwks_document() -> None:
    x = "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"
    keys = [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "1"}, {"kty": "RSA", "n": "…"}]
    expected = ["whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="]
    assert public_keys({"keys": keys}) == expected
    assert public_keys(json.dumps({"keys": keys})) == expected
    assert public_keys(json.dumps({"keys": keys}).encode()) == expected


JWKS_VALUES = st.recursive(
    scalars,
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(st.sampled_from(["keys", "crv", "x"]), each | st.just("Ed25519"), max_size=3)
    ),
)


@FUZZ
@given(document=JWKS_VALUES | JWKS_VALUES.map(lambda each: {"keys": [each, {"crv": "Ed25519", "x": each}]}))
def test_no_jwks_whatever_raises_anything_else(document: Any) -> None:
    try:
        found = public_keys(document)
    except VerificationError as error:
        assert error.reason == "bad_secret"  # noqa: PT017 - either end is right
    else:
        assert all(decode_key(each).public_text == each for each in found)


@FUZZ
@given(secret=st.one_of(scalars, texts.map("whsec_".__add__), st.binary(max_size=80).map(base64.b64encode)))
def test_no_secret_whatever_raises_anything_else(secret: Any) -> None:
    try:
        key = decode_secret(secret)
    except VerificationError as error:
        assert error.reason == "bad_secret"  # noqa: PT017 - either end is right
    else:
        assert "whsec_" + base64.b64encode(key).decode() == secret
