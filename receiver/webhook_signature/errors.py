"""The one error a receiver has to catch."""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "missing_header",
    "bad_header",
    "bad_timestamp",
    "too_old",
    "too_new",
    "no_match",
    "replayed",
    "too_large",
    "bad_secret",
]

REASONS: tuple[Reason, ...] = get_args(Reason)
"""All reasons, for metric labels and exhaustive tests."""


class VerificationError(Exception):
    """A request that must not be trusted, or a secret that cannot be used.

    ``reason`` is one of ``REASONS``: branch on it, count it. ``detail`` is a sentence for people. Neither contains
    anything from the request, nor the expected signature, so both are safe to log.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
