"""PATCH, PUT and DELETE of endpoints, which heed If-Match."""

from collections.abc import Set as AbstractSet
from typing import Final

from service.api.errors import invalid
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Limit, Operation
from service.api.v1.endpoints.answers import ChangedEndpoint, CreatedEndpoint
from service.api.v1.endpoints.bodies import EndpointAtUrl, EndpointMergePatch, EndpointPatch, EndpointPut
from service.api.v1.endpoints.etag import asked_versions, precondition_failed, wants_existing, wants_new
from service.api.v1.endpoints.ownership import Ownership
from service.api.v1.endpoints.paths import PATH, TAG, endpoint_id_of, granted, on_endpoint, problem_of
from service.api.v1.endpoints.showing import Showing
from service.api.v1.endpoints.wish import read_echo, with_echo
from service.api.validation import JSON
from service.core.endpoints.refusals import ChangedTooOften, Ended, NoSuchEndpoint, UrlTaken
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.view import EndpointView
from service.core.field_code import FieldCode, FieldSentence
from service.ports.desk import EndpointDesk

MERGE_PATCH: Final = "application/merge-patch+json"
TRIES_MAX: Final = 5
"""How often PUT looks again, because another request has just made or removed the endpoint."""
ALL_AT_ONCE: Final = "All field errors are reported at once."

_MERGED_IN_JSON: Final = frozenset({"metadata"})
_MERGED_IN_MERGE_PATCH: Final = frozenset({"metadata", "headers", "filter", "auth"})
_SENT_BACK: Final = (
    "An answer of GET can be changed and sent back: read-only fields are accepted if they are unchanged, and refused "
    "by name if not. `health`, `schedule` and gates that open by themselves are not compared. "
)
_IF_MATCH: Final = (
    "With `If-Match` and the `ETag` of an answer, nothing changes if another request has changed the endpoint since: "
    "412. Deliveries, health and gates do not count as changes; pausing, resuming and rotating do. "
)


class EndpointChanges:
    """The handlers."""

    def __init__(self, desk: EndpointDesk, ownership: Ownership, showing: Showing) -> None:
        self._desk = desk
        self._ownership = ownership
        self._showing = showing

    async def patch(self, call: Call) -> Answer:
        """Change the given fields."""
        endpoint_id, organization_id = endpoint_id_of(call), call.organization_id
        if call.request.content_type == MERGE_PATCH:
            read, echo = read_echo(EndpointMergePatch, call.body_bytes, _MERGED_IN_MERGE_PATCH)
        else:
            read, echo = read_echo(EndpointPatch, call.body_bytes, _MERGED_IN_JSON)
        if echo:
            read = with_echo(read, echo, granted(await self._desk.find(organization_id, endpoint_id)))
        async with self._ownership.asked(call, read) as (wish, check):
            only_at = asked_versions(call.request)
            changed = granted(
                await self._desk.change(organization_id, endpoint_id, wish, check, only_at=only_at, by=call.actor)
            )
        return await self._showing.changed(call, changed.endpoint, changed.new_secret)

    async def put(self, call: Call) -> Answer:
        """Make the endpoint of a URL what the body says, whether or not there is one."""
        query: EndpointAtUrl = call.query
        read, echo = read_echo(EndpointPut, call.body_bytes)
        urls = {each for each in (query.url, read.given.get("url")) if each is not None}
        if len(urls) != 1:
            why = FieldSentence("is required, in the query or the body", FieldCode.REQUIRED)
            if urls:
                why = FieldSentence("must be the URL of the query; PATCH changes it", FieldCode.NOT_ALLOWED)
            raise invalid("the request is not valid", {"url": [why], **read.unreadable})
        (url,) = urls
        read = EndpointWish({**read.given, "url": url}, read.unreadable)
        for _ in range(TRIES_MAX):
            known = await self._desk.at(call.organization_id, url)
            wish = with_echo(read, echo, known)
            kept = read.given.keys() - wish.given.keys()
            answer = await (self._create(call, wish) if known is None else self._replace(call, wish, known, kept))
            if answer is not None:
                return answer
        raise problem_of(ChangedTooOften())

    async def _create(self, call: Call, wish: EndpointWish) -> Answer | None:
        """None: another request has made it just now."""
        if wants_existing(call.request):
            raise precondition_failed("there is no endpoint with this URL")
        async with self._ownership.asked(call, wish) as (unasked, check):
            made = await self._desk.create(call.organization_id, unasked, check, by=call.actor)
        if isinstance(made, UrlTaken):
            return None
        made = granted(made)
        if made.new_secret is None:
            return None
        return await self._showing.created(call, made.endpoint, made.new_secret)

    async def _replace(
        self, call: Call, wish: EndpointWish, known: EndpointView, kept: AbstractSet[str]
    ) -> Answer | None:
        """None: another request has removed it just now. The settings in ``kept`` stay as they are."""
        if wants_new(call.request):
            raise precondition_failed(f"endpoint {known.id} has this URL")
        async with self._ownership.asked(call, wish) as (unasked, check):
            changed = await self._desk.change(
                call.organization_id,
                known.id,
                unasked.whole(but_for=kept),
                check if known.verified_at is None else None,  # it was asked before
                only_at=asked_versions(call.request),
                by=call.actor,
            )
        if isinstance(changed, NoSuchEndpoint | Ended):
            return None
        changed = granted(changed)
        return await self._showing.changed(call, changed.endpoint, changed.new_secret)

    async def delete(self, call: Call) -> Answer:
        """Delete the endpoint."""
        only_at = asked_versions(call.request)
        granted(await self._desk.remove(call.organization_id, endpoint_id_of(call), only_at=only_at, by=call.actor))
        return Answer(204)

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            self._put_operation(),
            on_endpoint(
                "PATCH",
                "",
                "update_endpoint",
                "Change an endpoint",
                self.patch,
                "Only the given fields change, and null restores a default. `metadata` changes key by key, and null "
                f"removes a key; every other field is replaced as a whole, but as `{MERGE_PATCH}` (RFC 7396) "
                "`headers`, `filter` and `auth` change key by key, too. In "
                "`headers`, `***` keeps the stored value. Removing an event type from `event_types` ends its "
                "subscription and cancels its pending deliveries. Changing `url` keeps id and secrets. Changing "
                "`signature_style` with `overlap_seconds` makes a new secret, which this answer shows once, and lets "
                "the older ones sign on in the old style; without, it keeps the secrets, but uses them differently: "
                "`standard` as bytes, `t-v1` and `sha256-body` as text. " + _IF_MATCH + _SENT_BACK + ALL_AT_ONCE,
                answers={200: ChangedEndpoint},
                body_schema=EndpointPatch,
                media_types=(JSON, MERGE_PATCH),
                limit=Limit.NONE,  # it could subscribe to more, or send it elsewhere
                problems=WITH_BODY_POSSIBLE | {404, 409},
                example={"event_types": ["message.*"], "timeout_seconds": 10},
                has_etag=True,
            ),
            on_endpoint(
                "DELETE",
                "",
                "delete_endpoint",
                "Delete an endpoint",
                self.delete,
                "Pending deliveries are cancelled; past ones stay on record. Deleting it again answers 204, too. With "
                "`If-Match`, only if no other request has changed it since: otherwise 412.",
                limit=Limit.NONE,
                answers={204: None},
                has_etag=True,
            ),
        )

    def _put_operation(self) -> Operation:
        return Operation(
            "PUT",
            PATH,
            name="put_endpoint",
            summary="Create or replace the endpoint of a URL",
            description="For tools that provision: the endpoint with this URL is what the body says afterwards, "
            "and what the body leaves out has its default. If there is none, it is created (201, with its secret); "
            "otherwise it is replaced and keeps id and secrets (200). If it is so already, nothing changes. A "
            "`secret` must be the endpoint's, or the answer is 409. `If-None-Match: *` only creates, `If-Match: *` "
            "only replaces; otherwise 412. " + _IF_MATCH + _SENT_BACK + ALL_AT_ONCE,
            scope="write",
            handler=self.put,
            answers={200: ChangedEndpoint, 201: CreatedEndpoint},
            tag=TAG,
            query=EndpointAtUrl,
            body_schema=EndpointPut,
            problems=WITH_BODY_POSSIBLE | {409},
            example={
                "url": "https://example.com/hooks",
                "event_types": ["message.sent", "message.failed"],
                "description": "CRM",
            },
            has_etag=True,
        )
