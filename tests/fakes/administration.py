"""How tests set organizations and endpoints up: through the service's own writer, with rules that allow this machine."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.exit.certificates import read_certificate
from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import driver
from service.adapters.postgres.events.types import EventTypeStore
from service.core.endpoints.retry_schedule import STANDARD
from service.core.endpoints.rules import EndpointRules
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.target_policy import EgressPolicy, parse_cidr_rule
from service.core.endpoints.view import Changed, EndpointFilter, EndpointState, EndpointView, Registered
from service.core.walk import Walk
from service.ports.secrets import SecretBox
from tests.fakes.actor import SOMEBODY

LOOPBACK_ALLOWED = EndpointRules(
    EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"),), allow_http=True), STANDARD, 15.0, read_certificate
)


@dataclass(frozen=True, slots=True)
class AddedEndpoint:
    """An endpoint with the secret it signs with; "" where it was there already."""

    id: str
    url: str
    event_types: tuple[str, ...]
    secret: str


class Administration:
    """What an operator and a subscriber do, in a test's words. Whatever is refused fails the test."""

    def __init__(self, engine: AsyncEngine, secret_box: SecretBox) -> None:
        self._engine = engine
        self._endpoints = EndpointStore(engine, secret_box, LOOPBACK_ALLOWED)

    async def create_organization(self, organization_id: str) -> None:
        await OrganizationStore(self._engine).create(organization_id, by=SOMEBODY)

    async def register_event_type(self, organization_id: str, name: str, schema: str) -> None:
        await EventTypeStore(self._engine).register(organization_id, name, "", schema, None, by=SOMEBODY)

    async def add_endpoint(
        self, organization_id: str, url: str, event_types: Collection[str], secret: str | None = None
    ) -> AddedEndpoint:
        wish = EndpointWish({"url": url, "event_types": list(event_types), "secret": secret})
        made = await self._endpoints.subscribe(organization_id, wish, by=SOMEBODY)
        assert isinstance(made, Registered), made
        return AddedEndpoint(
            made.endpoint.id, url, made.endpoint.settings.event_types, (made.new_secret and made.new_secret.text) or ""
        )

    async def list_endpoints(self, organization_id: str) -> Sequence[EndpointView]:
        return await self._endpoints.list(organization_id, Walk(1_000), EndpointFilter(list(EndpointState)))

    async def remove_endpoint(self, organization_id: str, endpoint_id: str) -> bool:
        """Whether there was one to remove."""
        was_there = isinstance(await self._endpoints.find(organization_id, endpoint_id), EndpointView)
        await self._endpoints.remove(organization_id, endpoint_id, by=SOMEBODY)
        return was_there

    async def limit_endpoint(
        self, endpoint_id: str, *, per_second: float | None = None, in_flight: int | None = None
    ) -> None:
        await self._change(endpoint_id, rate_limit_per_second=per_second, max_in_flight=in_flight)

    async def order_endpoint(
        self, endpoint_id: str, order_by: str | None, *, wait_seconds: float | None = None
    ) -> None:
        await self._change(endpoint_id, order_by=order_by, order_wait_seconds=wait_seconds)

    async def end_endpoint_at(self, endpoint_id: str, valid_until: datetime) -> None:
        await self._change(endpoint_id, valid_until=valid_until)

    async def _change(self, endpoint_id: str, **given: object) -> None:
        wish = EndpointWish(given)
        async with driver(self._engine) as connection:
            owner = await connection.fetchval("SELECT organization_id FROM endpoints WHERE id = $1", endpoint_id)
        changed = await self._endpoints.change(owner, endpoint_id, wish, by=SOMEBODY)
        assert isinstance(changed, Changed), changed

    async def pause_endpoint(self, organization_id: str, endpoint_id: str, paused: bool) -> bool:  # noqa: FBT001
        outcome = await self._endpoints.set_paused(organization_id, endpoint_id, is_paused=paused, by=SOMEBODY)
        return isinstance(outcome, EndpointView)
