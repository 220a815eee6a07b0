"""``/v1/keys``: create, list, rotate and revoke API keys. A key cannot give more than it has."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from service.api.errors import ApiError, Code, about, invalid
from service.api.lists.keyset import Keyset
from service.api.lists.page import OrderedQuery, Page, by_time, read_page
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation, created
from service.api.v1.keys.answers import ApiKeyShown, CreatedApiKey, RotatedApiKey, shown_fields
from service.api.v1.keys.bodies import KeyRotation, NewApiKey, days
from service.core.endpoints.refusals import NoSuchEndpoint
from service.core.field_code import FieldCode
from service.core.keys.api_key import ListedKey, NewKey, is_key_id
from service.core.keys.grant import KEYS_MAX, KeyEnded, KeyReplaced, TooManyKeys, excess, limited_as
from service.core.keys.scope import endpoint_of
from service.ports.desk import EndpointDesk, KeyDesk, TimeKeyset

PATH: Final = "/v1/keys"
TAG: Final = "keys"
_BY_TIME: Final[Keyset[ListedKey, TimeKeyset]] = by_time(lambda key: (key.created_at, key.key_id))

_NO_MORE_THAN_IT_HAS: Final = (
    "A key cannot give more than it has: 403 with the fields if the new one would have a scope that the key of this "
    "request lacks, or outlive it. "
)


class KeyOperations:
    """Handlers of ``/v1/keys``. ``now`` returns an aware UTC datetime."""

    def __init__(
        self, desk: KeyDesk, endpoints: EndpointDesk, new_key: Callable[[], NewKey], now: Callable[[], datetime]
    ) -> None:
        self._desk = desk
        self._endpoints = endpoints
        self._new_key = new_key
        self._now = now

    async def create(self, call: Call) -> Answer:
        """Create a key."""
        body: NewApiKey = call.body
        wish, new = limited_as(call.key, body.wish()), self._new_key()
        _refuse(excess(call.key, wish.scopes, self._after(wish.expires_in)))
        await self._require_endpoints(call.organization_id, body.scopes)
        made = await self._desk.create_key(call.organization_id, new, wish, by=call.actor)
        if isinstance(made, TooManyKeys):
            raise ApiError(409, Code.CONFLICT, made.sentence)
        return created(CreatedApiKey(**shown_fields(made), key=new.text), f"{PATH}/{made.key_id}")

    async def list(self, call: Call) -> Answer:
        """List one page of keys."""
        page = await read_page(call.query, _BY_TIME, partial(self._desk.page, call.organization_id))
        data = [ApiKeyShown(**shown_fields(each)) for each in page.rows]
        return Answer(200, Page[ApiKeyShown](data=data, **page.links))

    async def show(self, call: Call) -> Answer:
        """Show one key."""
        found = await self._desk.show(call.organization_id, _id_of(call))
        if found is None:
            raise _no_key()
        return Answer(200, ApiKeyShown(**shown_fields(found)))

    async def rotate(self, call: Call) -> Answer:
        """Make another key follow one."""
        body: KeyRotation = call.body
        old = await self._desk.find(_id_of(call))
        if old is None or old.organization_id != call.organization_id:
            raise _no_key()
        overlap, expires_in, new = timedelta(seconds=body.overlap_seconds), days(body.expires_in_days), self._new_key()
        _refuse(excess(call.key, old.scopes, self._after(expires_in) or old.expires_at))
        rotated = await self._desk.rotate(
            call.organization_id, old.key_id, new, overlap=overlap, expires_in=expires_in, by=call.actor
        )
        match rotated:
            case None:
                raise _no_key()
            case KeyReplaced() | KeyEnded() | TooManyKeys():
                raise ApiError(409, Code.CONFLICT, rotated.sentence)
            case made, ends_at:
                fields = shown_fields(made)
                shown = RotatedApiKey(**fields, key=new.text, replaces=old.key_id, overlap_ends_at=ends_at)
                return created(shown, f"{PATH}/{made.key_id}")

    async def revoke(self, call: Call) -> Answer:
        """Revoke a key."""
        if await self._desk.revoke(_id_of(call), call.organization_id, by=call.actor) is None:
            raise _no_key()
        return Answer(204)

    async def _require_endpoints(self, organization_id: str, scopes: Sequence[str]) -> None:
        """Raise ``ApiError`` (400) if a scope names an endpoint that the organization does not have."""
        for index, scope in enumerate(scopes):
            endpoint_id = endpoint_of(scope)
            found = endpoint_id and await self._endpoints.find(organization_id, endpoint_id)
            if isinstance(found, NoSuchEndpoint):
                raise invalid(
                    "the request is not valid",
                    about(f"scopes[{index}]", found.sentence, FieldCode.UNKNOWN_VALUE),
                )

    def _after(self, time: timedelta | None) -> datetime | None:
        return self._now() + time if time is not None else None

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "POST",
                PATH,
                name="create_key",
                summary="Create an API key",
                description="The key is shown only in this answer. "
                + _NO_MORE_THAN_IT_HAS
                + "If that key has a rate limit of its own, the new one shares it. "
                f"An organization can have {KEYS_MAX} valid keys; one more is refused with 409.",
                tag=TAG,
                scope="admin",
                handler=self.create,
                answers={201: CreatedApiKey},
                body=NewApiKey,
                problems=WITH_BODY_POSSIBLE | {409},
                example={"scopes": ["read", "write"], "name": "zapier", "expires_in_days": 90},
                shows_key=True,
            ),
            Operation(
                "GET",
                PATH,
                name="list_keys",
                summary="List API keys",
                description="Newest first, revoked and expired ones for 90 days more, but only the last "
                f"{KEYS_MAX} that ended.",
                tag=TAG,
                scope="admin",
                handler=self.list,
                answers={200: Page[ApiKeyShown]},
                query=OrderedQuery,
            ),
            *self._on_each(),
        )

    def _on_each(self) -> Sequence[Operation]:
        path = f"{PATH}/{{id}}"
        return (
            Operation(
                "GET",
                path,
                name="get_key",
                summary="Get an API key",
                tag=TAG,
                scope="admin",
                handler=self.show,
                answers={200: ApiKeyShown},
                problems=frozenset({404}),
            ),
            Operation(
                "POST",
                f"{path}/rotate",
                name="rotate_key",
                summary="Rotate an API key",
                description="Another key follows this one, with its scopes, name and rate limit. The old one stays "
                "valid during the overlap. 409 if it has been revoked or has expired, or was rotated before: the "
                "answer says which key follows it. " + _NO_MORE_THAN_IT_HAS,
                tag=TAG,
                scope="admin",
                handler=self.rotate,
                answers={201: RotatedApiKey},
                body=KeyRotation,
                problems=WITH_BODY_POSSIBLE | {404, 409},
                example={"overlap_seconds": 3600},
                shows_key=True,
            ),
            Operation(
                "DELETE",
                path,
                name="revoke_key",
                summary="Revoke an API key",
                description="Every request that begins after the answer is refused, whichever process it comes to. It "
                "stays listed as revoked; revoking it again answers 204, too.",
                tag=TAG,
                scope="admin",
                handler=self.revoke,
                answers={204: None},
                problems=frozenset({404}),
            ),
        )


def _refuse(problems: Mapping[str, Sequence[str]]) -> None:
    """Raise ``ApiError`` (403) if there are any."""
    if problems:
        sentence = "an API key cannot give more than it has"
        raise ApiError(403, Code.PERMISSION_DENIED, sentence, errors=problems)


def _id_of(call: Call) -> str:
    key_id = call.path("id")
    if not is_key_id(key_id):
        raise _no_key()
    return key_id


def _no_key() -> ApiError:
    """The organization has no such key (404). Not quoted: the path may hold a whole key."""
    return ApiError(404, Code.NOT_FOUND, "no such API key; GET /v1/keys lists the ids")
