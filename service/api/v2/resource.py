"""A resource of this surface: a path and its methods."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from service.api.entrance.caller import actor_of
from service.api.v2.refusal import RefusalError, refusal
from service.api.v2.subscribing import UNSTORABLE
from service.core.audit.actor import Actor
from service.core.keys.api_key import StoredKey

NOT_AN_INTEGER: Final = "Value for id must be an integer"

_INTEGER: Final = re.compile(r"-?[0-9]{1,4000}")  # Python reads up to 4,300 digits
_ID_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ResourceCall:
    """One request, authorised where it has a key: only the documentation is there for anybody."""

    request: web.Request
    key: StoredKey | None
    body: bytes = b""

    @property
    def organization_id(self) -> str:
        """Whose data this call may see; anybody's is nothing."""
        return self.key.organization_id if self.key is not None else ""

    @property
    def actor(self) -> Actor:
        """Who makes the change, for the audit log. Raises ``LookupError`` without a key."""
        if self.key is None:
            raise LookupError("nobody changes anything without a key")
        return actor_of(self.request.remote, self.key)

    def parameter(self, name: str) -> str | None:
        """Return a query parameter, the last if it is repeated. Raises ``RefusalError`` (400)."""
        values = self.request.query.getall(name, [])
        if values and "\0" in values[-1]:
            raise RefusalError(400, {name: [UNSTORABLE]})
        return values[-1] if values else None

    def id(self) -> int | None:
        """Return the id from the path or query; 0, which no row has, beyond 64 bits. Raises ``RefusalError`` (400)."""
        text = self.request.match_info.get("id") or self.parameter("id")
        if text is None:
            return None
        if not _INTEGER.fullmatch(text):
            raise refusal(400, NOT_AN_INTEGER)
        number = int(text)
        return number if abs(number) <= _ID_MAX else 0


Verb = Callable[[ResourceCall], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class Resource:
    """A path under the prefix. ``page`` names its documentation, which is served at the path without a suffix."""

    path: str
    verbs: Mapping[str, Verb]
    page: str | None = None

    @property
    def allow(self) -> str:
        """The methods, as RapidPro's Allow header lists them: HEAD and OPTIONS too, where it refuses them."""
        head = ["HEAD"] if "GET" in self.verbs else []
        return ", ".join([*self.verbs, *head, "OPTIONS"])
