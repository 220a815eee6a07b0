"""``POST /v1/portal-links``: a link that signs a customer in to the pages, for the platform to show them."""

import secrets
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from service.api.errors import ApiError, Code
from service.api.instant import Instant
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation
from service.api.public_url import public_url
from service.api.validation import AnswerModel, BodyModel
from service.core.keys.grant import excess
from service.core.session import LINK_MAX, SESSION_MAX, TOKEN_BYTES, Guest, new_token
from service.ports.sessions import SessionDesk

PATH: Final = "/v1/portal-links"
DASHBOARD: Final = "/dashboard"
SECONDS_MIN: Final = 60

Shared = Literal["read", "write", "admin"]


class NewPortalLink(BodyModel):
    """A link to make."""

    scopes: list[Shared] = Field(
        default=["read"],
        min_length=1,
        max_length=3,
        description="What whoever follows it may do: `read` shows the pages, `write` changes endpoints and replays, "
        "`admin` shows API keys and the audit log. Only what the key of this request may, too; always with `read`.",
        examples=[["read"]],
    )
    expires_in_seconds: Annotated[int, Field(ge=SECONDS_MIN, le=int(SESSION_MAX.total_seconds()))] = Field(
        default=3_600,
        description="How long whoever follows it stays signed in at most; after 12 hours without use it ends anyway.",
        examples=[3600],
    )


class PortalLink(AnswerModel):
    """A new link."""

    url: str = Field(
        description="Opens the pages, once. It is shown only now.",
        examples=["https://hooks.example.com/dashboard/enter/Zk3v9w0p1T7yJ6h2Rr8uQe5sXc4bNm1aLd0fGg7iKoY"],
    )
    expires_at: Instant = Field(description="When the link itself expires; ten minutes from now.")


class PortalLinks:
    """The handler. ``configured_url`` is PUBLIC_URL."""

    def __init__(self, desk: SessionDesk, configured_url: str | None) -> None:
        self._desk = desk
        self._configured_url = configured_url

    async def create(self, call: Call) -> Answer:
        """Make a link."""
        body: NewPortalLink = call.body
        scopes = frozenset[str](body.scopes)
        if "read" not in scopes:
            raise ApiError(
                400, Code.VALIDATION_ERROR, "the request is not valid", errors={"scopes": ["must include `read`"]}
            )
        problems = excess(call.key, scopes, call.key.expires_at)
        if problems:
            raise ApiError(403, Code.PERMISSION_DENIED, "a link cannot give more than its key has", errors=problems)
        token = new_token(secrets.token_bytes(TOKEN_BYTES))
        key_id = call.key.key_id or None  # none beside the database: then whoever ran the command made it
        made_by = None if key_id else call.actor.id
        guest = Guest(call.organization_id, scopes, key_id, made_by)
        ends_at = await self._desk.make_link(token, guest, timedelta(seconds=body.expires_in_seconds), by=call.actor)
        base_url = public_url(call.request, self._configured_url)
        return Answer(201, PortalLink(url=f"{base_url}{DASHBOARD}/enter/{token.text}", expires_at=ends_at))

    def operation(self) -> Operation:
        """Return the operation."""
        return Operation(
            "POST",
            PATH,
            name="create_portal_link",
            summary="Make a link to the pages",
            description="For a platform that has its own log-in: it asks for a link when a customer opens its settings "
            f"page, and sends the customer's browser there. The link works once, within "
            f"{LINK_MAX.seconds // 60} minutes. Revoking the key of this request ends every session that its links "
            "opened. The answer has no `Location`: a link cannot be looked at without using it up, and its URL is a "
            "secret, which belongs in the body, not in headers that proxies log.",
            tag="keys",
            scope="admin",
            handler=self.create,
            answers={201: PortalLink},
            body=NewPortalLink,
            problems=WITH_BODY_POSSIBLE,
            example={"scopes": ["read", "write"], "expires_in_seconds": 3600},
            shows_key=True,
        )
