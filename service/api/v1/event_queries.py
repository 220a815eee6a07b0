"""Filters that the lists of events and deliveries share: by time, type and id."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from service.api.errors import invalid
from service.api.lists.page import OrderedQuery
from service.api.lists.several import Several
from service.api.validation import NO_INSTANT
from service.core.events.registry import MESSAGE_ID_LENGTH_MAX, NAME_LENGTH_MAX, NAME_PATTERN
from service.core.events.scope import ScopeName, ScopeWanted
from service.core.field_code import FieldCode, FieldSentence

ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"


def _no_number(value: object) -> object:
    if not isinstance(value, str) or value.lstrip("-").replace(".", "", 1).isdecimal():
        raise ValueError(FieldSentence(NO_INSTANT, FieldCode.WRONG_FORM))
    return value


_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


def _in_utc(value: datetime) -> datetime:
    """In UTC. Times that are nearly beyond what a datetime can hold, here or in the database, are moved inside."""
    return min(max(value, _FIRST), _LAST).astimezone(UTC)


GivenInstant = Annotated[AwareDatetime, BeforeValidator(_no_number), AfterValidator(_in_utc)]
"""A date-time with an offset, as UTC. A bare number is refused: it could be seconds or milliseconds."""


EventTypeAsked = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$", max_length=NAME_LENGTH_MAX)]


ScopeAsked = Annotated[str, Field(min_length=1, max_length=MESSAGE_ID_LENGTH_MAX)]
_ONLY_ONE: Final = "Not together with another brand, campaign, project, message or event."


_INSTEAD: Final = ("message_id", "event_id")
"""Filters that say more than a scope does: what they find is of one."""


class EventsQuery(OrderedQuery):
    """Filters for events. Of several values, separated by commas, one must hold."""

    event_type: Several[EventTypeAsked] | None = Field(
        default=None,
        description="Only events of this type, or of one of these.",
        examples=[["message.sent", "message.failed"]],
    )
    message_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=MESSAGE_ID_LENGTH_MAX,
        description="Only events about this message (`data.message.id`).",
        examples=["msg_01JD5Z7Q8M"],
    )
    brand_id: Several[ScopeAsked] | None = Field(
        default=None,
        description=f"Only events of this brand (`data.scope.brand_id`), or of one of these. {_ONLY_ONE}",
        examples=[["brand_2"]],
    )
    campaign_id: Several[ScopeAsked] | None = Field(
        default=None,
        description=f"Only events of this campaign (`data.scope.campaign_id`), or of one of these. {_ONLY_ONE}",
        examples=[["camp_01HX"]],
    )
    project_id: Several[ScopeAsked] | None = Field(
        default=None,
        description=f"Only events of this project (`data.scope.project_id`), or of one of these. {_ONLY_ONE}",
        examples=[["proj_77"]],
    )
    since: GivenInstant | None = Field(
        default=None,
        description="Only if the event was received at this time or later. Encode `+` as `%2B`.",
        examples=["2026-11-20T00:00:00Z"],
    )
    until: GivenInstant | None = Field(
        default=None,
        description="Only if the event was received before this time.",
        examples=["2026-11-21T00:00:00Z"],
    )

    @property
    def scope(self) -> ScopeWanted | None:
        """The brands, campaigns or projects that are asked for. Raises ``ApiError`` (400) for more than one kind."""
        asked = {name: ids for name in ScopeName if (ids := getattr(self, name)) is not None}
        if not asked:
            return None
        others = [name for name in _INSTEAD if getattr(self, name, None) is not None]
        if len(asked) + len(others) > 1:
            beside = [*asked, *others]
            raise invalid(
                "the query is not valid",
                {
                    name: [FieldSentence(f"cannot be combined with {other}", FieldCode.NOT_ALLOWED)]
                    for name in beside
                    for other in [beside[0] if name != beside[0] else beside[1]]
                },
            )
        ((name, ids),) = asked.items()
        return ScopeWanted(name, ids)

    @property
    def times(self) -> tuple[datetime | None, datetime | None]:
        """``since`` and ``until``."""
        return self.since, self.until
