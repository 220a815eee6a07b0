"""Organizations, endpoints and subscriptions in memory: what the flow reads, and what an administrator changes."""

import base64
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from service.core.endpoints.directory import StoredDirectory
from service.core.endpoints.endpoint import StoredSecret
from service.core.events.own_type import OwnEventType
from service.core.reason import Reason
from service.ports.secrets import SecretBox
from tests.fakes.database import EndpointRow, MemoryDatabase, SubscriptionRow


class MemorySubscriptionStore:
    """The SubscriptionStore port."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.loads: list[frozenset[str]] = []

    async def load(self, organization_ids: Collection[str]) -> Sequence[StoredDirectory]:
        self.loads.append(frozenset(organization_ids))
        return [self._database.directory(each) for each in organization_ids if each in self._database.versions]


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
        """What the endpoint asks for: fields of ``StoredEndpoint``, with ``headers`` in the clear."""
        endpoint = self._database.endpoints[endpoint_id]
        if "headers" in settings:
            settings["sealed_headers"] = self._secret_box.seal(
                json.dumps(settings.pop("headers")),
                organization_id=endpoint.organization_id,
                endpoint_id=endpoint_id,
                secret_id="headers",
            )
        endpoint.settings |= settings
        self._database.directory_changed(endpoint.organization_id)

    async def remove_endpoint(self, organization_id: str, endpoint_id: str) -> bool:
        endpoint = self._database.endpoints.get(endpoint_id)
        if endpoint is None or endpoint.is_removed or endpoint.organization_id != organization_id:
            return False
        endpoint.is_removed = True
        for subscription in self._database.subscriptions.values():
            if subscription.endpoint_id == endpoint_id and subscription.removed_because is None:
                subscription.removed_because = "deleted"
                self._database.cancel_pending(subscription.id, Reason.SUBSCRIPTION_DELETED)
        self._database.directory_changed(organization_id)
        return True

    async def pause_endpoint(self, organization_id: str, endpoint_id: str, paused: bool) -> bool:  # noqa: FBT001
        endpoint = self._database.endpoints.get(endpoint_id)
        if endpoint is None or endpoint.is_removed or endpoint.organization_id != organization_id:
            return False
        endpoint.is_paused = paused
        if paused:
            self._database.gates[endpoint_id, "paused"] = inf
        else:
            self._database.gates.pop((endpoint_id, "paused"), None)
        self._database.directory_changed(organization_id)
        return True
