"""Request models of API keys."""

from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, FailFast, Field

from service.api.validation import BodyModel
from service.core.field_code import FieldCode, FieldSentence
from service.core.keys.grant import EXPIRES_IN_DAYS_MAX, NAME_CHARACTERS_MAX, OVERLAP_SECONDS_MAX, KeyWish
from service.core.keys.scope import SCOPE_CHARACTERS_MAX, SCOPES, scope_problem

SCOPES_MAX: Final = 50


def _known_scope(scope: str) -> str:
    if problem := scope_problem(scope):
        raise ValueError(FieldSentence(problem, FieldCode.WRONG_FORM))
    return scope


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError(FieldSentence("must be printable", FieldCode.WRONG_FORM))
    return name


_LIMITED: Final = r"publish:[a-z0-9_.]+(\.\*)?|(read|write):ep_[0-9a-z]{1,40}"
Scope = Annotated[
    str,
    AfterValidator(_known_scope),
    Field(max_length=SCOPE_CHARACTERS_MAX, json_schema_extra={"pattern": f"^({'|'.join(sorted(SCOPES))}|{_LIMITED})$"}),
]
ExpiresInDays = Annotated[int, Field(ge=1, le=EXPIRES_IN_DAYS_MAX)]


class NewApiKey(BodyModel):
    """An API key to create."""

    scopes: Annotated[list[Scope], FailFast()] = Field(
        min_length=1,
        max_length=SCOPES_MAX,
        description="What it may do; only what the key of this request may, too. `publish:<event type>` (or "
        "`publish:message.*`) publishes only that; `read:<endpoint id>` and `write:<endpoint id>` are for the reads of "
        "one endpoint and the actions on it, and for nothing else.",
        examples=[["read", "write"]],
    )
    name: Annotated[str, AfterValidator(_printable)] = Field(
        default="", max_length=NAME_CHARACTERS_MAX, description="What it is for.", examples=["zapier"]
    )
    expires_in_days: ExpiresInDays | None = Field(
        default=None,
        description="Days until it expires; null: never. It cannot outlive the key of this request.",
        examples=[90],
    )

    def wish(self) -> KeyWish:
        """As the core's value."""
        return KeyWish(frozenset(self.scopes), self.name, days(self.expires_in_days))


class KeyRotation(BodyModel):
    """How a key is followed by another one."""

    overlap_seconds: int = Field(
        default=86_400,
        ge=0,
        le=OVERLAP_SECONDS_MAX,
        description="How long the old key stays valid; 0: it is revoked at once.",
        examples=[3600],
    )
    expires_in_days: ExpiresInDays | None = Field(
        default=None, description="Days until the new key expires; null: when the old one would have.", examples=[90]
    )


def days(count: int | None) -> timedelta | None:
    """So many days; None for None."""
    return timedelta(days=count) if count is not None else None
