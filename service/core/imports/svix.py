"""Svix's list of endpoints (``GET /api/v1/app/{app_id}/endpoint``), with what else an export has of each.

The list has neither secrets nor headers: the API answers those for one endpoint at a time. An export may have put them
into the entries: ``secret`` (or ``key``) and ``headers``.
"""

from collections.abc import Mapping
from typing import Any, Final

from service.core.imports.foreign import Foreign, Found, are_texts, read_each, text_of, texts_of, whole_of

PREFIX: Final = "svix"


def read_svix(export: object) -> Found:
    """Read an answer of the list, or a plain list of endpoints."""
    entries = export.get("data") if isinstance(export, dict) else export
    return read_each(entries, "data", _read)


def _read(entry: Mapping[str, Any]) -> Foreign | str:
    url, svix_id = text_of(entry, "url"), text_of(entry, "id", "uid")
    if not url or not svix_id:
        return "needs id and url"
    differs = []
    given: dict[str, Any] = {"description": text_of(entry, "description")}
    metadata = entry.get("metadata")
    if metadata and not are_texts(metadata):
        return "metadata: every value must be text"
    given["metadata"] = {**(metadata or {}), "svix_id": svix_id}
    if uid := text_of(entry, "uid"):
        given["metadata"]["svix_uid"] = uid
    if rate := whole_of(entry.get("throttleRate") or entry.get("rateLimit")):
        given["rate_limit_per_second"] = rate
    if secret := text_of(entry, "secret", "key"):
        given["secret"] = secret if secret.startswith("whsec_") else f"whsec_{secret}"
    else:
        differs.append("the export has no secret: it gets a new one")
    headers = entry.get("headers")
    if isinstance(headers, dict) and isinstance(headers.get("headers"), dict):
        hidden = texts_of(headers.get("sensitive"))
        headers = headers["headers"]
        differs += [f"the value of the header {name} is hidden in the export" for name in hidden]
    if headers and not are_texts(headers):
        return "headers: every value must be text"
    if headers:
        given["headers"] = headers
    if channels := texts_of(entry.get("channels")):
        differs.append(f"channels ({', '.join(channels)[:80]}) do not exist here: use a filter")
    types = texts_of(entry.get("filterTypes")) or ("*",)
    return Foreign((svix_id,), url, types, given, entry.get("disabled") is True, tuple(differs))
