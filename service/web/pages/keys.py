"""API keys and the audit log, for whoever may administer the organization."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from service.api.errors import ApiError
from service.web.done import Done
from service.web.page import Form, Moved, Page, Result, Shown, Visit
from service.web.pages.filtering import as_file, as_query, asked, is_whole, key_names
from service.web.words import counted, instant

SCOPES = (
    ("read", "Look at everything"),
    ("write", "Change endpoints, replay"),
    ("publish", "Publish events"),
    ("admin", "Make keys and links, read the audit log"),
)
AUDIT_FILTERS = ("operation", "object_id", "actor_id")
EXPIRIES = (("", "never"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"))


async def show_keys(visit: Visit, *, made: Mapping[str, Any] | None = None, refused: ApiError | None = None) -> Result:
    """The keys, newest first; one that was just made is shown this once."""
    page = await visit.ask("list_keys", query=as_query({}, visit))
    now = datetime.now(UTC)
    ends = [each["revoked_at"] or each["expires_at"] for each in page["data"]]
    valid = sum(each is None or instant(each) > now for each in ends)
    context = {
        "page": page,
        "made": made,
        "errors": refused.errors or {"name": [refused.sentence]} if refused else {},
        "scopes": SCOPES,
        "expiries": EXPIRIES,
        "given": _typed(visit.form) if refused else _typed(Form(())),
    }
    title = counted(valid, "API key") if is_whole(page) else "API keys"
    return Shown("keys.html", title, context, status=refused.status if refused else 200)


def _typed(form: Form) -> Mapping[str, Any]:
    """What was typed stays in a form that was refused."""
    return {
        "name": form.get("name"),
        "scopes": form.all("scopes") or ["read"],
        "expires_in_days": form.get("expires_in_days"),
    }


async def make_key(visit: Visit) -> Result:
    """Make a key: it is on this page, and on none after it."""
    body = {
        "name": visit.form.get("name"),
        "scopes": visit.form.all("scopes"),
        "expires_in_days": visit.form.number("expires_in_days"),
    }
    try:
        made = await visit.ask("create_key", body=body)
    except ApiError as refused:
        if refused.status not in {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT}:
            raise
        return await show_keys(visit, refused=refused)
    return await show_keys(visit, made=made)


async def revoke_key(visit: Visit) -> Result:
    """Revoke a key; the sessions that it opened end with it."""
    await visit.ask("revoke_key", {"id": visit.path("id")})
    return Moved(visit.url("/keys"), Done.KEY_REVOKED)


async def export_keys(visit: Visit) -> Result:
    """All keys, as a file; what they are is in none."""
    return as_file(visit, "list_keys", {})


async def show_audit(visit: Visit) -> Result:
    """Who changed what, newest first."""
    filters = asked(visit, *AUDIT_FILTERS)
    page = await visit.ask("list_audit", query=as_query(filters, visit))
    return Shown("audit.html", "Who changed what", {"page": page, "filters": filters, "names": await key_names(visit)})


async def export_audit(visit: Visit) -> Result:
    """All entries that match the filters, as a file."""
    return as_file(visit, "list_audit", as_query(asked(visit, *AUDIT_FILTERS), visit))


def key_pages() -> Sequence[Page]:
    """The pages of keys and of the audit log."""
    return (
        Page("GET", "/keys", show_keys, "keys", scope="admin"),
        Page("GET", "/keys/export", export_keys, "keys", scope="admin"),
        Page("POST", "/keys", make_key, "keys", scope="admin"),
        Page("POST", "/keys/{id}/revoke", revoke_key, "keys", scope="admin"),
        Page("GET", "/audit", show_audit, "keys", scope="admin"),
        Page("GET", "/audit/export", export_audit, "keys", scope="admin"),
    )
