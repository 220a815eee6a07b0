"""What the operations on one endpoint have in common: their paths, and what they answer when it cannot be."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, assert_never

from service.api.errors import ApiError, Code, invalid
from service.api.operation import Answer, Call, Operation
from service.api.v1.endpoints.answers import EndpointShown
from service.core.endpoints.refusals import (
    EndpointGone,
    EndpointRefusal,
    InvalidWish,
    NoSuchEndpoint,
    NoSuchOrganization,
    OtherSecret,
    SecretMisfit,
    TooManySecrets,
    UrlTaken,
)

PATH: Final = "/v1/endpoints"
TAG: Final = "endpoints"

_ID: Final = re.compile(r"ep_[0-9a-z]{1,40}")

Outcome = TypeVar("Outcome")


def on_endpoint(
    method: str,
    action: str,
    name: str,
    summary: str,
    handler: Callable[[Call], Awaitable[Answer]],
    description: str = "",
    **others: Any,  # noqa: ANN401 - the other fields of an Operation
) -> Operation:
    """An operation under ``/v1/endpoints/{id}``: it writes, answers with the endpoint, and may find none."""
    defaults = {"scope": "write", "answers": {200: EndpointShown}, "problems": frozenset({404})}
    return Operation(
        method,
        f"{PATH}/{{id}}{action}",
        name=name,
        summary=summary,
        handler=handler,
        description=description,
        tag=TAG,
        **(defaults | others),
    )


def endpoint_id_of(call: Call) -> str:
    """The endpoint's id from the path. Raises ``ApiError`` (404) for what no endpoint can be called."""
    endpoint_id = call.path("id")
    if not _ID.fullmatch(endpoint_id):
        raise problem_of(NoSuchEndpoint(endpoint_id))
    return endpoint_id


def granted(outcome: Outcome | EndpointRefusal) -> Outcome:
    """The outcome, when it is what was asked for. Raises ``ApiError``."""
    if isinstance(outcome, EndpointRefusal):
        raise problem_of(outcome)
    return outcome


def problem_of(refusal: EndpointRefusal) -> ApiError:
    """A refusal in the shape of this surface."""
    match refusal:
        case InvalidWish():
            return invalid(refusal.sentence, refusal.problems)
        case NoSuchEndpoint() | NoSuchOrganization():
            return ApiError(404, Code.NOT_FOUND, refusal.sentence)
        case EndpointGone():
            return ApiError(409, Code.CONFLICT, f"{refusal.sentence}. POST /v1/endpoints makes a new one")
        case UrlTaken():
            errors = {"url": [f"belongs to the endpoint {refusal.endpoint_id}"]}
            return ApiError(409, Code.CONFLICT, refusal.sentence, errors=errors)
        case SecretMisfit():
            errors = {"signature_style": [refusal.sentence]}
            return ApiError(409, Code.CONFLICT, refusal.sentence, errors=errors)
        case TooManySecrets() | OtherSecret():
            return ApiError(409, Code.CONFLICT, refusal.sentence)
        case _:
            assert_never(refusal)
