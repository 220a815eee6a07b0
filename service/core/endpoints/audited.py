"""What the audit log keeps of an endpoint: no secret, no header's value, no query of its URL."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from service.core.audit.entry import Masked, State
from service.core.endpoints.auth import HIDDEN, EndpointAuth, UnreadableAuth, masked_auth
from service.core.endpoints.gates.gate import OPENED_BY_PEOPLE, GateKind
from service.core.endpoints.settings import EndpointSettings
from service.core.endpoints.url import masked_url
from service.core.endpoints.view import EndpointView, SecretHint

_MOVED: Final = OPENED_BY_PEOPLE | {GateKind.BREAKER}


def _masked_headers(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return None if headers is None else dict.fromkeys(headers, HIDDEN)


def _masked_auth(auth: EndpointAuth | UnreadableAuth | None) -> Mapping[str, object] | None:
    shown = masked_auth(auth)
    if shown is not None and "certificate" in shown:  # no secret, but long
        shown["certificate"] = HIDDEN
    return shown


SHOWN: Final = frozenset(
    {
        *("event_types", "description", "signature_style", "signature_header", "filter", "retry", "timeout_seconds"),
        *("rate_limit_per_second", "max_in_flight", "order_by", "order_wait_seconds", "metadata"),
        "valid_until",
    }
)
"""Settings that hold nothing secret."""
SHOWN_IN_PART: Final[Mapping[str, Callable[[Any], object]]] = {
    "url": masked_url,
    "headers": _masked_headers,
    "auth": _masked_auth,
}
"""Settings of which a part is hidden."""
HIDDEN_WHOLE: Final[frozenset[str]] = frozenset()
"""Settings that are secret. So is any that stands nowhere here: an entry only says that it has changed."""


def settings_state(endpoint: EndpointView) -> State:
    """Its settings, masked."""
    return {each.name: _shown(each.name, getattr(endpoint.settings, each.name)) for each in fields(EndpointSettings)}


def _shown(name: str, value: object) -> object:
    if name in SHOWN:
        return value
    if name in SHOWN_IN_PART:
        return Masked(value, SHOWN_IN_PART[name](value))
    return Masked(value, None if value is None else HIDDEN)


def changeable_state(endpoint: EndpointView) -> State:
    """Its settings and secrets, which a change of its signature style concerns both, and when it was verified."""
    return {**settings_state(endpoint), **secrets_state(endpoint), "verified_at": endpoint.verified_at}


def endpoint_state(endpoint: EndpointView) -> State:
    """All there is to keep of an endpoint that is made or removed."""
    return {**changeable_state(endpoint), "state": endpoint.state}


def secrets_state(endpoint: EndpointView) -> State:
    """Its secrets, newest first: of each the last four characters, which people tell them apart by."""
    return {"secrets": [_hint(each) for each in endpoint.secrets]}


def gates_state(endpoint: EndpointView) -> State:
    """Its state, and the gates that people move; others may move by themselves at the same moment."""
    return {"state": endpoint.state, "gates": sorted(str(each.kind) for each in endpoint.gates if each.kind in _MOVED)}


def _hint(secret: SecretHint) -> Mapping[str, object]:
    shown: dict[str, object] = {
        "hint": secret.hint,
        "created_at": secret.created_at,
        "expires_at": secret.expires_at,
    }
    if secret.public_key is not None:
        shown["public_key"] = secret.public_key
    if secret.former is not None:
        shown["signature_style"] = secret.former.style
    return shown
