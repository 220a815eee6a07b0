"""Signing: what sender and verifier must agree on, in one place.

Pure functions of their arguments. ``sign_standard`` runs once per delivery attempt.
"""

from __future__ import annotations

import binascii
import hmac
import re
from typing import TYPE_CHECKING

from webhook_signature.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER_ID = "webhook-id"
HEADER_TIMESTAMP = "webhook-timestamp"
HEADER_SIGNATURE = "webhook-signature"
OTHER_HEADER_SIGNATURE = "X-Webhook-Signature"
"""The signature header of the other styles, unless another one is chosen."""
HEADER_UNSIGNED_TIMESTAMP = "X-Timestamp"

SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a secret
KEY_BYTES_MIN = 24
KEY_BYTES_MAX = 64
KEYS_MAX = 3
"""How many secrets of an endpoint may be active at once; a rotation needs two."""
TEXT_SECRET_BYTES_MAX = 512

# No dots in an id: id and timestamp are joined by dots, so two different requests ("a.1" + "2" and "a" + "1.2") would
# have the same signature.
MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
TIMESTAMP = re.compile(r"[0-9]{1,12}")


def decode_secret(text: str) -> bytes:
    """Return the key of a ``whsec_<base64>`` secret: 24 to 64 bytes.

    Raises VerificationError(bad_secret) for anything else; the message never contains the secret.
    """
    if not isinstance(text, str) or not text.startswith(SECRET_PREFIX):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise VerificationError("bad_secret", f"a secret must be text that starts with {SECRET_PREFIX}")
    key = strict_base64(text, SECRET_PREFIX)
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise VerificationError(
            "bad_secret", f"a key must have {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, not {len(key)}"
        )
    return key


def strict_base64(text: str, prefix: str) -> bytes:
    """Return the bytes that ``text`` spells in base64 after ``prefix``, in their only spelling.

    Raises VerificationError(bad_secret).
    """
    encoded = text[len(prefix) :]
    try:
        data = binascii.a2b_base64(encoded)
    except ValueError:
        # "from None": the library's message adds nothing useful, and a traceback must not show the secret.
        raise VerificationError("bad_secret", f"the part after {prefix} is not base64") from None
    # a2b_base64 skips characters outside its alphabet, so a mistyped secret would yield a different key. So the bytes
    # must encode back to exactly the given text.
    if encode(data) != encoded:
        raise VerificationError("bad_secret", f"the part after {prefix} is not strict base64")
    return data


def encode_text_secret(text: str) -> bytes:
    """Return the key of a secret whose whole text is the key, as UTF-8: what ``sha256-body`` and ``t-v1`` sign with.

    Raises VerificationError(bad_secret) if the text is empty, too long, an ed25519 key, or has white space around it
    (often a stray newline).
    """
    if not isinstance(text, str) or not text or text != text.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise VerificationError("bad_secret", "a secret must be non-empty text without white space around it")
    if text.startswith(("whpk_", "whsk_")):  # with a public key as the shared secret, anybody could sign
        raise VerificationError("bad_secret", "this is an ed25519 key; use it with the style ed25519")
    try:
        key = text.encode()
    except UnicodeEncodeError:
        raise VerificationError("bad_secret", "the secret contains characters that UTF-8 cannot encode") from None
    if len(key) > TEXT_SECRET_BYTES_MAX:
        raise VerificationError("bad_secret", f"a secret may have at most {TEXT_SECRET_BYTES_MAX} bytes")
    return key


def sign_standard(keys: Sequence[bytes], message_id: str, timestamp_seconds: int, body: bytes) -> str:
    """Return the ``webhook-signature`` value of the Standard Webhooks scheme.

    One ``v1,<base64>`` per key, in the order of ``keys``, separated by single spaces. ``timestamp_seconds`` is Unix
    time. Raises ValueError unless there are one to three keys and the id and timestamp have a form that verifies.
    """
    check_keys(keys)
    content = checked_content(message_id, timestamp_seconds, body)
    return " ".join([f"v1,{encode(hmac_sha256(key, content))}" for key in keys])


def sign_sha256_body(keys: Sequence[bytes], body: bytes) -> str:
    """Return the ``X-Webhook-Signature`` value of the style ``sha256-body``: ``sha256=<hex>``.

    The header holds one signature. During a rotation the last key signs, which is the oldest, so that receivers have
    the whole overlap to switch to the new one. Neither id nor time is signed: a captured request can be replayed at any
    time. Raises ValueError unless there are one to three keys.
    """
    check_keys(keys)
    return "sha256=" + hmac_sha256(keys[-1], body).hex()


def sign_t_v1(keys: Sequence[bytes], timestamp_seconds: int, body: bytes) -> str:
    """Return the signature header's value in the style ``t-v1``: ``t=<seconds>,v1=<hex>``, one ``v1`` for each key.

    Raises ValueError unless there are one to three keys and the timestamp has a form that verifies.
    """
    check_keys(keys)
    timestamp = _timestamp(timestamp_seconds)
    content = t_v1_content(timestamp, body)
    return ",".join([f"t={timestamp}", *(f"v1={hmac_sha256(key, content).hex()}" for key in keys)])


def check_keys(keys: Sequence[object]) -> None:
    """Raise ValueError unless there are one to three keys."""
    if not 1 <= len(keys) <= KEYS_MAX:
        raise ValueError(f"sign with 1 to {KEYS_MAX} keys, not {len(keys)}")


def _timestamp(seconds: int) -> str:
    timestamp = str(seconds)
    if TIMESTAMP.fullmatch(timestamp) is None:
        raise ValueError("a timestamp must be a whole number of Unix seconds with at most 12 digits")
    return timestamp


def checked_content(message_id: str, timestamp_seconds: int, body: bytes) -> bytes:
    """Return what Standard Webhooks signs. Raises ValueError for an id or a timestamp that does not verify."""
    timestamp = _timestamp(timestamp_seconds)
    if MESSAGE_ID.fullmatch(message_id) is None:
        raise ValueError(f"an id must match {MESSAGE_ID.pattern}")
    return standard_content(message_id, timestamp, body)


def t_v1_content(timestamp: str, body: bytes) -> bytes:
    """Return the bytes that the style ``t-v1`` signs: ``{timestamp}.{body}``."""
    return f"{timestamp}.".encode() + body


def standard_content(message_id: str, timestamp: str, body: bytes) -> bytes:
    """Return the bytes that Standard Webhooks signs: ``{id}.{timestamp}.{body}``."""
    return f"{message_id}.{timestamp}.".encode() + body


def hmac_matches(key: bytes, content: bytes, signatures: Sequence[bytes]) -> bool:
    """Whether one of the signatures is ``content``'s. Each is compared in constant time, without stopping early."""
    digest = hmac_sha256(key, content)
    return any([hmac.compare_digest(digest, signature) for signature in signatures])  # noqa: C419 - no early exit


def hmac_sha256(key: bytes, content: bytes) -> bytes:
    """Return the 32 bytes of HMAC-SHA256, computed in one call into C."""
    return hmac.digest(key, content, "sha256")


def encode(data: bytes) -> str:
    """Return standard base64 with padding, without a newline."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")
