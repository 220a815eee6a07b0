"""The signature styles: one entry in ``STYLES`` each.

``standard`` is Standard Webhooks, and ``ed25519`` the same with a pair of keys instead of a shared secret.
``sha256-body`` (as GitHub signs) covers only the body: no replay protection. ``t-v1`` (as Stripe signs) covers the time
and the body, in a header of any name.

A style defines its headers and what they sign; ``verify`` defines the order of the checks, the clock and the limits.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Literal

from webhook_signature.ed25519 import Ed25519Key, decode_key, sign_ed25519
from webhook_signature.errors import VerificationError
from webhook_signature.sign import (
    HEADER_ID,
    HEADER_SIGNATURE,
    HEADER_TIMESTAMP,
    HEADER_UNSIGNED_TIMESTAMP,
    KEYS_MAX,
    MESSAGE_ID,
    OTHER_HEADER_SIGNATURE,
    TIMESTAMP,
    decode_secret,
    encode_text_secret,
    hmac_matches,
    sign_sha256_body,
    sign_standard,
    sign_t_v1,
    standard_content,
    t_v1_content,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

StyleName = Literal["standard", "ed25519", "sha256-body", "t-v1"]

Key = Any
"""What ``Style.decode_secret`` made of a secret: bytes, or an ``Ed25519Key``. Only its style looks inside."""

SIGNATURE_HEADER_CHARACTERS_MAX = 4096
SIGNATURE_TOKENS_MAX = 20

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_SHA256_BODY = re.compile(r"sha256=([0-9a-f]{64})")
_HEX_OF_32_BYTES = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"([A-Za-z0-9]+),([!-~]+)")
# Base64 of exactly 32 bytes in its only spelling: the last character carries four bits, so its other two are zero.
_BASE64_OF_32_BYTES = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
_BASE64_OF_64_BYTES = re.compile(r"[A-Za-z0-9+/]{85}[AQgw]==")


@dataclass(frozen=True)
class Claim:
    """What the headers claim; not to be trusted until a signature has matched.

    ``id`` and ``timestamp`` are well-formed, or empty if the style does not sign them. ``timestamp`` is text because
    the text is what was signed.
    """

    id: str
    timestamp: str
    signatures: str


@dataclass(frozen=True)
class Style:
    """One way to sign."""

    headers: tuple[str, ...]
    """The names of the required headers, in lower case; the signature's is the last."""
    decode_secret: Callable[[str], Key]
    """Secret text to key; raises bad_secret."""
    read: Callable[[Mapping[str, str]], Claim]
    """Header values to a claim; raises bad_header or bad_timestamp."""
    signatures: Callable[[Claim], list[bytes]]
    """The signatures the request offers; raises bad_header."""
    content: Callable[[Claim, bytes], bytes]
    """The bytes that are signed, from the claim and the body."""
    write: Callable[[Sequence[Key], str, int, bytes], dict[str, str]]
    """Keys, id, Unix seconds and body to the headers that a sender sends; raises ValueError."""
    matches: Callable[[Key, bytes, Sequence[bytes]], bool] = hmac_matches
    """Whether one of the signatures is the key's, for this content."""
    signs_time: bool = True
    """Whether the time is signed, so that an old request is refused."""
    has_key_pair: bool = False
    """Whether what verifies is public; otherwise both sides share a secret."""


def _read_standard(values: Mapping[str, str]) -> Claim:
    if MESSAGE_ID.fullmatch(values[HEADER_ID]) is None:
        raise VerificationError("bad_header", f"the {HEADER_ID} header does not match {MESSAGE_ID.pattern}")
    if TIMESTAMP.fullmatch(values[HEADER_TIMESTAMP]) is None:
        raise VerificationError("bad_timestamp", f"the {HEADER_TIMESTAMP} header is not Unix time in whole seconds")
    return Claim(values[HEADER_ID], values[HEADER_TIMESTAMP], values[HEADER_SIGNATURE])


def _standard_signatures(claim: Claim) -> list[bytes]:
    return _signatures_of("v1", _BASE64_OF_32_BYTES, "32", claim)


def _ed25519_signatures(claim: Claim) -> list[bytes]:
    signatures = _signatures_of("v1a", _BASE64_OF_64_BYTES, "64", claim)
    if len(signatures) > KEYS_MAX:  # checking one takes far longer than an HMAC, and anybody may ask for it
        raise VerificationError("bad_header", f"the {HEADER_SIGNATURE} header has more than {KEYS_MAX} v1a parts")
    return signatures


def _signatures_of(wanted: str, form: re.Pattern[str], length: str, claim: Claim) -> list[bytes]:
    signatures: list[bytes] = []
    for token in _split(claim.signatures, " ", HEADER_SIGNATURE):
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise VerificationError("bad_header", f"a part of the {HEADER_SIGNATURE} header is not version,value")
        version, value = match.groups()
        if version != wanted:
            continue  # another scheme; during a change of style, the header has parts of both
        if form.fullmatch(value) is None:
            raise VerificationError(
                "bad_header", f"a {wanted} part of the {HEADER_SIGNATURE} header is not base64 of {length} bytes"
            )
        signatures.append(binascii.a2b_base64(value))
    return signatures


def _split(value: str, separator: str, header: str) -> list[str]:
    if len(value) > SIGNATURE_HEADER_CHARACTERS_MAX:
        raise VerificationError("bad_header", f"the {header} header is too long")
    tokens = value.split(separator)
    if len(tokens) > SIGNATURE_TOKENS_MAX:
        raise VerificationError("bad_header", f"the {header} header has more than {SIGNATURE_TOKENS_MAX} parts")
    return tokens


def _standard_content(claim: Claim, body: bytes) -> bytes:
    return standard_content(claim.id, claim.timestamp, body)


def _write_standard(keys: Sequence[bytes], message_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
    return {
        HEADER_ID: message_id,
        HEADER_TIMESTAMP: str(timestamp_seconds),
        HEADER_SIGNATURE: sign_standard(keys, message_id, timestamp_seconds, body),
    }


def _write_ed25519(keys: Sequence[Ed25519Key], message_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
    return {
        HEADER_ID: message_id,
        HEADER_TIMESTAMP: str(timestamp_seconds),
        HEADER_SIGNATURE: sign_ed25519(keys, message_id, timestamp_seconds, body),
    }


def _ed25519_matches(key: Ed25519Key, content: bytes, signatures: Sequence[bytes]) -> bool:
    return any(key.verifies(each, content) for each in signatures)  # nothing here is secret, so it may stop early


def _read_sha256_body(values: Mapping[str, str]) -> Claim:
    return Claim("", "", values[OTHER_HEADER_SIGNATURE.lower()])


def _sha256_body_signatures(claim: Claim) -> list[bytes]:
    match = _SHA256_BODY.fullmatch(claim.signatures)
    if match is None:
        raise VerificationError("bad_header", f"the {OTHER_HEADER_SIGNATURE} header is not sha256= and hex of 32 bytes")
    return [bytes.fromhex(match[1])]


def _write_sha256_body(keys: Sequence[bytes], _: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
    return {
        OTHER_HEADER_SIGNATURE: sign_sha256_body(keys, body),
        HEADER_UNSIGNED_TIMESTAMP: str(timestamp_seconds),
    }


def _t_v1(header: str) -> Style:
    """Return the style ``t-v1`` with its signature in ``header``."""

    def read(values: Mapping[str, str]) -> Claim:
        value = values[header.lower()]
        pairs = [token.partition("=") for token in _split(value, ",", header)]
        if not all(name and equals and text for name, equals, text in pairs):
            raise VerificationError("bad_header", f"a part of the {header} header is not name=value")
        timestamps = [text for name, _, text in pairs if name == "t"]
        if len(timestamps) != 1:
            raise VerificationError("bad_header", f"the {header} header does not have t= exactly once")
        if TIMESTAMP.fullmatch(timestamps[0]) is None:
            raise VerificationError("bad_timestamp", f"t in the {header} header is not Unix time in whole seconds")
        return Claim("", timestamps[0], value)

    def signatures(claim: Claim) -> list[bytes]:
        values = [
            text for name, _, text in (token.partition("=") for token in claim.signatures.split(",")) if name == "v1"
        ]
        if not all(_HEX_OF_32_BYTES.fullmatch(value) for value in values):
            raise VerificationError("bad_header", f"a v1 part of the {header} header is not hex of 32 bytes")
        return [bytes.fromhex(value) for value in values]

    def write(keys: Sequence[bytes], _: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
        return {header: sign_t_v1(keys, timestamp_seconds, body)}

    return Style(
        headers=(header.lower(),),
        decode_secret=encode_text_secret,
        read=read,
        signatures=signatures,
        content=lambda claim, body: t_v1_content(claim.timestamp, body),
        write=write,
    )


STYLES: Mapping[str, Style] = {
    "standard": Style(
        headers=(HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE),
        decode_secret=decode_secret,
        read=_read_standard,
        signatures=_standard_signatures,
        content=_standard_content,
        write=_write_standard,
    ),
    "ed25519": Style(
        headers=(HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE),
        decode_secret=decode_key,
        read=_read_standard,
        signatures=_ed25519_signatures,
        content=_standard_content,
        write=_write_ed25519,
        matches=_ed25519_matches,
        has_key_pair=True,
    ),
    "sha256-body": Style(
        headers=(OTHER_HEADER_SIGNATURE.lower(),),
        decode_secret=encode_text_secret,
        read=_read_sha256_body,
        signatures=_sha256_body_signatures,
        content=lambda _, body: body,
        write=_write_sha256_body,
        signs_time=False,
    ),
    "t-v1": _t_v1(OTHER_HEADER_SIGNATURE),
}


def style_named(name: str, signature_header: str | None = None) -> Style:
    """Return the style called ``name``; ``t-v1`` with its signature in ``signature_header``, if one is given.

    Raises ValueError for an unknown name, or a header that is not possible.
    """
    if name not in STYLES:
        raise ValueError(f"signature style {name!r} is not supported; supported: {', '.join(STYLES)}")
    if signature_header is None:
        return STYLES[name]
    if name != "t-v1":
        raise ValueError("signature_header can only be set for the style t-v1")
    if _HEADER_NAME.fullmatch(signature_header) is None:
        raise ValueError("a header name must be 1 to 64 letters, digits and hyphens")
    return _t_v1(signature_header)


def joined(newer: dict[str, str], older: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request that is signed in two styles, each with keys of its own.

    Only the ``webhook-signature`` header has room for both; of any other that both need, ``newer``'s is sent.
    """
    together = {**older, **newer}
    if HEADER_SIGNATURE in newer and HEADER_SIGNATURE in older:
        together[HEADER_SIGNATURE] = f"{newer[HEADER_SIGNATURE]} {older[HEADER_SIGNATURE]}"
    return together
