"""What the operations on one endpoint have in common: their paths, and what they answer when it cannot be."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from service.api.errors import ApiError, Code
from service.api.operation import Answer, Call, Operation
from service.api.v1.endpoints.answers import Endpoint
from service.core.endpoints.refusals import (
    GoneEndpointError,
    NoEndpointError,
    SecretMisfitError,
    TooManySecretsError,
    UrlTakenError,
)
from service.core.timestamp import format_timestamp
from webhook_signature.sign import KEYS_MAX

PATH: Final = "/v1/endpoints"
TAG: Final = "endpoints"

_ID: Final = re.compile(r"ep_[0-9a-z]{1,40}")


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
    defaults = {"scope": "write", "answers": {200: Endpoint}, "problems": frozenset({404})}
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


@contextmanager
def translated(call: Call) -> Iterator[str]:
    """The endpoint's id from the path; what the store says about it becomes an answer. Raises ``ApiError``."""
    endpoint_id = call.path("id")
    absent = ApiError(404, Code.NOT_FOUND, f"no endpoint {endpoint_id[:64]!r}")
    if not _ID.fullmatch(endpoint_id):
        raise absent
    try:
        yield endpoint_id
    except NoEndpointError:
        raise absent from None
    except GoneEndpointError:
        raise _conflict(
            "this endpoint is gone: its receiver answered 410. POST /v1/endpoints makes a new one"
        ) from None
    except UrlTakenError as error:
        errors = {"url": [f"belongs to the endpoint {error.endpoint_id}"]}
        raise ApiError(409, Code.CONFLICT, "another endpoint has this URL", errors=errors) from None
    except SecretMisfitError as error:
        why = f"a secret of this endpoint cannot sign in the style {error.style!r}; rotate to one that can, first"
        raise ApiError(409, Code.CONFLICT, why, errors={"signature_style": [why]}) from None
    except TooManySecretsError as error:
        until = format_timestamp(error.first_ends_at)
        sentence = (
            f"{KEYS_MAX} secrets sign already, the first until {until}; "
            "rotate after that, or with overlap_seconds 0, which ends the older ones at once"
        )
        raise _conflict(sentence) from None


def _conflict(sentence: str) -> ApiError:
    return ApiError(409, Code.CONFLICT, sentence)
