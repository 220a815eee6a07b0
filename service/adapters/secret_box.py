"""Signing secrets at rest: AES-256-GCM, each bound to its row.

Sealed text is ``v1:<key id>:<base64(nonce + ciphertext)>``.
"""

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.core.wording import count_of
from service.ports.errors import SecretUnopenableError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_VERSION: Final = "v1"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")  # shorter than any base64 key, so a key cannot be taken for an id


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One key of SECRET_KEYS. Its bytes never appear in a repr."""

    id: str
    key: bytes = field(repr=False)


def parse_secret_keys(text: str) -> tuple[SecretKey, ...]:
    """Read ``k2:<base64>,k1:<base64>``. Raises ValueError, which names entries by position and never quotes them."""
    keys: list[SecretKey] = []
    for number, entry in enumerate(text.split(","), start=1):
        key_id, colon, encoded = entry.strip().partition(":")
        if not colon or not _KEY_ID.fullmatch(key_id):
            raise ValueError(f"SECRET_KEYS, entry {number}: write <id>:<base64>; an id is 1 to 16 of A-Z a-z 0-9 _ -")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"SECRET_KEYS, entry {number}: the key is not base64") from None
        if len(key) != KEY_BYTES:
            raise ValueError(
                f"SECRET_KEYS, entry {number}: the key has {count_of(len(key), 'byte')}; it needs {KEY_BYTES}"
            )
        if any(key_id == known.id for known in keys):
            raise ValueError(f"SECRET_KEYS, entry {number}: the id appears twice")
        keys.append(SecretKey(key_id, key))
    return tuple(keys)


class AesSecretBox:
    """Seals with the first key, opens with any. To rotate: put a new key first, rewrap, then drop the old one."""

    def __init__(self, keys: Sequence[SecretKey]) -> None:
        """Take the keys in order. Raises ValueError if there is none: a service that cannot seal must not start."""
        if not keys:
            raise ValueError("SECRET_KEYS is empty")
        self._sealing_key_id = keys[0].id
        self._ciphers = {key.id: AESGCM(key.key) for key in keys}

    def seal(self, secret: str, *, organization_id: str, endpoint_id: str, secret_id: str) -> str:
        """Encrypt, bound to its row: a sealed secret that is moved to another row cannot be decrypted."""
        nonce = os.urandom(NONCE_BYTES)
        row = _additional_data(organization_id, endpoint_id, secret_id)
        ciphertext = self._ciphers[self._sealing_key_id].encrypt(nonce, secret.encode(), row)
        return f"{_VERSION}:{self._sealing_key_id}:{base64.b64encode(nonce + ciphertext).decode()}"

    def open(self, sealed: str, *, organization_id: str, endpoint_id: str, secret_id: str) -> str:
        """Decrypt. Raises ``SecretUnopenableError``, which says why but reveals nothing of the secret."""
        version, _, rest = sealed.partition(":")
        key_id, _, encoded = rest.partition(":")
        if version != _VERSION:
            raise SecretUnopenableError("the sealed secret has an unknown version")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SecretUnopenableError("the key that sealed the secret is not in SECRET_KEYS")
        row = _additional_data(organization_id, endpoint_id, secret_id)
        try:
            blob = base64.b64decode(encoded, validate=True)
            return cipher.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], row).decode()
        except (InvalidTag, ValueError):
            raise SecretUnopenableError(
                f"the key {key_id!r} in SECRET_KEYS is not the one that sealed the secret, or the "
                "secret was moved or changed in the database"
            ) from None

    @property
    def sealing_key_id(self) -> str:
        """The id of the first key, which seals."""
        return self._sealing_key_id

    def needs_rewrap(self, sealed: str) -> bool:
        """Whether it was sealed with a key other than the first."""
        return not sealed.startswith(f"{_VERSION}:{self._sealing_key_id}:")


def _additional_data(*parts: str) -> bytes:
    """Each part prefixed with its length, so that ("a", "bc") and ("ab", "c") differ."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4) + part for part in encoded)
