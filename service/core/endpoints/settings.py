"""The settings of an endpoint, and what a caller asks of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final

from service.core.endpoints.auth import (
    HIDDEN,
    EndpointAuth,
    UnreadableAuth,
    shown_auth,
)
from service.core.endpoints.merging import merge_headers, merge_patch
from service.core.endpoints.signing.signing import Signing

STYLE_WITH_HEADER: Final = "t-v1"


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """The settings of an endpoint, with the defaults of a new one.

    ``filter`` and ``retry`` are JSON as the caller sent it; None means every event, and the service's own schedule.
    ``headers`` is None when the stored headers cannot be decrypted: their key is missing from SECRET_KEYS. A ``url``
    that cannot be is masked.
    ``rate_limit_per_second`` and ``max_in_flight`` hold across all workers; None leaves the endpoint unlimited.
    ``auth`` is what the endpoint asks Posthorn to prove itself with; None: the signature is enough.
    ``order_by`` is the path of the value whose events come one after the other; a delivery that failed holds them up
    for ``order_wait_seconds`` (None: for ``ORDER_WAIT_SECONDS``).
    From ``valid_until`` on it gets nothing more; None: it has no end.
    """

    url: str
    event_types: tuple[str, ...]
    description: str = ""
    headers: Mapping[str, str] | None = field(default_factory=dict)
    signature_style: str = "standard"
    signature_header: str | None = None
    filter: Mapping[str, Any] | None = None
    retry: str | list[float] | None = None
    timeout_seconds: float | None = None
    rate_limit_per_second: float | None = None
    max_in_flight: int | None = None
    order_by: str | None = None
    order_wait_seconds: float | None = None
    auth: EndpointAuth | UnreadableAuth | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    valid_until: datetime | None = None


NOTHING_ASKED: Final = EndpointSettings(url="", event_types=())
"""What a new endpoint starts from."""
REQUIRED: Final = frozenset({"url", "event_types"})
"""The settings without a default."""

_DEFAULTS: Final = {each.name: getattr(NOTHING_ASKED, each.name) for each in fields(EndpointSettings)}


@dataclass(frozen=True, slots=True)
class EndpointWish:
    """What a caller asks for: values by the field names of ``EndpointSettings``; None means default.

    Also ``secret``, of a new endpoint, and ``overlap_seconds``, with a change of ``signature_style``.
    ``unreadable`` holds the fields that the interface could not parse, with sentences about each. They are not in
    ``given``; their problems are reported together with those of the other fields. The objects in ``merged`` change
    what there is key by key (``merge_patch``) instead of replacing it.
    """

    given: Mapping[str, Any]
    unreadable: Mapping[str, Sequence[str]] = field(default_factory=dict)
    merged: frozenset[str] = frozenset()

    def whole(self, *, but_for: Collection[str] = ()) -> "EndpointWish":
        """The same for every setting: what is not given gets its default, ``but_for`` these, which stay."""
        defaults = {name: value for name, value in _DEFAULTS.items() if name not in {*REQUIRED, *but_for}}
        return replace(self, given=defaults | {name: value for name, value in self.given.items() if value is not None})


@dataclass(frozen=True, slots=True)
class GrantedWish:
    """The new settings, and the signing secret of a new endpoint; None means that the service generates one.

    ``overlap``: the signature style changes with a new secret, and for so long the older ones sign in the old style.
    """

    settings: EndpointSettings
    secret: str | None
    overlap: timedelta | None = None


def signing_of(settings: EndpointSettings) -> Signing:
    """How the endpoint's secrets sign, but for older ones that keep a style which it has left."""
    return Signing(settings.signature_style, settings.signature_header)


def differing(one: EndpointSettings, other: EndpointSettings) -> Sequence[str]:
    """The names of the settings in which the two differ; in which order event types come makes no difference."""
    return [
        each.name
        for each in fields(EndpointSettings)
        if _comparable(each.name, getattr(one, each.name)) != _comparable(each.name, getattr(other, each.name))
    ]


def _comparable(name: str, value: object) -> object:
    return frozenset(value) if name == "event_types" and isinstance(value, tuple) else value


def with_whole_objects(wish: EndpointWish, before: EndpointSettings) -> EndpointWish:
    """The wish with whole objects in place of those that change what there is key by key."""
    bases: Mapping[str, Mapping[str, Any] | None] = {
        "headers": dict.fromkeys(before.headers or (), HIDDEN),
        "auth": shown_auth(before.auth),
        "filter": before.filter,
        "metadata": before.metadata,
    }
    given = dict(wish.given)
    for name in wish.merged & given.keys():
        merge = merge_headers if name == "headers" else merge_patch
        given[name] = merge(bases[name] or {}, given[name]) if isinstance(given[name], dict) else given[name]
    return replace(wish, given=given, merged=frozenset())


def merged(given: Mapping[str, Any], before: EndpointSettings) -> EndpointSettings:
    """``before`` with the given values; None sets the default, and ``***`` keeps a header's stored value."""
    changes = {name: _DEFAULTS[name] if value is None else value for name, value in given.items()}
    if "event_types" in changes:
        changes["event_types"] = tuple(dict.fromkeys(changes["event_types"]))
    if "headers" in changes:
        kept = {name.lower(): value for name, value in (before.headers or {}).items()}
        changes["headers"] = {
            name: kept.get(name.lower(), value) if value == HIDDEN else value
            for name, value in changes["headers"].items()
        }
    after = replace(before, **changes)
    return after if after.signature_style == STYLE_WITH_HEADER else replace(after, signature_header=None)
