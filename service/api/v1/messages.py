"""``GET /v1/messages/{message_id}``: a message's status, derived from its events."""

from pydantic import Field

from service.api.errors import ApiError, Code
from service.api.instant import Instant
from service.api.operation import Answer, Call, Operation
from service.api.validation import AnswerModel
from service.core.endpoints.filter.filter import decode_envelope
from service.core.events.message_status import MessageState, fold_message
from service.core.events.view import MESSAGES_CALLED_MAX
from service.ports.desk import EventDesk


class ErrorShown(AnswerModel):
    """Why the message could not be delivered, as the producer reported it."""

    code: str | int | None = Field(examples=["unreachable"])
    message: str | None = Field(examples=["The handset is not reachable"])
    carrier_code: str | int | None = Field(examples=["30003"])
    retryable: bool | None


class ReplyShown(AnswerModel):
    """A contact's reply to the message."""

    event_id: str
    message_id: str
    received_at: Instant
    text: str | None


class ReactionShown(AnswerModel):
    """A tapback on the message. If the producer did not give them, `at` is its event's, and `from_urn` empty."""

    type: str = Field(examples=["heart"])
    at: Instant
    from_urn: str


class ClicksShown(AnswerModel):
    """Clicks on the message's links; those of bots are counted separately."""

    count: int
    last_clicked_at: Instant | None
    bot_count: int


class MessageShown(AnswerModel):
    """A message's status. A failure counts until the message is sent again or delivered after all."""

    message_id: str = Field(examples=["msg_7f8a9b0c"])
    external_id: str | None = Field(
        description="What its sender calls it, in the last event that says so.",
        examples=["6e71e2af-d91d-4eb9-8af6-c1ca0f910da7"],
    )
    same_external_id: list[str] = Field(
        description="If it was asked for by its external id: the ids of other messages with the same one, the newest "
        f"first, at most {MESSAGES_CALLED_MAX - 1}. They are older than this one."
    )
    status: MessageState
    submitted_at: Instant | None
    sent_at: Instant | None
    delivered_at: Instant | None
    read_at: Instant | None
    failed_at: Instant | None = Field(description="The last failure, even if the message was delivered later.")
    received_at: Instant | None = Field(description="When an inbound message was received.")
    error: ErrorShown | None
    replies: list[ReplyShown]
    reactions: list[ReactionShown]
    clicks: ClicksShown
    events: list[str] = Field(description="The ids of the events it is derived from, ordered by timestamp.")
    is_complete: bool = Field(description="False if the message has more events than are read (1,000, or 4 MiB).")


class MessageOperations:
    """Reads messages. They have no table; their status is derived from their events."""

    def __init__(self, desk: EventDesk) -> None:
        self._desk = desk

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "GET",
                "/v1/messages/{message_id}",
                name="get_message",
                summary="Get a message's status",
                description="Derived from the events about the message (`data.message.id`) and from replies to it "
                "(`data.reply_to.message_id`).",
                tag="messages",
                scope="read",
                handler=self.show,
                answers={200: MessageShown},
                problems=frozenset({404}),
            ),
        )

    async def show(self, call: Call) -> Answer:
        """Show one message."""
        message_id, others = call.path("message_id"), list[str]()
        found, is_complete = await self._desk.about_message(call.organization_id, message_id)
        if not found and (called := await self._desk.messages_called(call.organization_id, message_id)):
            message_id, *others = called
            found, is_complete = await self._desk.about_message(call.organization_id, message_id)
        if not found:
            raise ApiError(404, Code.NOT_FOUND, f"no events for message {message_id[:64]!r}")
        status = fold_message(message_id, [decode_envelope(each.body) for each in found])
        shown = MessageShown(
            message_id=message_id,
            external_id=status.external_id,
            same_external_id=others,
            status=status.status,
            submitted_at=status.submitted_at,
            sent_at=status.sent_at,
            delivered_at=status.delivered_at,
            read_at=status.read_at,
            failed_at=status.failed_at,
            received_at=status.received_at,
            error=ErrorShown.model_validate(status.error, from_attributes=True) if status.error else None,
            replies=[ReplyShown.model_validate(each, from_attributes=True) for each in status.replies],
            reactions=[ReactionShown.model_validate(each, from_attributes=True) for each in status.reactions],
            clicks=ClicksShown.model_validate(status.clicks, from_attributes=True),
            events=list(status.event_ids),
            is_complete=is_complete,
        )
        return Answer(200, shown)
