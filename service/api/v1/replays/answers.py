"""Answer models of replay jobs."""

from pydantic import Field

from service.api.instant import Instant
from service.api.validation import AnswerModel
from service.core.deliveries.delivery import State
from service.core.replays.job import ReplayCount, ReplayJob, ReplayState, SkipReason


class Skipped(AnswerModel):
    """Deliveries that match, but are not made again."""

    superseded: int = Field(description="The event has a newer delivery to the same subscription.")
    subscription_removed: int
    event_dropped: int = Field(description="Past retention.")


class ReplayCounted(AnswerModel):
    """What a replay would do. Nothing was stored."""

    total_count: int = Field(description="Deliveries that match.")
    replayable_count: int = Field(description="Those that would be made again.")
    skipped: Skipped
    is_complete: bool = Field(description="False if counting took too long: there are more.")

    @classmethod
    def of(cls, counted: ReplayCount) -> "ReplayCounted":
        """From what was counted."""
        return cls(
            total_count=counted.total_count,
            replayable_count=counted.replayable_count,
            skipped=Skipped(**{each.value: counted.skipped.get(each, 0) for each in SkipReason}),
            is_complete=counted.is_complete,
        )


class ReplayShown(AnswerModel):
    """A replay job. `done` means that every replay is made; `open_count` of them have not ended yet."""

    id: str = Field(examples=["rpl_7k2m9x4c1v8b3n6h"])
    state: ReplayState
    reason: str | None = Field(description="Why it failed, or what retention took before its turn came.")
    endpoint_id: str | None
    event_type: str | None
    ids_count: int = Field(description="How many deliveries were named by their ids.")
    since: Instant | None
    until: Instant | None
    states: list[State]
    rate: int
    total_count: int = Field(description="Deliveries that match; it grows until `is_counted`.")
    is_counted: bool
    created_count: int = Field(description="Deliveries made so far.")
    skipped: Skipped
    open_count: int = Field(description="Deliveries made that have not ended yet; 10000 stands for more.")
    created_by: str = Field(description="The id of the API key that asked for it, or `cli`.")
    created_at: Instant
    started_at: Instant | None
    ended_at: Instant | None

    @classmethod
    def of(cls, job: ReplayJob) -> "ReplayShown":
        """From a job."""
        return cls.model_validate(job, from_attributes=True)
