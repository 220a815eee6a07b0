"""The directory: who subscribed to what, cached in memory, and used only at the version the database confirms."""

import json
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from service.core.endpoints.custom_headers import judge_headers
from service.core.endpoints.directory import OrganizationDirectory, StoredDirectory
from service.core.endpoints.endpoint import SEALED_HEADERS_ID, Endpoint, Secret, StoredEndpoint
from service.core.endpoints.filter import Filter, FilterRefused, parse_filter
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule, read_retry
from service.core.endpoints.subscription import Subscription
from service.ports.errors import SecretUnopenableError
from service.ports.secrets import SecretBox
from service.ports.store import SubscriptionStore
from webhook_signature import VerificationError
from webhook_signature.styles import Style, style_named


class Directory:
    """A bounded cache of organizations' directories.

    Entries do not expire by time: the record and claim transactions report the version they saw, and a copy with
    another version is reloaded. Missing organizations are not cached, so a new one is known at once.
    ``schedule`` is the service's own; its age limit bounds an endpoint's schedule.
    """

    def __init__(
        self,
        store: SubscriptionStore,
        secret_box: SecretBox,
        *,
        schedule: RetrySchedule = STANDARD,
        organizations_max: int = 10_000,
    ) -> None:
        self._store = store
        self._secret_box = secret_box
        self._schedule = schedule
        self._organizations_max = organizations_max
        self._known: OrderedDict[str, OrganizationDirectory] = OrderedDict()

    async def of(self, organization_ids: Collection[str]) -> Mapping[str, OrganizationDirectory]:
        """The directories of the organizations that exist; all that are not cached are loaded at once."""
        found = {each: self._known[each] for each in organization_ids if each in self._known}
        missing = set(organization_ids) - found.keys()
        if missing:  # others may forget or evict entries while this waits; ``found`` is not affected
            found |= await self._load(missing)
        return found

    async def at(self, versions: Mapping[str, int]) -> Mapping[str, OrganizationDirectory]:
        """The directories at these versions or later."""
        self.forget(
            each for each, version in versions.items() if each in self._known and self._known[each].version < version
        )
        return await self.of(versions.keys())

    def forget(self, organization_ids: Iterable[str]) -> None:
        """Drop copies known to be stale."""
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
            opened = self._endpoint(stored.organization_id, endpoint)
            subscriptions += [Subscription(number, event_type, opened) for number, event_type in endpoint.subscriptions]
        return OrganizationDirectory.of(
            stored.organization_id, stored.version, tuple(subscriptions), stored.event_types
        )

    def _endpoint(self, organization_id: str, stored: StoredEndpoint) -> Endpoint:
        """Unseal and parse the endpoint's settings. If that fails, only this endpoint stops, with reason "internal".

        The filter of such an endpoint is ignored: unwanted deliveries can be cancelled later, missing ones are lost.
        """
        endpoint = Endpoint(stored.id, organization_id, stored.url, (), stored.is_paused)
        try:
            style = style_named(stored.signature_style, stored.signature_header)
            return replace(
                endpoint,
                secrets=self._secrets(organization_id, stored, style),
                headers=self._headers(organization_id, stored),
                style=style,
                filter=_filter(stored.filter),
                schedule=self._retry(stored.retry),
                timeout_seconds=stored.timeout_seconds,
            )
        except (SecretUnopenableError, ValueError) as error:
            return replace(endpoint, problem=f"a setting of this endpoint is unreadable: {error}")

    def _secrets(self, organization_id: str, stored: StoredEndpoint, style: Style) -> tuple[Secret, ...]:
        secrets = []
        for secret in stored.secrets:
            try:
                text = self._secret_box.open(
                    secret.sealed, organization_id=organization_id, endpoint_id=stored.id, secret_id=secret.id
                )
                secrets.append(Secret(style.decode_secret(text), secret.expires_at))
            except (SecretUnopenableError, VerificationError):
                secrets.append(Secret(None, secret.expires_at))  # stops the endpoint until the secret expires
        return tuple(secrets)

    def _headers(self, organization_id: str, stored: StoredEndpoint) -> Mapping[str, str]:
        if stored.sealed_headers is None:
            return {}
        text = self._secret_box.open(
            stored.sealed_headers, organization_id=organization_id, endpoint_id=stored.id, secret_id=SEALED_HEADERS_ID
        )
        headers: dict[str, str] = json.loads(text)
        problems = judge_headers(headers)
        if problems:  # they were not written through the API: send none of them
            raise ValueError(f"the headers {sorted(problems)} cannot be sent")
        return headers

    def _retry(self, stored: object) -> RetrySchedule | None:
        schedule = None if stored is None else read_retry(stored, self._schedule)
        if isinstance(schedule, str):
            raise ValueError(f"retry {schedule}")  # noqa: TRY004 - the stored value is invalid, not its Python type
        return schedule


def _filter(stored: object) -> Filter | None:
    parsed = None if stored is None else parse_filter(stored)
    if isinstance(parsed, FilterRefused):
        raise ValueError(f"filter {dict(parsed.problems)}")  # noqa: TRY004 - the same
    return parsed
