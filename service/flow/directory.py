"""The directory: who subscribed to what, in memory, never trusted past the version the database confirms."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping

from service.core.subscription import (
    Endpoint,
    OrganizationDirectory,
    Secret,
    StoredDirectory,
    StoredEndpoint,
    Subscription,
)
from service.ports import SecretBox, SecretUnopenableError, SubscriptionStore
from webhook_signature import VerificationError
from webhook_signature.sign import decode_secret


class Directory:
    """A bounded cache of organizations' directories.

    It never expires by time: the record and claim transactions report the version they saw, and a copy of another
    version is loaded again. An organization that does not exist is never remembered, so a new one is known at once.
    """

    def __init__(self, store: SubscriptionStore, secret_box: SecretBox, *, organizations_max: int = 10_000) -> None:
        self._store = store
        self._secret_box = secret_box
        self._organizations_max = organizations_max
        self._known: OrderedDict[str, OrganizationDirectory] = OrderedDict()

    async def of(self, organization_ids: Collection[str]) -> Mapping[str, OrganizationDirectory]:
        """The directories of those organizations that exist, in one load for all that are not in memory."""
        found = {each: self._known[each] for each in organization_ids if each in self._known}
        missing = set(organization_ids) - found.keys()
        if missing:  # others may forget or evict while we wait: what we hold is ours
            found |= await self._load(missing)
        return found

    async def at(self, versions: Mapping[str, int]) -> Mapping[str, OrganizationDirectory]:
        """The directories as they stood at these versions, or later."""
        self.forget(
            each for each, version in versions.items() if each in self._known and self._known[each].version < version
        )
        return await self.of(versions.keys())

    def forget(self, organization_ids: Iterable[str]) -> None:
        """Drop copies that are known to be stale."""
        for each in tuple(organization_ids):
            self._known.pop(each, None)

    async def _load(self, organization_ids: Collection[str]) -> dict[str, OrganizationDirectory]:
        stored = await self._store.load(organization_ids)
        loaded = {each.organization_id: self._opened(each) for each in stored}
        for organization_id, directory in loaded.items():
            self._known[organization_id] = directory
            self._known.move_to_end(organization_id)
        while len(self._known) > self._organizations_max:
            self._known.popitem(last=False)
        return loaded

    def _opened(self, stored: StoredDirectory) -> OrganizationDirectory:
        subscriptions = []
        for endpoint in stored.endpoints:
            opened = Endpoint(
                endpoint.id, stored.organization_id, endpoint.url, self._keys(stored, endpoint), endpoint.is_paused
            )
            subscriptions += [Subscription(number, event_type, opened) for number, event_type in endpoint.subscriptions]
        return OrganizationDirectory.of(stored.organization_id, stored.version, tuple(subscriptions))

    def _keys(self, stored: StoredDirectory, endpoint: StoredEndpoint) -> tuple[Secret, ...]:
        secrets = []
        for secret in endpoint.secrets:
            try:
                text = self._secret_box.open(
                    secret.sealed,
                    organization_id=stored.organization_id,
                    endpoint_id=endpoint.id,
                    secret_id=secret.id,
                )
                secrets.append(Secret(decode_secret(text), secret.expires_at))
            except (SecretUnopenableError, VerificationError):
                secrets.append(Secret(None, secret.expires_at))  # stops this endpoint alone, with reason "internal"
        return tuple(secrets)
