"""Convoy's list of endpoints (``GET /api/v1/projects/{id}/endpoints``), and its subscriptions, which name event types.

Convoy signs with the secret as text, in hex: the bare HMAC of the body, or ``t=…,v1=…`` over the timestamp, a comma and
the body. Neither is a style of ours, so the secret stays, and what checks it changes (docs/migrating.md).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.core.imports.foreign import Foreign, Found, Unreadable, each_object, read_each, text_of, texts_of, whole_of

PREFIX: Final = "convoy"
SIGNATURE_HEADER: Final = "X-Convoy-Signature"

_DURATION: Final = re.compile(r"([0-9]{1,6})(ms|s|m|h)?")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PAUSED: Final = frozenset({"paused", "inactive"})


def read_convoy(export: object, subscriptions: object = None) -> Found:
    """Read answers of both lists. Without subscriptions every endpoint gets all event types (``*``)."""
    unreadable: list[Unreadable] = []
    subscribed: dict[str, list[Mapping[str, Any]]] = {}
    for each in each_object(_content(subscriptions), "subscriptions") if subscriptions is not None else ():
        if isinstance(each, Unreadable):
            unreadable.append(each)
            continue
        metadata, filters = each[1].get("endpoint_metadata"), each[1].get("filter_config")
        uid = text_of(metadata, "uid") if isinstance(metadata, dict) else text_of(each[1], "endpoint_id")
        subscribed.setdefault(uid, []).append(filters if isinstance(filters, dict) else {})

    def read(entry: Mapping[str, Any]) -> Foreign | str:
        return _read(entry, subscribed.get(text_of(entry, "uid"), []) if subscriptions is not None else [{}])

    return [*unreadable, *read_each(_content(export), "content", read)]


def _event_types(subscribed: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What the filters of its subscriptions name; one that names nothing is for everything."""
    named = [each for filters in subscribed for each in texts_of(filters.get("event_types")) or ("*",)]
    return tuple(dict.fromkeys(named))


def _has_conditions(filters: Mapping[str, Any]) -> bool:
    inner = filters.get("filter")
    return isinstance(inner, dict) and any(inner.values())


def _content(export: object) -> object:
    """The entries: ``{"data": {"content": […]}}``, or less of it."""
    for name in ("data", "content"):
        export = export[name] if isinstance(export, dict) and name in export else export
    return export


def _read(entry: Mapping[str, Any], subscribed: Sequence[Mapping[str, Any]]) -> Foreign | str:
    url, uid = text_of(entry, "url", "target_url"), text_of(entry, "uid")
    if not url or not uid:
        return "needs uid and url"
    if not subscribed:
        return "no subscription is for it, so it would get nothing"
    has_conditions = any(map(_has_conditions, subscribed))
    differs = ["its subscriptions have a filter: write one in the language of filters here"] if has_conditions else []
    given: dict[str, Any] = {"description": text_of(entry, "description", "name", "title")}
    given["metadata"] = {"convoy_id": uid}
    if owner := text_of(entry, "owner_id"):
        given["metadata"]["convoy_owner_id"] = owner
    listed = entry.get("secrets") or []
    if not isinstance(listed, list):
        return "secrets: must be a list"
    secrets = [each for each in listed if isinstance(each, dict) and not each.get("deleted_at")]
    valid = [text_of(each, "value") for each in secrets if not each.get("expires_at") and text_of(each, "value")]
    if valid:
        given["secret"] = valid[-1]
        is_advanced = entry.get("advanced_signatures") is True
        given["signature_style"] = "t-v1" if is_advanced else "sha256-body"
        if is_advanced:
            given["signature_header"] = SIGNATURE_HEADER
        differs.append(f"its signature: the secret is the same, the style is {given['signature_style']}")
    else:
        differs.append("the export has no secret: it gets a new one")
    rate, over = whole_of(entry.get("rate_limit")), _seconds(entry.get("rate_limit_duration"))
    if rate and over:
        given["rate_limit_per_second"] = rate / over
    if timeout_seconds := _seconds(entry.get("http_timeout")):
        given["timeout_seconds"] = timeout_seconds
    given |= _authentication(entry.get("authentication"), differs)
    is_paused = text_of(entry, "status") in _PAUSED or entry.get("is_disabled") is True
    return Foreign((uid,), url, _event_types(subscribed), given, is_paused, tuple(differs))


def _authentication(found: object, differs: list[str]) -> Mapping[str, Any]:
    """Its headers or auth; what cannot be taken over is added to ``differs``."""
    if not isinstance(found, dict) or not found.get("type"):
        return {}
    kind, inner = found["type"], found.get(str(found["type"]))
    if kind == "api_key" and isinstance(inner, dict) and text_of(inner, "header_name"):
        return {"headers": {text_of(inner, "header_name"): text_of(inner, "header_value")}}
    if kind == "oauth2" and isinstance(inner, dict) and text_of(inner, "client_secret"):
        names = {"token_url": "url", "client_id": "client_id", "client_secret": "client_secret", "scope": "scope"}
        auth = {ours: text_of(inner, theirs) for ours, theirs in names.items()}
        return {"auth": {"type": "oauth2", **auth, "scope": auth["scope"] or None}}
    differs.append(f"its authentication {str(kind)[:40]!r} cannot be taken over")
    return {}


def _seconds(value: object) -> float | None:
    """A duration: a number of seconds, or a text such as ``1m``."""
    if isinstance(value, int):
        return whole_of(value)
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) * _UNIT_SECONDS[found[2] or "s"] or None if found else None
