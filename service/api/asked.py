"""What an operation may know of the request that led to it: of one over HTTP, or of one made inside the process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import ETag

from service.api.problem import JSON


class Asked(Protocol):
    """The part of ``aiohttp.web.Request`` that handlers may read besides path, query and body."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""

    @property
    def scheme(self) -> str:
        """Http or https, as far as we see it."""

    @property
    def host(self) -> str:
        """The host, and the port, that it was sent to."""

    @property
    def match_info(self) -> Mapping[str, str]:
        """The path's parameters."""

    @property
    def remote(self) -> str | None:
        """The address of the client, or of the last proxy before us."""

    @property
    def content_type(self) -> str:
        """The body's media type, without parameters."""

    @property
    def if_match(self) -> tuple[ETag, ...] | None:
        """The tags of If-Match."""

    @property
    def if_none_match(self) -> tuple[ETag, ...] | None:
        """The tags of If-None-Match."""


@dataclass(frozen=True, slots=True)
class InsideRequest:
    """A request that was made inside the process."""

    match_info: Mapping[str, str] = field(default_factory=dict)
    remote: str | None = None
    if_match: tuple[ETag, ...] | None = None
    if_none_match: tuple[ETag, ...] | None = None
    content_type: str = JSON
    scheme: str = "http"
    host: str = "localhost"

    @property
    def headers(self) -> Mapping[str, str]:
        """Only that there is a condition."""
        return {"If-Match": "given"} if self.if_match is not None else {}
