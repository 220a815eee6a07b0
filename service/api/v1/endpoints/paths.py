"""What the operations on one endpoint share: paths, ids, and errors for refusals."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, assert_never

from service.api.errors import ApiError, Code, FieldErrors, invalid
from service.api.operation import Answer, Call, Limit, Operation
from service.api.v1.endpoints.answers import EndpointShown
from service.core.endpoints.refusals import (
    CapReached,
    ChangedTooOften,
    EndpointExpired,
    EndpointGated,
    EndpointGone,
    EndpointRefusal,
    InvalidWish,
    NoSuchEndpoint,
    NoSuchOrganization,
    OtherSecret,
    OtherVersion,
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
    """An operation under ``/v1/endpoints/{id}``: by default it writes, and answers with the endpoint or 404.

    A key that is limited to this endpoint may do it, unless ``limit`` says otherwise.
    """
    defaults: dict[str, Any] = {
        "scope": "write",
        "limit": Limit.ENDPOINT,
        "answers": {200: EndpointShown},
        "problems": frozenset({404}),
    }
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
    """Return the endpoint's id from the path. Raises ``ApiError`` (404) for a malformed id."""
    endpoint_id = call.path("id")
    if not _ID.fullmatch(endpoint_id):
        raise problem_of(NoSuchEndpoint(endpoint_id))
    return endpoint_id


def granted(outcome: Outcome | EndpointRefusal) -> Outcome:
    """Return the outcome. Raises ``ApiError`` if it is a refusal."""
    if isinstance(outcome, EndpointRefusal):
        raise problem_of(outcome)
    return outcome


def problem_of(refusal: EndpointRefusal) -> ApiError:
    """Convert a refusal to this surface's error."""
    match refusal:
        case InvalidWish():
            return invalid(refusal.sentence, refusal.problems)
        case NoSuchEndpoint() | NoSuchOrganization():
            return ApiError(404, Code.NOT_FOUND, refusal.sentence)
        case EndpointGone() | EndpointExpired():
            return ApiError(409, Code.CONFLICT, f"{refusal.sentence}; create a new one with POST /v1/endpoints")
        case UrlTaken() | SecretMisfit() | CapReached() | EndpointGated():
            code = Code.ENDPOINT_GATED if isinstance(refusal, EndpointGated) else Code.CONFLICT
            return ApiError(409, code, refusal.sentence, errors=_conflict_of(refusal))
        case OtherVersion():
            return ApiError(412, Code.PRECONDITION_FAILED, refusal.sentence)
        case ChangedTooOften() | TooManySecrets() | OtherSecret():
            later = {"Retry-After": "1"} if isinstance(refusal, ChangedTooOften) else {}
            return ApiError(409, Code.CONFLICT, refusal.sentence, headers=later)
        case _:
            assert_never(refusal)


def _conflict_of(refusal: UrlTaken | SecretMisfit | CapReached | EndpointGated) -> FieldErrors:
    """What the refusal says of which field."""
    match refusal:
        case EndpointGated(gates):
            return {"gates": [f"{each.kind}: {each.sentence}" for each in gates]}
        case UrlTaken(endpoint_id, differing):
            return {"url": [f"belongs to endpoint {endpoint_id}"]} | {name: ["differs from its"] for name in differing}
        case SecretMisfit():
            return {"signature_style": [refusal.sentence]}
        case CapReached():
            return {refusal.field: [refusal.sentence]}
