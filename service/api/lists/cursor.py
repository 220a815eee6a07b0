"""Opaque cursors for keyset pagination."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from pydantic_core import from_json, to_json


def write_cursor(*parts: str | int) -> str:
    """Encode the parts of a keyset."""
    return urlsafe_b64encode(to_json(parts)).rstrip(b"=").decode()


def read_cursor(text: str, *kinds: type) -> tuple[Any, ...] | None:
    """Decode a cursor whose parts have these types; None for anything else."""
    try:
        parts = from_json(urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)), allow_inf_nan=False)
    except (ValueError, binascii.Error):
        return None
    if not isinstance(parts, list) or len(parts) != len(kinds):
        return None
    return tuple(parts) if all(type(part) is kind for part, kind in zip(parts, kinds, strict=True)) else None
