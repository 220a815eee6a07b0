"""Signatures with a pair of keys: whoever verifies holds nothing that could sign.

The mathematics is the package ``cryptography``'s. It is imported when the first key is read, so that every other style
needs the standard library alone.
"""

from __future__ import annotations

import binascii
import json
from typing import TYPE_CHECKING, Any

from webhook_signature.errors import VerificationError
from webhook_signature.sign import check_keys, checked_content, encode, strict_base64

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64


class Ed25519Key:
    """A key, parsed once: a private one signs and verifies, a public one only verifies. Its repr shows no bytes."""

    __slots__ = ("_private", "_public", "public_bytes")

    def __init__(self, *, seed: bytes | None = None, public: bytes = b"") -> None:
        """Take the 32 bytes of a private key, or of a public one."""
        curve = _curve()
        self._private: Any = None  # its type is cryptography's, which may be missing
        if seed is None:
            self._public: Any = curve.Ed25519PublicKey.from_public_bytes(public)
        else:
            self._private = curve.Ed25519PrivateKey.from_private_bytes(seed)
            self._public = self._private.public_key()
        self.public_bytes: bytes = self._public.public_bytes_raw()

    @property
    def public_text(self) -> str:
        """The public key as ``whpk_<base64>``."""
        return PUBLIC_PREFIX + encode(self.public_bytes)

    def sign(self, content: bytes) -> bytes:
        """Return the 64 bytes of the signature. Raises ValueError for a public key."""
        if self._private is None:
            raise ValueError(f"sign with a private key ({PRIVATE_PREFIX}…); a public one only verifies")
        signature: bytes = self._private.sign(content)
        return signature

    def verifies(self, signature: bytes, content: bytes) -> bool:
        """Whether the private key made this signature of ``content``."""
        try:
            self._public.verify(signature, content)
        except Exception:  # noqa: BLE001 - InvalidSignature; and whatever else it is, nothing was verified
            return False
        return True


def decode_key(text: str) -> Ed25519Key:
    """Return the key of ``whpk_<base64 of 32 bytes>`` or ``whsk_<base64 of 32 or 64 bytes>``.

    64 bytes are a private key with its public one behind it. Raises VerificationError(bad_secret) for anything else,
    and where ``cryptography`` is missing; the message never contains the key.
    """
    is_text = isinstance(text, str)  # pyright: ignore[reportUnnecessaryIsInstance]
    if is_text and text.startswith(PUBLIC_PREFIX):
        public = strict_base64(text, PUBLIC_PREFIX)
        if len(public) != PUBLIC_KEY_BYTES:
            raise VerificationError("bad_secret", f"a public key must have {PUBLIC_KEY_BYTES} bytes, not {len(public)}")
        return Ed25519Key(public=public)
    if not (is_text and text.startswith(PRIVATE_PREFIX)):
        raise VerificationError(
            "bad_secret", f"an ed25519 key must be text that starts with {PUBLIC_PREFIX} or {PRIVATE_PREFIX}"
        )
    private = strict_base64(text, PRIVATE_PREFIX)
    seed, public = private[:SEED_BYTES], private[SEED_BYTES:]
    if len(seed) != SEED_BYTES or len(public) not in {0, PUBLIC_KEY_BYTES}:
        raise VerificationError("bad_secret", f"a private key must have 32 or 64 bytes, not {len(private)}")
    key = Ed25519Key(seed=seed)
    if public and public != key.public_bytes:
        # Signing with another public key than the private one's own would give the private key away.
        raise VerificationError("bad_secret", "the two halves of the private key do not belong together")
    return key


def sign_ed25519(keys: Sequence[Ed25519Key], message_id: str, timestamp_seconds: int, body: bytes) -> str:
    """Return the ``webhook-signature`` value of the style ``ed25519``: one ``v1a,<base64>`` per key.

    Raises ValueError as ``sign_standard`` does, and for a public key.
    """
    check_keys(keys)
    content = checked_content(message_id, timestamp_seconds, body)
    return " ".join([f"v1a,{encode(key.sign(content))}" for key in keys])


def public_keys(jwks: str | bytes | dict[str, Any]) -> list[str]:
    """Return the Ed25519 keys of a JWKS document (text, or parsed) as ``whpk_`` texts, in its order.

    Keys of other kinds are passed over. Raises VerificationError(bad_secret) for what is no JWKS.
    """
    try:
        document = json.loads(jwks) if isinstance(jwks, (str, bytes)) else jwks
        return [_public_text(each["x"]) for each in document["keys"] if each.get("crv") == "Ed25519"]
    except VerificationError:
        raise
    except Exception:  # noqa: BLE001 - only one error type may be raised, whatever a server answered
        raise VerificationError("bad_secret", "this is not a JWKS document") from None


def _public_text(x: str) -> str:
    plain = x.replace("-", "+").replace("_", "/")
    data = binascii.a2b_base64(plain + "=" * (-len(plain) % 4))
    text = PUBLIC_PREFIX + encode(data)
    if len(data) != PUBLIC_KEY_BYTES or not text.startswith(PUBLIC_PREFIX + plain):
        raise VerificationError("bad_secret", "an Ed25519 key of the JWKS document is not base64url of 32 bytes")
    return text


def _curve() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - optional
    except ImportError:
        raise VerificationError(
            "bad_secret", "the style ed25519 needs the package cryptography: pip install cryptography"
        ) from None
    return ed25519
