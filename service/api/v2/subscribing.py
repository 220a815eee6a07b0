"""What a new subscriber must be: every error at once, in Django REST framework's sentences."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from service.api.v2.bodies import Fields
from service.api.v2.refusal import RefusalError
from service.core.endpoints.target_policy import URL_MAX_CHARACTERS, EgressPolicy, TargetRefused
from webhook_signature import VerificationError
from webhook_signature.sign import decode_secret

REQUIRED: Final = "This field is required."
NULL: Final = "This field may not be null."
BLANK: Final = "This field may not be blank."
NOT_A_STRING: Final = "Not a valid string."
NOT_A_URL: Final = "Enter a valid URL."
TOO_LONG: Final = f"Ensure this field has no more than {URL_MAX_CHARACTERS} characters."
UNSTORABLE: Final = "Null characters are not allowed."

_URL_SHAPE: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^\s/?#@]*@)?(?:\[[0-9A-Fa-f:.]+\]|[\w-]+(?:\.[\w-]+)*\.?)(?::[0-9]+)?(?:[/?#]\S*)?"
)
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")  # PostgreSQL's text holds neither NUL nor a lone surrogate


@dataclass(frozen=True, slots=True)
class NewSubscriber:
    """What was asked for, and may be done."""

    resthook: str
    target_url: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class _Problem:
    sentence: str


async def read_subscriber(
    fields: Fields, has_resthook: Callable[[str], Awaitable[bool]], policy: EgressPolicy
) -> NewSubscriber:
    """The subscriber that a body asks for; names we do not know are let be. Raises ``RefusalError`` (400)."""
    resthook = _text(fields, "resthook")
    if isinstance(resthook, str) and not await has_resthook(resthook):
        resthook = _Problem(f"No resthook with slug: {resthook}")
    url = _url(fields, policy)
    secret = _secret(fields) if "secret" in fields else None
    found = {"resthook": resthook, "target_url": url, "secret": secret}
    problems = {name: [value.sentence] for name, value in found.items() if isinstance(value, _Problem)}
    if isinstance(resthook, _Problem) or isinstance(url, _Problem) or isinstance(secret, _Problem):
        raise RefusalError(400, dict(problems))
    return NewSubscriber(resthook, url, secret)


def _text(fields: Fields, name: str) -> str | _Problem:
    """A field as text, without the space around it; a number is its text."""
    if name not in fields:
        return _Problem(REQUIRED)
    value = fields[name]
    if value is None:
        return _Problem(NULL)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _Problem(NOT_A_STRING)
    text = str(value).strip()
    if not text:
        return _Problem(BLANK)
    return _Problem(UNSTORABLE) if _UNSTORABLE.search(text) else text


def _url(fields: Fields, policy: EgressPolicy) -> str | _Problem:
    text = _text(fields, "target_url")
    if isinstance(text, _Problem):
        return text if text.sentence in {REQUIRED, NULL, BLANK} else _Problem(NOT_A_URL)
    if not _URL_SHAPE.fullmatch(text):
        return _Problem(NOT_A_URL)
    if len(text) > URL_MAX_CHARACTERS:
        return _Problem(TOO_LONG)
    judged = policy.judge_url(text)
    return _Problem(judged.sentence) if isinstance(judged, TargetRefused) else judged.url


def _secret(fields: Fields) -> str | _Problem:
    text = _text(fields, "secret")
    if isinstance(text, str):
        try:
            decode_secret(text)
        except VerificationError as error:
            return _Problem(error.detail)
    return text
