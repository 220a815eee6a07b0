"""A public key as JWKS shows it: RFC 7517, with Ed25519 of RFC 8037."""

import json
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from webhook_signature.ed25519 import PUBLIC_PREFIX


@dataclass(frozen=True, slots=True)
class JsonWebKey:
    """The key of a ``whpk_`` text. ``kid`` is its thumbprint (RFC 7638): the same key has the same one everywhere."""

    kid: str
    x: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = "EdDSA"
    use: str = "sig"


def json_web_key(public_key: str) -> JsonWebKey:
    """The key of a ``whpk_`` text, which is well-formed."""
    x = _base64url(b64decode(public_key.removeprefix(PUBLIC_PREFIX)))
    # RFC 7638: the required members, in the order of their names, without white space.
    required = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
    return JsonWebKey(_base64url(sha256(required.encode()).digest()), x)


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
