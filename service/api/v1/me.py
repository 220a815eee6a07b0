"""``GET /v1/me``: the organization and scopes of the request's key; the cheapest test of a key."""

from typing import Annotated

from pydantic import Field

from service.api.instant import Instant
from service.api.operation import Answer, Call, Operation
from service.api.validation import AnswerModel


class KeyShown(AnswerModel):
    """The API key of this request, without its secret."""

    id: Annotated[str, Field(examples=["0f1e2d3c4b5a6978"])]
    name: Annotated[str, Field(description="The name given at creation; may be empty.", examples=["zapier"])]
    scopes: Annotated[
        list[str],
        Field(
            description="What it may do: `read`, or limited, such as `publish:message.*`.",
            examples=[["publish", "read", "write"]],
        ),
    ]
    expires_at: Annotated[Instant | None, Field(description="When the key expires; null: never.")]


class RateLimitShown(AnswerModel):
    """The budget that this request was counted in; publishing has another one, unless the key has its own."""

    name: Annotated[str, Field(description="What `RateLimit` calls it.", examples=["requests"])]
    limit: Annotated[int, Field(description="How many requests it holds.", examples=[2500])]
    window_seconds: Annotated[int, Field(description="In what time it fills again.", examples=[3600])]
    remaining: Annotated[int, Field(description="How many more may be made at once.", examples=[2499])]
    reset: Annotated[int, Field(description="When there will be one more, in Unix seconds.", examples=[1795199999])]


class Me(AnswerModel):
    """The caller."""

    organization_id: Annotated[str, Field(examples=["org_a"])]
    key: KeyShown
    rate_limit: RateLimitShown


async def show_me(call: Call) -> Answer:
    """Describe the caller's key."""
    key, standing = call.key, call.rate_limit
    assert standing is not None  # noqa: S101 - asked over HTTP only: whoever is inside has no API key
    shown = KeyShown(id=key.key_id, name=key.name, scopes=sorted(key.scopes), expires_at=key.expires_at)
    budget = standing.budget
    limit = RateLimitShown(
        name=budget.name,
        limit=budget.requests,
        window_seconds=budget.window_seconds,
        remaining=standing.remaining,
        reset=standing.reset,
    )
    return Answer(200, Me(organization_id=key.organization_id, key=shown, rate_limit=limit))


def me_operation() -> Operation:
    """Return the operation."""
    return Operation(
        "GET",
        "/v1/me",
        name="get_me",
        summary="Who am I?",
        description="The organization, the key and its rate limit.",
        tag="keys",
        scope=None,
        handler=show_me,
        answers={200: Me},
    )
