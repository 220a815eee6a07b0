"""The AsyncAPI 3.0 document for producers: where to publish, event schemas, where refused messages end up."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.core.events.event import BODY_BYTES_MAX, CLOUDEVENTS
from service.core.events.schema import DescribedType, envelope_schema
from service.core.reason import ParkReason
from service.ports.source import Topology

Document = dict[str, Any]

_BINDING: Final = {"bindingVersion": "0.3.0"}
_PERSISTENT: Final = 2

_MESSAGE: Final = f"""At most {BODY_BYTES_MAX} bytes of JSON; CloudEvents 1.0 (`{CLOUDEVENTS}`) are accepted too.

Set `delivery_mode` to 2, `type` to the event type and `message_id` to the event's id. An envelope without an id gets
the `message_id`; some libraries generate a new one for each message, which defeats deduplication. Publish with confirms
and `mandatory`: otherwise an event that no queue is bound to is lost silently."""

_OPERATIONAL: Final = """Operational events, which Posthorn itself publishes about endpoints and deliveries.

They do not pass through the broker, and cannot be published (`reserved_type`). Endpoints subscribe to them by name, or
as `endpoint.*` and `delivery.*`; `*` does not cover them."""

_HEADERS: Final = {
    "type": "object",
    "properties": {"traceparent": {"type": "string", "description": "W3C Trace Context."}},
}
_PARKED_HEADERS: Final = {
    "type": "object",
    "required": ["x-posthorn-reason", "x-posthorn-detail"],
    "properties": {
        "x-posthorn-reason": {
            "enum": [reason.value for reason in ParkReason],
            "description": "The reason, for programs.",
        },
        "x-posthorn-detail": {"type": "string", "description": "The field, and what is wrong with it."},
        "x-posthorn-parked-at": {"type": "string", "format": "date-time", "description": "When it was parked."},
        "x-posthorn-exchange": {"type": "string", "description": "The exchange it was published to."},
        "x-posthorn-routing-key": {"type": "string", "description": "The routing key it was published with."},
        "x-posthorn-properties": {
            "type": "string",
            "contentEncoding": "base64",
            "description": "The original's flags and properties as they came, where they cannot be sent as they were.",
        },
    },
}


def asyncapi_document(version: str, event_types: Sequence[DescribedType], topology: Topology) -> Document:
    """Build the document for these types; organizations' own types are included only if the caller adds them."""
    names = [each.name for each in event_types if not each.is_operational]
    own_names = [each.name for each in event_types if each.is_operational]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Posthorn",
            "version": version,
            "description": "Publish messaging events; Posthorn delivers them as signed webhooks.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": _events_channel(names, topology),
            "intake": _queue_channel(topology.intake_queue, _intake_description(topology), names),
            "parked": _queue_channel(
                topology.parked, "Messages that are not valid events, unchanged, with the reason.", ["parked"]
            ),
            "webhooks": {
                "address": None,
                "title": "Webhooks about your own webhooks",
                "description": _OPERATIONAL,
                "messages": _references(own_names),
            },
        },
        "operations": {
            "takeIn": _operation("receive", "events", names, "Events are recorded, then acked."),
            "tell": {
                "action": "send",
                "channel": {"$ref": "#/channels/webhooks"},
                "summary": "Posthorn POSTs operational events to the endpoints subscribed to them.",
                "messages": [{"$ref": f"#/channels/webhooks/messages/{name}"} for name in own_names],
            },
            "park": _operation("send", "parked", ["parked"], "Messages that are not valid events are set aside."),
        },
        "components": {
            "messages": {
                **{each.name: _own_message(each) if each.is_operational else _message(each) for each in event_types},
                "parked": {
                    "name": "parked",
                    "title": "A parked message",
                    "summary": "The original bytes and properties; headers give the reason.",
                    "headers": _PARKED_HEADERS,
                    "payload": {"description": "The published bytes."},
                },
            },
            "schemas": {"Envelope": envelope_schema(is_published=True)},
        },
    }


def _events_channel(names: Sequence[str], topology: Topology) -> Document:
    return {
        "address": "{event_type}",
        "title": f"The exchange {topology.events_exchange}",
        "description": "The routing key is the event type. It is used for binding only; the envelope's `type` decides.",
        "parameters": {"event_type": {"description": "The routing key.", "enum": list(names)}},
        "messages": _references(names),
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": topology.events_exchange,
                    "type": "topic",
                    "durable": True,
                    "autoDelete": False,
                    "vhost": "/",
                },
                **_BINDING,
            }
        },
    }


def _queue_channel(queue: str, description: str, names: Sequence[str]) -> Document:
    properties = {"name": queue, "durable": True, "exclusive": False, "autoDelete": False, "vhost": "/"}
    return {
        "address": queue,
        "title": f"The queue {queue}",
        "description": description,
        "messages": _references(names),
        "bindings": {"amqp": {"is": "queue", "queue": properties, **_BINDING}},
    }


def _intake_description(topology: Topology) -> str:
    patterns = " and ".join(f"`{each}`" for each in topology.bindings)
    return (
        f"A quorum queue that workers share, bound to {topology.events_exchange} with {patterns}. Messages "
        f"delivered more than {topology.delivery_limit} times go to {topology.parked}."
    )


def _operation(action: str, channel: str, names: Sequence[str], summary: str) -> Document:
    """``action`` is Posthorn's side: it receives what producers send."""
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
        "bindings": {
            "amqp": {"ack": True, **_BINDING}
            if action == "receive"
            else {"deliveryMode": _PERSISTENT, "mandatory": True, **_BINDING}
        },
    }


def _message(kind: DescribedType) -> Document:
    payload = envelope_schema(is_published=True)
    payload["required"] += ["organization_id"]
    payload["properties"] |= {"type": {"const": kind.name}, "data": kind.schema}
    message: Document = {
        "name": kind.name,
        "title": kind.name,
        "summary": kind.description,
        "description": _MESSAGE,
        "contentType": "application/json",
        "headers": _HEADERS,
        "payload": payload,
        "bindings": {"amqp": {"contentEncoding": "UTF-8", "messageType": kind.name, **_BINDING}},
    }
    if kind.sample is not None:
        message["examples"] = [{"name": "sample", "payload": kind.sample}]
    return message


def _own_message(kind: DescribedType) -> Document:
    return {
        "name": kind.name,
        "title": kind.name,
        "summary": kind.description,
        "contentType": "application/json",
        "payload": envelope_schema(kind.name),
        "examples": [{"name": "sample", "payload": kind.sample}],
    }


def _references(names: Sequence[str]) -> Mapping[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}
