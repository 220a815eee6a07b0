"""The styles a signature comes in: one entry in ``STYLES`` each.

A style knows its headers and what they promise; ``verify`` knows the order of the checks, the clock and the limits.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from webhook_signature.errors import VerificationError
from webhook_signature.sign import (
    HEADER_ID,
    HEADER_SIGNATURE,
    HEADER_TIMESTAMP,
    MESSAGE_ID,
    TIMESTAMP,
    decode_secret,
    sign_standard,
    standard_content,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SIGNATURE_HEADER_CHARACTERS_MAX = 4096
SIGNATURE_TOKENS_MAX = 20

_TOKEN = re.compile(r"([A-Za-z0-9]+),([!-~]+)")
# Base64 of exactly 32 bytes in its only spelling: the last character carries four bits, so its other two are zero.
_BASE64_OF_32_BYTES = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")


@dataclass(frozen=True)
class Claim:
    """What the headers say; believed only once a signature matched.

    ``id`` and ``timestamp`` are in form. ``timestamp`` is text because the text is what was signed.
    """

    id: str
    timestamp: str
    signatures: str


@dataclass(frozen=True)
class Style:
    """One way to sign with a shared secret and HMAC-SHA256."""

    headers: tuple[str, ...]
    """The names of the headers that must be there, in lower case."""
    decode_secret: Callable[[str], bytes]
    """Secret text to key; raises bad_secret."""
    read: Callable[[Mapping[str, str]], Claim]
    """Header values to a claim; raises bad_header or bad_timestamp."""
    signatures: Callable[[Claim], list[bytes]]
    """The digests the request offers; raises bad_header."""
    content: Callable[[Claim, bytes], bytes]
    """The bytes that are signed, from the claim and the body."""
    write: Callable[[Sequence[bytes], str, int, bytes], dict[str, str]]
    """Keys, id, Unix seconds and body to the headers a sender sends; raises ValueError."""


def _read_standard(values: Mapping[str, str]) -> Claim:
    if MESSAGE_ID.fullmatch(values[HEADER_ID]) is None:
        raise VerificationError("bad_header", f"the {HEADER_ID} header does not match {MESSAGE_ID.pattern}")
    if TIMESTAMP.fullmatch(values[HEADER_TIMESTAMP]) is None:
        raise VerificationError("bad_timestamp", f"the {HEADER_TIMESTAMP} header is not Unix time in whole seconds")
    return Claim(values[HEADER_ID], values[HEADER_TIMESTAMP], values[HEADER_SIGNATURE])


def _standard_signatures(claim: Claim) -> list[bytes]:
    if len(claim.signatures) > SIGNATURE_HEADER_CHARACTERS_MAX:
        raise VerificationError("bad_header", f"the {HEADER_SIGNATURE} header is too long")
    tokens = claim.signatures.split(" ")
    if len(tokens) > SIGNATURE_TOKENS_MAX:
        raise VerificationError(
            "bad_header", f"the {HEADER_SIGNATURE} header has more than {SIGNATURE_TOKENS_MAX} parts"
        )
    signatures: list[bytes] = []
    for token in tokens:
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise VerificationError("bad_header", f"a part of the {HEADER_SIGNATURE} header is not version,value")
        version, value = match.groups()
        if version != "v1":
            continue  # a scheme we do not know yet, beside one we do
        if _BASE64_OF_32_BYTES.fullmatch(value) is None:
            raise VerificationError(
                "bad_header", f"a v1 part of the {HEADER_SIGNATURE} header is not base64 of 32 bytes"
            )
        signatures.append(binascii.a2b_base64(value))
    return signatures


def _standard_content(claim: Claim, body: bytes) -> bytes:
    return standard_content(claim.id, claim.timestamp, body)


def _write_standard(keys: Sequence[bytes], message_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
    return {
        HEADER_ID: message_id,
        HEADER_TIMESTAMP: str(timestamp_seconds),
        HEADER_SIGNATURE: sign_standard(keys, message_id, timestamp_seconds, body),
    }


STYLES: Mapping[str, Style] = {
    "standard": Style(
        headers=(HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE),
        decode_secret=decode_secret,
        read=_read_standard,
        signatures=_standard_signatures,
        content=_standard_content,
        write=_write_standard,
    ),
}


def style_named(name: str) -> Style:
    """Return the style called ``name``; raises ValueError, which names the supported ones."""
    if name not in STYLES:
        raise ValueError(f"signature style {name!r} is not supported; supported: {', '.join(STYLES)}")
    return STYLES[name]
