"""How secrets sign, and which may sign one request together while an endpoint changes its signature style.

Two styles never share a secret: who captured a request could send it again through the weaker one. So a change with an
overlap takes a new secret, and each older one goes on signing in the style that it was made for.
"""

from dataclasses import dataclass
from typing import Final

from webhook_signature.sign import HEADER_SIGNATURE
from webhook_signature.styles import STYLES, style_named

OVERLAP_SECONDS_MAX: Final = 30 * 86_400
"""How long a secret may go on signing beside a newer one."""


@dataclass(frozen=True, slots=True)
class Signing:
    """How a secret signs: the name of its style, and of the signature's header where that can be chosen."""

    style: str
    header: str | None = None


def is_of_key_pairs(signing: Signing) -> bool:
    """Whether it takes a pair of keys, which Posthorn makes, instead of a shared secret."""
    return STYLES[signing.style].has_key_pair


def clash(one: Signing, other: Signing) -> str | None:
    """Why one request cannot be signed both ways; None when it can."""
    header = _header(one)
    if header != _header(other) or header == HEADER_SIGNATURE:  # that one has room for several
        return None
    if one == other:
        return None
    return f"{one.style!r} and {other.style!r} would both sign in the header {header!r}"


def overlap_problem(before: Signing, after: Signing) -> str | None:
    """Why requests cannot be signed both ways while an endpoint changes from one to the other; None when they can."""
    if not STYLES[after.style].signs_time:
        # Until now, a captured request was of no use after minutes.
        return f"{after.style!r} signs no time: requests of the overlap could be sent again at any later time; use 0"
    why = clash(after, before)
    return f"{why}; use 0, which ends the older secrets at once" if why else None


def _header(signing: Signing) -> str:
    return style_named(signing.style, signing.header).headers[-1].replace("_", "-")
