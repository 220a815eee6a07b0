"""What an import would do, and doing it: the same steps, so that a dry run shows what will be done."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.events.types import EventTypeStore
from service.adapters.system import command_actor
from service.cli.database import endpoint_store
from service.cli.terminal import CommandError
from service.core.endpoints.refusals import CapReached, InvalidWish, UrlTaken
from service.core.endpoints.rules import EndpointRules
from service.core.endpoints.settings import NOTHING_ASKED, EndpointSettings, EndpointWish, differing
from service.core.endpoints.view import EndpointState, EndpointView, NewSecret, Registered
from service.core.imports.foreign import Foreign, Names
from service.core.walk import Walk
from service.settings import Settings

PAGE_SIZE: Final = 200
SCHEMA_OF_ANY_DATA: Final = '{"type":"object"}'

_MAY_BE_LEFT_OUT: Final = frozenset({"timeout_seconds", "rate_limit_per_second"})
"""Limits that may be beyond ours: without them the endpoint gets its events all the same."""


class What(StrEnum):
    """What becomes of an endpoint of the other service."""

    NEW = "new"
    MORE = "more types"
    SAME = "same"
    DIFFERS = "differs"
    REFUSED = "refused"
    NOT_DONE = "not done"


@dataclass(frozen=True, slots=True)
class Row:
    """One of them. ``event_types`` are our names; ``new_secret`` is set once it has been made."""

    foreign: Foreign
    what: What
    event_types: tuple[str, ...]
    notes: tuple[str, ...]
    endpoint_id: str | None = None
    new_secret: NewSecret | None = None


class Import:
    """An import into an organization. ``adds``: an endpoint that is here gets event types added, else it stays.

    ``done`` are the rows that were applied, with the secrets that were made.
    """

    def __init__(self, engine: AsyncEngine, settings: Settings, organization_id: str, *, adds: bool) -> None:
        self._endpoints: EndpointStore = endpoint_store(engine, settings)
        self._types = EventTypeStore(engine, settings.caps)
        self._rules: EndpointRules = settings.endpoint_rules
        self._organization_id = organization_id
        self._adds = adds
        self.done: list[Row] = []

    async def own_event_types(self) -> frozenset[str]:
        """The names of the event types that the organization has registered."""
        return await self._types.names(self._organization_id)

    async def plan(self, found: Sequence[Foreign], names: Names) -> Sequence[Row]:
        """What would become of each."""
        own = {*await self.own_event_types(), *names.new}
        here = {each.settings.url: each async for each in self._all()} if found else {}
        return [self._judged(each, names, own, here) for each in found]

    async def register(self, names: Names, origin: str) -> None:
        """Register the new event types, for any data. Raises ``CommandError`` at the organization's limit."""
        for name in names.new:
            done = await self._types.register(
                self._organization_id, name, f"Imported from {origin}.", SCHEMA_OF_ANY_DATA, "{}", by=command_actor()
            )
            if isinstance(done, CapReached):
                raise CommandError(f"{name}: {done.sentence}. What was imported so far stays; run this again.")

    async def apply(self, row: Row) -> None:
        """Do it. Done again, it changes nothing."""
        made = await self._taken(row) if row.what in _TO_DO else row
        self.done.append(made)  # before anything else can fail: its secret is shown only now
        if row.foreign.is_paused and made.new_secret is not None and made.endpoint_id is not None:
            await self._endpoints.set_paused(
                self._organization_id, made.endpoint_id, is_paused=True, by=command_actor()
            )

    async def _taken(self, row: Row) -> Row:
        take = self._endpoints.subscribe if self._adds else self._endpoints.create
        made = await take(self._organization_id, EndpointWish(_given(row)), by=command_actor())
        if isinstance(made, UrlTaken):
            return replace(row, what=What.DIFFERS, notes=(*row.notes, made.sentence))
        if not isinstance(made, Registered):
            why = _sentences(made.problems) if isinstance(made, InvalidWish) else (made.sentence,)
            return replace(row, what=What.REFUSED, notes=(*row.notes, *why))
        what = What.NEW if made.new_secret is not None else What.MORE if made.added else What.SAME
        return replace(row, what=what, endpoint_id=made.endpoint.id, new_secret=made.new_secret)

    async def _all(self) -> AsyncIterator[EndpointView]:
        after = None
        while page := await self._endpoints.list(self._organization_id, Walk(PAGE_SIZE, after)):
            for each in page:
                yield each
            after = (page[-1].created_at, page[-1].id)

    def _judged(self, foreign: Foreign, names: Names, own: set[str], here: Mapping[str, EndpointView]) -> Row:
        event_types = tuple(dict.fromkeys(names.ours.get(each, each) for each in foreign.event_types))
        row = Row(foreign, What.NEW, event_types, foreign.differs)
        if bad := [f"{each}: {names.problems[each]}" for each in foreign.event_types if each in names.problems]:
            return replace(row, what=What.REFUSED, notes=tuple(bad))
        granted = self._rules.judge(EndpointWish(_given(row)), NOTHING_ASKED, own, now=datetime.now(UTC))
        if isinstance(granted, InvalidWish) and granted.problems.keys() <= _MAY_BE_LEFT_OUT:
            kept = {name: value for name, value in foreign.given.items() if name not in granted.problems}
            left_out = tuple(f"left out: {each}" for each in _sentences(granted.problems))
            return self._judged(replace(foreign, given=kept, differs=(*foreign.differs, *left_out)), names, own, here)
        if isinstance(granted, InvalidWish):
            return replace(row, what=What.REFUSED, notes=_sentences(granted.problems))
        known = here.get(foreign.url)
        return row if known is None else self._beside(row, known, granted.settings)

    def _beside(self, row: Row, known: EndpointView, wanted: EndpointSettings) -> Row:
        """What becomes of one whose URL is here already."""
        row = replace(row, endpoint_id=known.id)
        if row.foreign.is_paused and known.state is EndpointState.ACTIVE:
            row = replace(row, notes=(*row.notes, "it is disabled there, and active here"))
        if self._adds:
            missing = {*wanted.event_types} - {*known.settings.event_types}
            return replace(row, what=What.MORE if missing else What.SAME)
        others = differing(known.settings, wanted)
        if not others:
            return replace(row, what=What.SAME)
        return replace(row, what=What.DIFFERS, notes=(*row.notes, f"stays as it is here: {', '.join(others)}"))


_TO_DO: Final = frozenset({What.NEW, What.MORE})


def undone(row: Row) -> Row:
    """The row if it was not applied."""
    return replace(row, what=What.NOT_DONE) if row.what in _TO_DO else row


def _given(row: Row) -> Mapping[str, object]:
    return {"url": row.foreign.url, "event_types": list(row.event_types), **row.foreign.given}


def _sentences(problems: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(f"{name}: {each}" for name, sentences in problems.items() for each in sentences)
