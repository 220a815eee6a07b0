"""``/v1/stats``: deliveries over time and what stands in their way, for pages, wall boards and scripts."""

from typing import Final

from service.api.operation import Answer, Call, Operation
from service.api.v1.endpoints.paths import granted
from service.api.v1.stats.answers import EndpointsStats, StatsShown
from service.api.v1.stats.queries import EndpointsStatsQuery, StatsQuery
from service.core.stats.period import PERIODS
from service.ports.desk import EndpointDesk, StatsDesk

PATH: Final = "/v1/stats"
TAG: Final = "stats"


class StatsOperations:
    """Handlers of ``/v1/stats``."""

    def __init__(self, desk: StatsDesk, endpoints: EndpointDesk) -> None:
        self._desk = desk
        self._endpoints = endpoints

    async def show(self, call: Call) -> Answer:
        """Show the figures of a period."""
        query: StatsQuery = call.query
        if query.endpoint_id is not None:
            granted(await self._endpoints.find(call.organization_id, query.endpoint_id))
        found = await self._desk.overview(call.organization_id, PERIODS[query.period], query.endpoint_id)
        return Answer(200, StatsShown.of(query.period, found))

    async def of_endpoints(self, call: Call) -> Answer:
        """Show the last 24 hours of some endpoints."""
        query: EndpointsStatsQuery = call.query
        return Answer(200, EndpointsStats.of(await self._desk.sparklines(call.organization_id, query.endpoint_id)))

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "GET",
                PATH,
                name="get_stats",
                summary="Deliveries over time",
                description="Deliveries by when their events were received, counted by where they stand now; how fast "
                "receivers answer; what waits and why; which endpoints fail. What has just ended is counted at once, "
                "but for `healed`, which follows within seconds.",
                tag=TAG,
                scope="read",
                handler=self.show,
                query=StatsQuery,
                answers={200: StatsShown},
                problems=frozenset({404}),
            ),
            Operation(
                "GET",
                f"{PATH}/endpoints",
                name="list_endpoint_stats",
                summary="The last 24 hours of endpoints",
                description="By the hour, for up to 200 endpoints at once.",
                tag=TAG,
                scope="read",
                handler=self.of_endpoints,
                query=EndpointsStatsQuery,
                answers={200: EndpointsStats},
            ),
        )
