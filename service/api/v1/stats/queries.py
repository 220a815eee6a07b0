"""Query parameters of figures."""

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from service.api.lists.several import once, split
from service.api.validation import QueryModel
from service.core.stats.period import PeriodName

ENDPOINTS_MAX: Final = 200

PeriodGiven = Annotated[PeriodName, WithJsonSchema({"type": "string", "enum": [each.value for each in PeriodName]})]


class StatsQuery(QueryModel):
    """Which figures."""

    period: PeriodGiven = Field(default=PeriodName.DAY, description="How far back, by when the event was received.")
    endpoint_id: str | None = Field(default=None, description="Only this endpoint.", examples=["ep_7k2m9x4c1v8b3n6h"])


class EndpointsStatsQuery(QueryModel):
    """Which endpoints."""

    endpoint_id: Annotated[
        list[str], BeforeValidator(split), AfterValidator(once), Field(min_length=1, max_length=ENDPOINTS_MAX)
    ] = Field(description="These endpoints, separated by commas.", examples=[["ep_7k2m9x4c1v8b3n6h"]])
