"""Verify signed webhooks with the standard library alone; with ``cryptography``, ed25519 signatures too.

``Webhook(secrets).verify(raw_body, headers)`` returns a ``Verified`` or raises a ``VerificationError`` whose
``reason`` says why. The sender signs with ``webhook_signature.sign``, so both sides share one definition.
"""

from __future__ import annotations

from webhook_signature.ed25519 import public_keys
from webhook_signature.errors import REASONS, Reason, VerificationError
from webhook_signature.headers import Headers
from webhook_signature.replay import MemoryReplayStore, ReplayStore
from webhook_signature.verify import Verified, Webhook

__all__ = [
    "REASONS",
    "Headers",
    "MemoryReplayStore",
    "Reason",
    "ReplayStore",
    "VerificationError",
    "Verified",
    "Webhook",
    "public_keys",
]
