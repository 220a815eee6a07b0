"""``/api/v2`` for the OpenAPI document. Its rules are RapidPro's, so it has no models: this is written by hand."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from service.api.component import named
from service.api.documents.schemas import Schema, reference

RAPIDPRO_TAG: Final = "resthooks (v2)"
RAPIDPRO_SECURITY: Final = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "RapidPro's form: `Authorization: Token ph_live_…`",
    }
}

_PREFIX: Final = "/api/v2"
_AT: Final = "2026-11-20T18:25:35.123456Z"
_TIME: Final = {"type": "string", "format": "date-time", "examples": [_AT]}
_SECURITY: Final[list[Schema]] = [{"token": []}, {"bearer": []}, {"basic": []}, {"header": []}]
_SUBSCRIBER_FIELDS: Final[Mapping[str, Schema]] = {
    "id": {"type": "integer", "examples": [42]},
    "resthook": {"type": "string", "description": "The event type.", "examples": ["message.sent"]},
    "target_url": {"type": "string", "examples": ["https://example.com/hooks"]},
    "created_on": _TIME,
}
_SUBSCRIBER: Final = {
    "id": 42,
    "resthook": "message.sent",
    "target_url": "https://example.com/hooks",
    "created_on": _AT,
}
_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - an example
_NEW: Final = {"resthook": "message.sent", "target_url": "https://example.com/hooks"}


def rapidpro_schemas() -> dict[str, Schema]:
    """The components of this surface."""
    resthook: dict[str, Schema] = {
        "resthook": {"type": "string", "examples": ["message.sent"]},
        "modified_on": _TIME,
        "created_on": _TIME,
    }
    event: dict[str, Schema] = {
        "resthook": {"type": "string", "examples": ["message.sent"]},
        "data": {"type": ["object", "null"], "additionalProperties": True, "description": "The whole event."},
        "created_on": _TIME,
    }
    new: Schema = {
        "type": "object",
        "properties": {
            "resthook": {"type": "string", "minLength": 1, "description": "The event type; no pattern."},
            "target_url": {"type": "string", "minLength": 1, "maxLength": 2048, "description": "Where webhooks go."},
            "secret": {"type": "string", "minLength": 1, "writeOnly": True, "description": "Your own signing secret."},
        },
        "required": ["resthook", "target_url"],
        "additionalProperties": True,
        "description": "A subscription to make; other fields are ignored.",
    }
    made = {**_SUBSCRIBER_FIELDS, "secret": {"type": "string", "description": "Only if the URL has no endpoint yet."}}
    return {
        "NewResthookSubscriber": new,
        "CreatedResthookSubscriber": _object(made, "A subscription, and the new endpoint's secret.", {"secret"}),
        "ResthookPage": _page("Resthook", _object(resthook, "An event type that can be subscribed to.")),
        "ResthookSubscriberPage": _page("ResthookSubscriber", _object(_SUBSCRIBER_FIELDS, "A subscription.")),
        "ResthookEventPage": _page("ResthookEvent", _object(event, "An event.")),
        "Refusal": {
            "type": "object",
            "description": "`detail` says why; or each field has a list of sentences.",
            "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        },
    }


def rapidpro_responses() -> dict[str, Any]:
    """The refusals of this surface."""
    told = {
        "NotValid": ("A field is not valid.", {"target_url": ["Enter a valid URL."]}),
        "NotAllowed": ("The token is missing or wrong, or lacks the scope.", {"detail": "Invalid token"}),
        "NoMatch": ("There is no such subscription.", {"detail": "No ResthookSubscriber matches the given query."}),
        "Capped": (
            "There is no room for more, or the same request is still running.",
            {"detail": "Cannot create object: …"},
        ),
        "Refused": ("Any other refusal.", {"detail": "Request was throttled. Expected available in 1 second."}),
    }
    content = {name: {"schema": reference("Refusal"), "example": example} for name, (_, example) in told.items()}
    return {
        name: {"description": description, "content": {"application/json": content[name]}}
        for name, (description, _) in told.items()
    }


def rapidpro_paths() -> dict[str, Any]:
    """The operations of this surface."""
    resthook = _filter("resthook", "Only of this event type.", "message.sent")
    reverse = {**_filter("reverse", "Oldest first.", True), "schema": {"type": "boolean"}}  # noqa: FBT003 - an example
    cursor = _filter("cursor", "Part of `next` and `previous`: follow these links.", "YXxbMSwyXQ")
    event = {"resthook": "message.sent", "data": {"id": "evt_1", "type": "message.sent"}, "created_on": _AT}
    hook = {"resthook": "message.sent", "modified_on": _AT, "created_on": _AT}
    return {
        f"{_PREFIX}/resthooks.json": {
            "get": _operation(
                "list_resthooks",
                "List resthooks",
                "Event types that can be subscribed to, most recently modified first.",
                [reverse, cursor],
                {"200": _list("ResthookPage", hook)},
            )
        },
        **_subscriber_paths([resthook, cursor]),
        f"{_PREFIX}/resthook_events.json": {
            "get": _operation(
                "list_resthook_events",
                "List resthook events",
                "Newest first, whether or not anybody subscribed.",
                [resthook, cursor],
                {"200": _list("ResthookEventPage", event)},
            )
        },
    }


def _subscriber_paths(filters: list[Schema]) -> dict[str, Any]:
    subscriber = {**_filter("id", "Only this subscription.", 42), "schema": {"type": "integer"}}
    required = {"in": "path", "required": True}
    return {
        f"{_PREFIX}/resthook_subscribers.json": {
            "get": _operation(
                "list_resthook_subscribers",
                "List subscribers",
                "Newest first.",
                [subscriber, *filters],
                {"200": _list("ResthookSubscriberPage", _SUBSCRIBER)},
            ),
            "post": _operation(
                "create_resthook_subscriber",
                "Subscribe a URL to a resthook",
                "No request is sent to the URL. The secret is shown if it was not an endpoint yet. "
                "The body may be a form, too.",
                [],
                {"201": _answer("CreatedResthookSubscriber", {**_SUBSCRIBER, "secret": _SECRET}), **_CAPPED},
            )
            | {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": reference("NewResthookSubscriber"), "example": _NEW}},
                }
            },
            "delete": _operation(
                "delete_resthook_subscriber_by_query",
                "Unsubscribe, by query",
                "As RapidPro's clients do it.",
                [{**subscriber, "required": True, "description": "The subscription's id."}],
                _DELETED,
            ),
        },
        f"{_PREFIX}/resthook_subscribers/{{id}}.json": {
            "delete": _operation(
                "delete_resthook_subscriber",
                "Unsubscribe",
                "",
                [{**subscriber, **required, "description": "The subscription's id."}],
                _DELETED,
            )
        },
    }


_CAPPED: Final = {"409": {"$ref": "#/components/responses/Capped"}}
_DELETED: Final = {"204": {"description": "No Content"}, "404": {"$ref": "#/components/responses/NoMatch"}}


def _operation(name: str, summary: str, description: str, parameters: list[Schema], answers: Schema) -> Schema:
    scope = "read" if name.startswith("list") else "write"
    refusals = {"400": "NotValid", "403": "NotAllowed", "4XX": "Refused", "5XX": "Refused"}
    return {
        "operationId": name,
        "summary": summary,
        "description": f"{description}\n\nScope: `{scope}`.".strip(),
        "tags": [RAPIDPRO_TAG],
        "security": _SECURITY,
        "parameters": parameters,
        "responses": {
            **answers,
            **{status: {"$ref": f"#/components/responses/{each}"} for status, each in refusals.items()},
        },
    }


def _filter(name: str, description: str, example: object) -> Schema:
    where = {"name": name, "in": "query", "required": False, "description": description}
    return where | {"schema": {"type": "string"}, "example": example}


def _list(page: str, item: Schema) -> Schema:
    return _answer(page, {"next": None, "previous": None, "results": [item]})


def _answer(component: str, example: Schema) -> Schema:
    content = {"application/json": {"schema": reference(component), "example": example}}
    return {"description": "Created" if component.startswith("Created") else "OK", "content": content}


def _page(item_name: str, item: Schema) -> Schema:
    link = {"type": ["string", "null"], "format": "uri"}
    fields: dict[str, Schema] = {
        "next": link | {"description": "The next page; null on the last."},
        "previous": link | {"description": "The page before; null on the first."},
        "results": {"type": "array", "items": named(item_name, item)},
    }
    return _object(fields, "One page of a list.")


def _object(fields: Mapping[str, Schema], description: str, optional: Collection[str] = ()) -> Schema:
    required = [name for name in fields if name not in optional]
    return {"type": "object", "description": description, "properties": dict(fields), "required": required}
