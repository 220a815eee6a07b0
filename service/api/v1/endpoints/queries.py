"""Query parameters of the reads of endpoints."""

from typing import Annotated, Final

from pydantic import Field, WithJsonSchema

from service.api.lists.page import OrderedQuery
from service.api.lists.several import Several
from service.api.validation import QueryModel
from service.core.endpoints.view import LISTED_STATES, EndpointFilter, EndpointState

SEARCH_CHARACTERS_MAX: Final = 200

State = Annotated[EndpointState, WithJsonSchema({"type": "string", "enum": [each.value for each in EndpointState]})]


class EndpointUrlsQuery(OrderedQuery):
    """Which endpoints to list."""

    state: Several[State] | None = Field(
        default=None,
        description="Only endpoints in this state, or in one of these. Those that are `gone` or `expired` are listed "
        "only if they are asked for.",
        examples=[["paused", "disabled"]],
    )
    failing: bool | None = Field(
        default=None,
        description="`true`: only endpoints whose newest attempt failed, as `GET /v1/stats` counts them; `false`: only "
        "the others.",
        examples=[True],
    )
    search: str | None = Field(
        default=None,
        min_length=1,
        max_length=SEARCH_CHARACTERS_MAX,
        description="Only endpoints with this text, in any case, in their description or in their URL before its "
        "query; or the one with this id.",
        examples=["crm"],
    )

    def wanted(self, url: str | None = None) -> EndpointFilter:
        """The same for the desk."""
        return EndpointFilter(self.state or LISTED_STATES, url, self.search, self.failing)


class EndpointsQuery(EndpointUrlsQuery):
    """The same, and one by its URL."""

    url: str | None = Field(
        default=None, description="Only the endpoint with exactly this URL. One with a query needs the scope `write`."
    )


class StatsQuery(QueryModel):
    """The period to count."""

    hours: int = Field(
        default=24, ge=1, le=168, description="How many hours back to count, by when the event was received."
    )
