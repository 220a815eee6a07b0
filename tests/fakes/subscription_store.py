"""Organizations, endpoints and subscriptions in memory: what the flow reads, and what an administrator changes."""

import asyncio
import base64
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from service.core.endpoints.auth import write_auth
from service.core.endpoints.directory import DirectoryPage, Place
from service.core.endpoints.endpoint import StoredEndpoint, StoredSecret
from service.core.endpoints.gates.gate import OPENED_BY_PEOPLE
from service.core.endpoints.view import RemovalReason
from service.core.events.own_types.own_type import OwnEventType
from service.ports.secrets import SecretBox
from tests.fakes.database import EndpointRow, MemoryDatabase, SubscriptionRow


class MemorySubscriptionStore:
    """The SubscriptionStore port."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.loads: list[frozenset[str]] = []
        self.reads: list[frozenset[str]] = []
        self.is_changing: set[str] = set()  # organizations that change whenever they have been loaded
        self.may_load = asyncio.Event()  # cleared: a load waits
        self.may_load.set()
        self.load_began = asyncio.Event()

    async def load(self, places: Mapping[str, Place], *, endpoints_max: int) -> Sequence[DirectoryPage]:
        self.loads.append(frozenset(places))
        self.load_began.set()
        await self.may_load.wait()
        known = self._database.versions
        pages = [self._database.page(each, place, endpoints_max) for each, place in places.items() if each in known]
        for each in self.is_changing & places.keys():
            self._database.directory_changed(each)
        return pages

    async def endpoints(self, endpoint_ids: Collection[str]) -> Sequence[tuple[str, StoredEndpoint]]:
        self.reads.append(frozenset(endpoint_ids))
        rows = [row for row in self._database.endpoints.values() if row.id in endpoint_ids and not row.is_removed]
        return [(row.organization_id, self._database.stored(row.id)) for row in rows]

    async def ended(self, subscription_ids: Collection[int]) -> Mapping[int, RemovalReason]:
        rows = [self._database.subscriptions[each] for each in subscription_ids if each in self._database.subscriptions]
        return {row.id: RemovalReason(row.removed_because) for row in rows if row.removed_because is not None}


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint as it was made; the one time its secret is shown."""

    id: str
    url: str
    event_types: tuple[str, ...]
    secret: str


class MemoryAdministration:
    """The changes an organization makes, each with a new directory version."""

    def __init__(self, database: MemoryDatabase, secret_box: SecretBox) -> None:
        self._database = database
        self._secret_box = secret_box

    async def create_organization(self, organization_id: str) -> None:
        self._database.versions.setdefault(organization_id, 1)

    async def register_event_type(self, organization_id: str, name: str, schema: str) -> None:
        self._database.event_types.setdefault(organization_id, {})[name] = OwnEventType(name, schema)
        self._database.directory_changed(organization_id)

    async def add_endpoint(
        self, organization_id: str, url: str, event_types: Collection[str], secret: str | None = None
    ) -> NewEndpoint:
        number = len(self._database.endpoints) + 1
        endpoint_id = f"ep_{number}"
        secret = secret or "whsec_" + base64.b64encode(f"key of endpoint {number:016}".encode()).decode()
        secret_id = f"sec_{number}"
        sealed = self._secret_box.seal(
            secret, organization_id=organization_id, endpoint_id=endpoint_id, secret_id=secret_id
        )
        secrets = (StoredSecret(secret_id, sealed),)
        self._database.endpoints[endpoint_id] = EndpointRow(endpoint_id, organization_id, url, secrets)
        for event_type in event_types:
            subscription_id = len(self._database.subscriptions) + 1
            self._database.subscriptions[subscription_id] = SubscriptionRow(subscription_id, endpoint_id, event_type)
        self._database.directory_changed(organization_id)
        return NewEndpoint(endpoint_id, url, tuple(event_types), secret)

    async def set_endpoint(self, endpoint_id: str, **settings: Any) -> None:
        """What the endpoint asks for: fields of ``StoredEndpoint``, with ``headers`` and ``auth`` in the clear."""
        endpoint = self._database.endpoints[endpoint_id]
        if "headers" in settings:
            settings["sealed_headers"] = self._secret_box.seal(
                json.dumps(settings.pop("headers")),
                organization_id=endpoint.organization_id,
                endpoint_id=endpoint_id,
                secret_id="headers",
            )
        if "auth" in settings:
            settings["sealed_auth"] = self._secret_box.seal(
                write_auth(settings.pop("auth")),
                organization_id=endpoint.organization_id,
                endpoint_id=endpoint_id,
                secret_id="auth",
            )
        endpoint.settings |= settings
        limits = [endpoint.settings.get(name) for name in ("rate_limit_per_second", "max_in_flight")]
        self._database.set_limits(endpoint_id, *limits)
        self._database.directory_changed(endpoint.organization_id)

    async def limit_endpoint(
        self, endpoint_id: str, *, per_second: float | None = None, in_flight: int | None = None
    ) -> None:
        await self.set_endpoint(endpoint_id, rate_limit_per_second=per_second, max_in_flight=in_flight)

    async def order_endpoint(
        self, endpoint_id: str, order_by: str | None, *, wait_seconds: float | None = None
    ) -> None:
        self._database.order_waits[endpoint_id] = wait_seconds
        await self.set_endpoint(endpoint_id, order_by=order_by)

    async def remove_endpoint(self, organization_id: str, endpoint_id: str) -> bool:
        endpoint = self._database.endpoints.get(endpoint_id)
        if endpoint is None or endpoint.is_removed or endpoint.organization_id != organization_id:
            return False
        self._database.end_endpoint(endpoint_id, RemovalReason.DELETED)
        return True

    async def pause_endpoint(self, organization_id: str, endpoint_id: str, paused: bool) -> bool:  # noqa: FBT001
        endpoint = self._database.endpoints.get(endpoint_id)
        if endpoint is None or endpoint.is_removed or endpoint.organization_id != organization_id:
            return False
        endpoint.is_paused = paused
        if paused:
            self._database.gates[endpoint_id, "paused"] = inf
        else:
            known = self._database.breakers.get(endpoint_id)
            if known is not None:
                self._database.set_breaker(endpoint_id, known.resumed(self._database.clock.now()))
            for kind in OPENED_BY_PEOPLE:
                self._database.gates.pop((endpoint_id, kind), None)
        self._database.directory_changed(organization_id)
        return True
