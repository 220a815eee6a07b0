"""Answer models of API keys."""

from typing import Any

from pydantic import Field

from service.api.instant import Instant
from service.api.validation import AnswerModel
from service.core.keys.api_key import ListedKey


class ApiKeyShown(AnswerModel):
    """An API key, without its secret."""

    id: str = Field(examples=["0f1e2d3c4b5a6978"])
    hint: str = Field(description="How the key begins and ends.", examples=["ph_live_0f1e2d3c4b5a6978_…x7Qz"])
    name: str = Field(description="What it is for; may be empty.", examples=["zapier"])
    scopes: list[str] = Field(examples=[["read", "write"]])
    rate_limit_per_hour: int | None = Field(description="A limit of its own; null: it shares the organization's.")
    created_at: Instant
    last_used_at: Instant | None = Field(description="Accurate to about a minute; null: never.")
    expires_at: Instant | None = Field(description="Null: never.")
    revoked_at: Instant | None
    replaced_by: str | None = Field(description="The id of the key that followed it in a rotation.")


class CreatedApiKey(ApiKeyShown):
    """A new API key."""

    key: str = Field(description="The key itself. It is shown only now.")


class RotatedApiKey(CreatedApiKey):
    """The API key that follows another one."""

    replaces: str = Field(description="The id of the old key.", examples=["8796a5b4c3d2e1f0"])
    overlap_ends_at: Instant = Field(description="When the old key ends.")


def shown_fields(key: ListedKey) -> dict[str, Any]:
    """The fields of ``ApiKeyShown``."""
    return {
        "id": key.key_id,
        "hint": key.shown,
        "name": key.name,
        "scopes": list(key.scopes),
        "rate_limit_per_hour": key.rate_limit_per_hour,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "replaced_by": key.replaced_by,
    }
