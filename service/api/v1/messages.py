"""``GET /v1/messages/{message_id}``: what became of a message, folded from its events."""

from pydantic import Field

from service.api.errors import ApiError, Code
from service.api.instant import Instant
from service.api.operation import Answer, Call, Operation
from service.api.validation import AnswerModel
from service.core.endpoints.filter import decode_envelope
from service.core.events.message_status import MessageState, fold_message
from service.ports.desk import EventDesk


class ErrorShown(AnswerModel):
    """Why the message could not be delivered, as the producer put it."""

    code: str | int | None = Field(examples=["unreachable"])
    message: str | None = Field(examples=["The handset is not reachable"])
    carrier_code: str | int | None = Field(examples=["30003"])
    retryable: bool | None


class ReplyShown(AnswerModel):
    """What a contact answered."""

    event_id: str
    message_id: str
    received_at: Instant
    text: str | None


class ReactionShown(AnswerModel):
    """A tapback on the message; `at` and `from_urn` are empty where the producer did not say."""

    type: str = Field(examples=["heart"])
    at: str
    from_urn: str


class ClicksShown(AnswerModel):
    """Visits of its links, those of bots apart."""

    count: int
    last_clicked_at: Instant | None
    bot_count: int


class MessageShown(AnswerModel):
    """A message's status. A failure counts until the message is sent anew, or arrives after all."""

    message_id: str = Field(examples=["msg_7f8a9b0c"])
    status: MessageState
    submitted_at: Instant | None
    sent_at: Instant | None
    delivered_at: Instant | None
    read_at: Instant | None
    failed_at: Instant | None = Field(description="The last failure, also where the message arrived later.")
    received_at: Instant | None = Field(description="Of an inbound message.")
    error: ErrorShown | None
    replies: list[ReplyShown]
    reactions: list[ReactionShown]
    clicks: ClicksShown
    events: list[str] = Field(description="The ids of the events that this was folded from, by their timestamps.")
    is_complete: bool = Field(description="False when there are more events than are read for this (1,000, or 4 MiB).")


class MessageOperations:
    """Reading messages. There is no table of them: their events are all that is known."""

    def __init__(self, desk: EventDesk) -> None:
        self._desk = desk

    def operations(self) -> tuple[Operation, ...]:
        """How it is reached."""
        return (
            Operation(
                "GET",
                "/v1/messages/{message_id}",
                name="get_message",
                summary="What became of a message",
                description="Folded from the events that tell of it (`data.message.id`) or answer it "
                "(`data.reply_to.message_id`).",
                tag="messages",
                scope="read",
                handler=self.show,
                answers={200: MessageShown},
                problems=frozenset({404}),
            ),
        )

    async def show(self, call: Call) -> Answer:
        """One message."""
        message_id = call.path("message_id")
        found, is_complete = await self._desk.about_message(call.organization_id, message_id)
        if not found:
            raise ApiError(404, Code.NOT_FOUND, f"no events for message {message_id[:64]!r}")
        status = fold_message(message_id, [decode_envelope(each.body) for each in found])
        shown = MessageShown(
            message_id=message_id,
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
