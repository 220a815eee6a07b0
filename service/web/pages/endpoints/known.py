"""One endpoint as its pages show it, and what is wrong with it in a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.api.errors import ApiError, Code
from service.core.deliveries.explanation import WHY
from service.core.reason import Reason
from service.web.page import Visit
from service.web.pages.endpoints.list import look_of

_ABOUT_THE_FORM: Final = frozenset(
    {Code.VALIDATION_ERROR, Code.CONFLICT, Code.ENDPOINT_GATED, Code.PRECONDITION_FAILED, Code.RATE_LIMIT_EXCEEDED}
)
_PASSING: Final = frozenset({"rate_limit", "max_in_flight"})
_REASONS: Final = frozenset(each.value for each in Reason)


@dataclass(frozen=True, slots=True)
class Known:
    """An endpoint as the API shows it, with the version that this is."""

    shown: Mapping[str, Any]
    version: str

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.shown["id"])

    @property
    def look(self) -> str:
        """The word on its badge."""
        return look_of(self.shown)

    @property
    def is_failing(self) -> bool:
        """Whether what came last of its deliveries is failure."""
        return self.look == "disabled" or self.shown["health"]["status"] == "failing"

    @property
    def has_ended(self) -> bool:
        """Whether it is gone or expired: nothing can be changed any more."""
        return self.shown["state"] in {"gone", "expired"}

    @property
    def gates(self) -> Sequence[Mapping[str, Any]]:
        """What holds its deliveries back for longer than a moment."""
        return [each for each in self.shown["gates"] if each["kind"] not in _PASSING]

    @property
    def newest_secret_at(self) -> str:
        """When its newest secret was made, as the API has it; it tells it from any other."""
        secrets = self.shown["secrets"]
        return str(secrets[0]["created_at"]) if secrets else ""

    @property
    def outgoing_secrets(self) -> Sequence[Mapping[str, Any]]:
        """Its older secrets, which sign beside the newest until their overlap ends."""
        return [each for each in self.shown["secrets"] if each["expires_at"]]

    @property
    def last_failure(self) -> str:
        """Why the newest failure happened; "" if there was none."""
        health = self.shown["health"]
        return why_failed(health["last_failure_reason"], health["last_failure_status"])

    def url(self, visit: Visit, path: str = "", **query: object) -> str:
        """The URL of one of its pages."""
        return visit.url(f"/endpoints/{self.id}{path}", **query)


async def known(visit: Visit, endpoint_id: str | None = None) -> Known:
    """The endpoint with this id; without one, that which the path names. Raises ``ApiError`` (404)."""
    path = path_of(visit) if endpoint_id is None else {"id": endpoint_id}
    shown, version = await visit.ask_with_tag("get_endpoint", path)
    return Known(shown, version)


def path_of(visit: Visit) -> Mapping[str, str]:
    """The path of an operation on the endpoint that the page's path names."""
    return {"id": visit.path("id")}


def why_failed(reason: str | None, status: int | None) -> str:
    """Why an attempt failed, in words: "the receiver answered 503"."""
    if reason is None:
        return ""
    if reason == Reason.HTTP_STATUS and status is not None:
        return f"the receiver answered {status}"
    return WHY.get(Reason(reason), reason) if reason in _REASONS else reason


def is_the_callers(error: ApiError) -> bool:
    """Whether an error is to be shown beside the form that led to it, not as a page of its own."""
    return error.code in _ABOUT_THE_FORM


def is_missing(error: ApiError) -> bool:
    """Whether there is no such thing, or it is somebody else's."""
    return error.code is Code.NOT_FOUND
