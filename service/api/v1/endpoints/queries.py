"""Query parameters of the reads of endpoints."""

from typing import Annotated, Final

from pydantic import Field, WithJsonSchema

from service.api.lists.page import OrderedQuery
from service.api.lists.several import Several
from service.api.validation import QueryModel
from service.core.endpoints.view import EndpointState

SEARCH_CHARACTERS_MAX: Final = 200

State = Annotated[EndpointState, WithJsonSchema({"type": "string", "enum": [each.value for each in EndpointState]})]


class EndpointUrlsQuery(OrderedQuery):
    """Which endpoints to list, by their states."""

    state: Several[State] | None = Field(
        default=None,
        description="Only endpoints in this state, or in one of these. Those that are `gone` or `expired` are listed "
        "only if they are asked for.",
        examples=[["paused", "disabled"]],
    )


class EndpointsQuery(EndpointUrlsQuery):
    """Which endpoints to list."""

    url: str | None = Field(
        default=None, description="Only the endpoint with exactly this URL. One with a query needs the scope `write`."
    )
    search: str | None = Field(
        default=None,
        min_length=1,
        max_length=SEARCH_CHARACTERS_MAX,
        description="Only endpoints with this text, in any case, in their description or in their URL before its "
        "query; or the one with this id.",
        examples=["crm"],
    )


class StatsQuery(QueryModel):
    """The period to count."""

    hours: int = Field(
        default=24, ge=1, le=168, description="How many hours back to count, by when the event was received."
    )
