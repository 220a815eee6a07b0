"""Endpoints as people see them."""

from collections.abc import Sequence

import asyncpg

from service.adapters.postgres.endpoints.rows import LIST_ENDPOINTS, LIST_URLS, endpoint_of
from service.adapters.postgres.endpoints.store.work import EndpointWork
from service.adapters.postgres.endpoints.urls import find_by_url, forms_of
from service.adapters.postgres.engine import driver
from service.core.endpoints.refusals import NoSuchEndpoint
from service.core.endpoints.url import masked_url
from service.core.endpoints.view import LISTED, EndpointFilter, EndpointUrl, EndpointView
from service.core.walk import Walk
from service.ports.desk import TimeKeyset


class Reading(EndpointWork):
    """Endpoints as people see them."""

    async def find(self, organization_id: str, endpoint_id: str) -> EndpointView | NoSuchEndpoint:
        """The endpoint, even if it is gone."""
        async with driver(self._engine) as connection:
            return await self._read(connection, organization_id, endpoint_id) or NoSuchEndpoint(endpoint_id)

    async def at(self, organization_id: str, url: str) -> EndpointView | None:
        """The endpoint with exactly this URL; None if there is none, or it is gone."""
        async with driver(self._engine) as connection:
            known_id = await find_by_url(connection, self._secret_box, organization_id, url)
            return await self._read(connection, organization_id, known_id) if known_id is not None else None

    async def list(
        self, organization_id: str, walk: Walk[TimeKeyset], wanted: EndpointFilter = LISTED
    ) -> Sequence[EndpointView]:
        """The endpoints that are wanted, by (created_at, id)."""
        rows = await self._rows(LIST_ENDPOINTS[walk.is_descending], organization_id, walk, wanted)
        return [endpoint_of(row, self._secret_box) for row in rows]

    async def list_urls(
        self, organization_id: str, walk: Walk[TimeKeyset], wanted: EndpointFilter = LISTED
    ) -> Sequence[EndpointUrl]:
        """The same list with nothing but ids and masked URLs: no secret is opened, no subscription read."""
        rows = await self._rows(LIST_URLS[walk.is_descending], organization_id, walk, wanted)
        return [EndpointUrl(row["id"], masked_url(row["url"]), row["created_at"]) for row in rows]

    async def _rows(
        self, statement: str, organization_id: str, walk: Walk[TimeKeyset], wanted: EndpointFilter
    ) -> Sequence[asyncpg.Record]:
        async with driver(self._engine) as connection:
            url = wanted.url
            forms = None if url is None else await forms_of(connection, self._secret_box, organization_id, url)
            place = (*(walk.beside or (None, None)), walk.limit)
            rows: Sequence[asyncpg.Record] = await connection.fetch(
                statement, organization_id, forms, list(wanted.states), *place, wanted.search, wanted.is_failing
            )
        return rows
