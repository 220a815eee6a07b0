"""An endpoint's ETag, and the conditions that name it.

It has two parts: the endpoint's version, and a digest of what is shown (ADR 44). What is shown changes with every
delivery, so If-None-Match compares both, and never hides a change. If-Match compares the version alone: it guards
changes, which nothing but another change may stop.
"""

import re
from hashlib import sha256
from typing import Final

from service.api.asked import Asked
from service.api.errors import ApiError, Code
from service.api.operation import Answer
from service.api.v1.endpoints.answers import EndpointShown
from service.core.endpoints.view import EndpointView

_ANY: Final = "*"
_TAG: Final = re.compile(r"([0-9]{1,18})-[0-9a-f]{16}")

VERSIONS_MAX: Final = 100
"""How many tags an If-Match may name."""


def etag_headers(endpoint: EndpointView, shown: EndpointShown) -> dict[str, str]:
    """The ETag of this answer, which no cache may store: it may show a secret. Who has it may ask if it still holds."""
    digest = sha256(EndpointShown(**dict(shown)).model_dump_json().encode()).hexdigest()[:16]
    return {"ETag": f'"{endpoint.version}-{digest}"'}


def unless_known(request: Asked, answer: Answer) -> Answer:
    """The answer, or 304 if the request's If-None-Match names it."""
    tags = {f'"{each.value}"' for each in request.if_none_match or ()}
    if tags & {answer.headers["ETag"], f'"{_ANY}"'}:
        return Answer(304, headers=answer.headers)
    return answer


def asked_versions(request: Asked) -> frozenset[int] | None:
    """The versions that the request's If-Match names; None if any will do.

    A weak tag counts: a proxy that packs answers makes one of each, and the version is exact in it, too.
    """
    if not wants_existing(request):
        return None
    given = request.if_match or ()  # what is no tag matches nothing
    if any(each.value == _ANY for each in given):
        return None
    found = (_TAG.fullmatch(each.value) for each in given[:VERSIONS_MAX])
    return frozenset(int(each[1]) for each in found if each)


def wants_existing(request: Asked) -> bool:
    """Whether there must be something already (If-Match, whatever it names)."""
    return "If-Match" in request.headers


def wants_new(request: Asked) -> bool:
    """Whether there must be nothing yet (``If-None-Match: *``)."""
    return any(each.value == _ANY for each in request.if_none_match or ())


def precondition_failed(sentence: str) -> ApiError:
    """A condition of the request does not hold (412)."""
    return ApiError(412, Code.PRECONDITION_FAILED, sentence)
