"""Which secrets can sign."""

from typing import Final

from webhook_signature import VerificationError
from webhook_signature.styles import style_named

SECRET_CHARACTERS_MIN: Final = 16


def secret_problem(secret: str, style: str) -> str | None:
    """Why ``secret`` cannot sign in this style; None when it can."""
    if style_named(style).has_key_pair:
        return f"Posthorn makes the keys of the style {style!r}, so that nobody else has the private one; omit it"
    if why := misfit(secret, style):
        return why
    if len(secret) < SECRET_CHARACTERS_MIN:  # its last four characters are shown, to tell it from others
        return f"a secret must have at least {SECRET_CHARACTERS_MIN} characters"
    return None


def misfit(secret: str, style: str) -> str | None:
    """Why ``style`` cannot read ``secret``, whatever its length; None when it can."""
    try:
        style_named(style).decode_secret(secret)
    except VerificationError as error:
        return error.detail
    return None
