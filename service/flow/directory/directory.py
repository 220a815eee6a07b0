"""The directory: who subscribed to what, kept in memory, and used only at the version the database confirms."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeGuard

from service.core.endpoints.directory import BEGINNING, DirectoryPage, OrganizationDirectory, let_through
from service.core.endpoints.endpoint import Endpoint, StoredEndpoint
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule
from service.core.endpoints.subscription import Subscription
from service.core.endpoints.view import RemovalReason
from service.core.reason import Reason
from service.flow.directory.opening import Opening
from service.ports.errors import UnavailableError
from service.ports.secrets import SecretBox
from service.ports.store import Claimed, SubscriptionStore

ON_THE_ROAD_MAX = 2_000
"""Endpoints read while events wait, of all organizations together; what is more is read beside the road."""
ON_THE_ROAD_MIN = 10
"""The least that is read of each organization."""
PAGE_MAX = 500
"""Endpoints read at a time beside the road: some 5 ms of the event loop's time."""
ENDPOINTS_MAX = 50_000
"""Endpoints kept, of all organizations together: some 100 MB."""

Slices = Callable[[], Callable[[], Awaitable[None]]]
"""``Surroundings.slices``: keeps long work from holding the event loop up."""


async def _no_slice() -> None:
    return


class Directory:
    """A bounded cache of organizations' directories.

    Entries do not expire by time: the record and claim transactions report the version they saw, and a copy with
    another version reads what has changed. Missing organizations are not cached, so a new one is known at once.

    Events never wait for a large directory: one page is read at once, the rest beside the road. Until then its copy has
    no version, its events are fanned out from the database, and its claims read their endpoints one by one.
    """

    def __init__(
        self,
        store: SubscriptionStore,
        secret_box: SecretBox,
        *,
        schedule: RetrySchedule = STANDARD,
        slices: Slices = lambda: _no_slice,
        organizations_max: int = 10_000,
        endpoints_max: int = ENDPOINTS_MAX,
    ) -> None:
        self._store = store
        self._open = Opening(secret_box, schedule)
        self._slices = slices
        self._organizations_max = organizations_max
        self._endpoints_max = endpoints_max
        self._endpoint_count = 0
        self._known: OrderedDict[str, OrganizationDirectory] = OrderedDict()
        self._stale: set[str] = set()
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._beside_the_road = asyncio.Semaphore(1)

    # ------------------------------------------------------------------ who subscribed

    async def of(self, organization_ids: Collection[str]) -> Mapping[str, OrganizationDirectory]:
        """The directories of the organizations that exist. Of those unknown or stale one page is read, all at once."""
        found = {each: self._known[each] for each in organization_ids if each in self._known}
        for each in found:
            self._known.move_to_end(each)
        wanted = {each for each in organization_ids if each not in found or each in self._stale}
        if wanted:  # others may evict entries while this waits; ``found`` is not affected
            read = await self._read(wanted)
            found = {**{each: known for each, known in found.items() if each not in wanted}, **read}
        return found

    def at_hand(self, organization_id: str) -> OrganizationDirectory | None:
        """The directory, if ``of`` would not read for it."""
        return None if organization_id in self._stale else self._known.get(organization_id)

    def forget(self, organization_ids: Iterable[str]) -> None:
        """These copies are stale: the next use reads what has changed."""
        self._stale.update(each for each in organization_ids if each in self._known)

    async def matching(
        self, directory: OrganizationDirectory, event_type: str, body: bytes, now: datetime
    ) -> tuple[Subscription, ...] | None:
        """The subscriptions that get an event of this (registered) type now, at most one for each endpoint.

        None if they are many or not all known: then the event is fanned out from the database.
        """
        subscriptions = directory.ready(event_type)
        if subscriptions is None:
            asking, version = directory.asking(event_type), directory.version
            if asking is None:
                return None
            opened = await self._opened(directory, [each.stored for each in asking])
            subscriptions = tuple(
                Subscription(each.subscription_id, each.pattern, endpoint)
                for each, endpoint in zip(asking, opened, strict=True)
            )
            directory.keep_ready(event_type, subscriptions, version)
        return let_through(subscriptions, body, now)

    # ------------------------------------------------------------------ where to send

    async def serving(self, claims: Sequence[Claimed]) -> Sequence[Subscription | None]:
        """Each claim's subscription, as of its directory version or later; None if it has ended."""
        versions = {claim.delivery.organization_id: claim.directory_version for claim in claims}
        self.forget(each for each, version in versions.items() if self._is_behind(each, version))
        directories = await self.of(versions.keys())
        usable = {
            each: known
            for each, known in directories.items()
            if known.version is not None and known.version >= versions[each]
        }
        others = {claim.delivery.endpoint_id for claim in claims if claim.delivery.organization_id not in usable}
        read = {stored.id: stored for _, stored in await self._store.endpoints(others)} if others else {}
        take_turns = self._slices()
        found: list[Subscription | None] = []
        for claim in claims:
            delivery = claim.delivery
            directory = usable.get(delivery.organization_id)
            stored = directory.find(delivery.endpoint_id) if directory else read.get(delivery.endpoint_id)
            pattern = dict(stored.subscriptions).get(delivery.key.subscription_id) if stored else None
            if stored is None or pattern is None:
                found.append(None)
                continue
            endpoint = self._endpoint(directory, delivery.organization_id, stored)
            found.append(Subscription(delivery.key.subscription_id, pattern, endpoint))
            await take_turns()
        return found

    async def cancelling(self, subscription_ids: Collection[int]) -> Mapping[int, Reason]:
        """Why deliveries to these subscriptions, which ``serving`` did not find, are cancelled; read when it is so."""
        ended = await self._store.ended(subscription_ids)
        return {each: ended.get(each, RemovalReason.DELETED).cancels for each in subscription_ids}

    async def subscriptions_of(self, organization_id: str, endpoint_id: str) -> Sequence[Subscription]:
        """The endpoint's subscriptions as they are now, read from the database."""
        return [
            Subscription(number, pattern, self._open(organization_id, stored))
            for owner, stored in await self._store.endpoints([endpoint_id])
            for number, pattern in stored.subscriptions
            if owner == organization_id
        ]

    def _is_behind(self, organization_id: str, version: int) -> bool:
        """Whether a copy is older than ``version``. One that is still being read is not: it reads on by itself."""
        known = self._known.get(organization_id)
        return known is not None and known.version is not None and known.version < version

    async def _opened(self, directory: OrganizationDirectory, wanted: Sequence[StoredEndpoint]) -> Sequence[Endpoint]:
        take_turns, opened = self._slices(), []
        for stored in wanted:
            opened.append(self._endpoint(directory, directory.organization_id, stored))
            await take_turns()
        return opened

    def _endpoint(
        self, directory: OrganizationDirectory | None, organization_id: str, stored: StoredEndpoint
    ) -> Endpoint:
        endpoint = directory.opened(stored) if directory is not None else None
        if endpoint is None:
            endpoint = self._open(organization_id, stored)
            if directory is not None:
                directory.keep_opened(stored, endpoint)
        return endpoint

    # ------------------------------------------------------------------ reading

    async def _read(self, organization_ids: Collection[str]) -> Mapping[str, OrganizationDirectory]:
        """Read one page of each."""
        places = {each: self._known[each].place if each in self._known else BEGINNING for each in organization_ids}
        self._stale.difference_update(places)  # what changes from here on makes it stale again
        try:
            limit = max(ON_THE_ROAD_MIN, ON_THE_ROAD_MAX // len(places))
            pages = await self._store.load(places, endpoints_max=limit)
        except BaseException:
            self.forget(places)
            raise
        read = {page.organization_id: self._take(page) for page in pages}
        for each in places.keys() - read.keys():
            self._drop(each)
        return read

    def _take(self, page: DirectoryPage) -> OrganizationDirectory:
        organization_id = page.organization_id
        directory = self._known.get(organization_id)
        if directory is None:
            directory = self._known[organization_id] = OrganizationDirectory(organization_id)
        self._known.move_to_end(organization_id)
        self._endpoint_count -= directory.endpoint_count
        directory.take(page)
        self._endpoint_count += directory.endpoint_count
        self._make_room(directory)
        if _is_partial(directory) and organization_id not in self._loading:
            self._loading[organization_id] = asyncio.create_task(self._read_on(organization_id))
        return directory

    async def _read_on(self, organization_id: str) -> None:
        """Read the rest beside the road, one organization after the other."""
        take_turns, is_done = self._slices(), False
        try:
            async with self._beside_the_road:
                while _is_partial(directory := self._known.get(organization_id)):
                    pages = await self._store.load({organization_id: directory.place}, endpoints_max=PAGE_MAX)
                    for page in pages:
                        self._take(page)
                    if not pages:
                        self._drop(organization_id)
                    await take_turns()
                is_done = True
        except UnavailableError:
            pass  # the next event begins again, from where this has come
        finally:
            del self._loading[organization_id]
            if not is_done:
                self.forget([organization_id])

    def _make_room(self, newest: OrganizationDirectory) -> None:
        while len(self._known) > self._organizations_max or self._endpoint_count > self._endpoints_max:
            oldest = next(iter(self._known))
            if self._known[oldest] is newest:  # alone, it is too large to be kept
                self._endpoint_count -= newest.endpoint_count
                newest.give_up()
                return
            self._drop(oldest)

    def _drop(self, organization_id: str) -> None:
        known = self._known.pop(organization_id, None)
        self._stale.discard(organization_id)
        if known is not None:
            self._endpoint_count -= known.endpoint_count


def _is_partial(directory: OrganizationDirectory | None) -> TypeGuard[OrganizationDirectory]:
    """Whether there is more to read."""
    return directory is not None and directory.version is None and not directory.is_too_large
