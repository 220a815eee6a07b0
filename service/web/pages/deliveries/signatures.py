"""Checking a signature that was sent, with the verifier that receivers install."""

from collections.abc import Mapping
from typing import Any, Final

from webhook_signature import VerificationError, Webhook
from webhook_signature.styles import STYLES, style_named

_SECRET_CHARACTERS_MAX: Final = 1_000
_SECONDS_EVER: Final = 100 * 365 * 86_400
"""The attempt may have been long ago: only the signature is checked, not its age."""

SIGNED: Final[Mapping[str, str]] = {
    "standard": "the webhook's id, its timestamp and the body, joined by dots",
    "ed25519": "the webhook's id, its timestamp and the body, joined by dots",
    "t-v1": "the timestamp and the body, joined by a dot",
    "sha256-body": "the body alone",
}
"""What each style signs."""


def signed_first(attempt: Mapping[str, Any], endpoint: Mapping[str, Any]) -> str | None:
    """What was signed before the body, such as "evt_1.1763749535."; None if it is not known.

    That is so where nothing was recorded, and where the endpoint has left the style that signed it.
    """
    if not attempt["request"]["is_recorded"]:
        return None
    style = style_named(endpoint["signature_style"], endpoint["signature_header"])
    values = {name.lower(): value for name, value in attempt["request"]["headers"].items()}
    if any(name not in values for name in style.headers):
        return None
    try:
        return style.content(style.read(values), b"").decode()
    except VerificationError:
        return None


def checked(
    secret: str, attempt: Mapping[str, Any] | None, body: str | None, endpoint: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Whether the attempt's signature is one of this secret, and what to do if it is not. Nothing is kept.

    The endpoint may have had another style then, so each is tried, its own first.
    """
    if not secret or len(secret) > _SECRET_CHARACTERS_MAX:
        return _no("Give the secret (whsec_…), or the public key (whpk_…), that your receiver has.")
    if attempt is None or body is None:
        return _no("That attempt, or its event, is no longer stored.")
    if not attempt["request"]["is_recorded"]:
        return _no("What this attempt was sent with is not known, so there is nothing to check.")
    now, header = (endpoint["signature_style"], endpoint["signature_header"]) if endpoint else ("standard", None)
    reasons = []
    for style in dict.fromkeys((now, *STYLES)):
        try:
            named = header if style == "t-v1" else None
            webhook = Webhook([secret], _SECONDS_EVER, style, signature_header=named)
            webhook.verify(body.encode(), attempt["request"]["headers"])
        except VerificationError as error:
            reasons.append(error.reason)
        else:
            sentence = f"This secret signed attempt {attempt['number']}: your receiver's is right."
            return {"is_right": True, "sentence": sentence}
    return _no(f"This secret did not sign attempt {attempt['number']} ({reasons[0]}).")


def _no(sentence: str) -> Mapping[str, Any]:
    return {"is_right": False, "sentence": sentence}
