"""Request models of replay jobs."""

from typing import Annotated, Final

from pydantic import Field, WithJsonSchema

from service.api.errors import about, invalid
from service.api.lists.page import OrderedQuery
from service.api.lists.several import Several
from service.api.v1.event_queries import ID_PATTERN, GivenInstant
from service.api.validation import BodyModel
from service.core.deliveries.delivery import FINAL_STATES, DeliveryKey, State
from service.core.events.registry import NAME_LENGTH_MAX, NAME_PATTERN
from service.core.field_code import FieldCode, FieldSentence
from service.core.replays.job import (
    IDS_MAX,
    RATE_DEFAULT,
    RATE_MAX,
    RECOVERED,
    ReplayState,
    ReplayWish,
)

_ENDED: Final = [state for state in State if state in FINAL_STATES]
_NOT_VALID: Final = "the request is not valid"
_WITH_IDS: Final = "must be left out when ids are given"

StateAsked = Annotated[ReplayState, WithJsonSchema({"type": "string", "enum": [each.value for each in ReplayState]})]
EndedState = Annotated[
    State, Field(strict=False), WithJsonSchema({"type": "string", "enum": [each.value for each in _ENDED]})
]
Rate = Annotated[
    int,
    Field(ge=1, le=RATE_MAX, description="Deliveries per second, at most.", examples=[RATE_DEFAULT]),
]
Since = Annotated[
    GivenInstant,
    Field(
        strict=False,
        description="Only events received at this time or later.",
        examples=["2026-11-20T00:00:00Z"],
    ),
]


class NewReplay(BodyModel):
    """Which deliveries to make again: those of an endpoint, of an event type or both; or `ids` alone."""

    endpoint_id: str | None = Field(
        default=None, pattern=ID_PATTERN, description="Deliveries to this endpoint.", examples=["ep_7k2m9x4c1v8b3n6h"]
    )
    event_type: str | None = Field(
        default=None,
        pattern=f"^{NAME_PATTERN}$",
        max_length=NAME_LENGTH_MAX,
        description="Deliveries of events of this type.",
        examples=["message.sent"],
    )
    ids: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=IDS_MAX,
        description="These deliveries, in whatever state they ended.",
        examples=[["dlv_0193ab6e7c5d7a10b3f24c9d8e7f6a5b_17"]],
    )
    since: Since | None = None
    until: GivenInstant | None = Field(
        default=None,
        strict=False,
        description="Only events received before this time.",
        examples=["2026-11-21T00:00:00Z"],
    )
    states: list[EndedState] | None = Field(
        default=None,
        min_length=1,
        max_length=len(_ENDED),
        description="Only deliveries that ended in one of these states; by default `dead`.",
        examples=[["dead"]],
    )
    rate: Rate = RATE_DEFAULT
    dry_run: bool = Field(default=False, description="Only count, and answer 200.")

    def wish(self) -> ReplayWish:
        """What is wanted. Raises ``ApiError`` for fields that contradict each other."""
        filters = {name: getattr(self, name) for name in ("endpoint_id", "event_type", "since", "until", "states")}
        if self.ids is not None:
            contradictions = {name: [_WITH_IDS] for name, value in filters.items() if value is not None}
            keys = [DeliveryKey.parse(each) for each in self.ids]
            bad = {f"ids[{index}]": ["is not a delivery's id"] for index, key in enumerate(keys) if key is None}
            if problems := contradictions | bad:
                raise invalid(_NOT_VALID, problems)
            return ReplayWish(keys=tuple(key for key in keys if key), states=tuple(_ENDED), rate=self.rate)
        if self.endpoint_id is None and self.event_type is None:
            raise invalid(
                _NOT_VALID,
                about("endpoint_id", "is required, or event_type or ids instead", FieldCode.REQUIRED),
            )
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise invalid(_NOT_VALID, about("until", "must be later than since", FieldCode.OUT_OF_RANGE))
        states = (State.DEAD,) if self.states is None else tuple(dict.fromkeys(self.states))
        if any(state not in FINAL_STATES for state in states):
            raise invalid(
                _NOT_VALID,
                {
                    "states": [
                        FieldSentence(f"must be of {', '.join(_ENDED)}: others have not ended", FieldCode.UNKNOWN_VALUE)
                    ]
                },
            )
        return ReplayWish(
            self.endpoint_id, self.event_type, since=self.since, until=self.until, states=states, rate=self.rate
        )


class Recovery(BodyModel):
    """What failed since when."""

    since: Since
    rate: Rate = RATE_DEFAULT
    resume: bool = Field(
        default=False, description="Also resume the endpoint if it is `paused` or `disabled`; not with `dry_run`."
    )
    dry_run: bool = Field(default=False, description="Only count, and answer 200.")

    def wish(self, endpoint_id: str) -> ReplayWish:
        """What failed at the endpoint. Raises ``ApiError`` for fields that contradict each other."""
        if self.resume and self.dry_run:
            raise invalid(
                _NOT_VALID,
                {
                    "resume": [
                        FieldSentence("must be left out with dry_run, which changes nothing", FieldCode.NOT_ALLOWED)
                    ]
                },
            )
        return ReplayWish(endpoint_id, since=self.since, states=RECOVERED, rate=self.rate)


class ReplaysQuery(OrderedQuery):
    """Filters for replay jobs."""

    state: Several[StateAsked] | None = Field(
        default=None, description="Only jobs in this state, or in one of these.", examples=[["running", "paused"]]
    )
