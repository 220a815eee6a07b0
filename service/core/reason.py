"""Why: the closed sets of reasons, spelled the same in tables, API, logs and metrics."""

from enum import StrEnum


class Reason(StrEnum):
    """Why an attempt failed, or why a delivery ended."""

    HTTP_STATUS = "http_status"
    REDIRECT = "redirect"
    GONE = "gone"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    TIMEOUT = "timeout"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_RESET = "connect_reset"
    DNS = "dns"
    TLS = "tls"
    PROTOCOL_ERROR = "protocol_error"
    BLOCKED_DESTINATION = "blocked_destination"
    STALE_CONNECTION = "stale_connection"
    LOST = "lost"
    INTERNAL = "internal"
    EGRESS_PROXY = "egress_proxy"
    AUTH_REFUSED = "auth_refused"
    AUTH_UNAVAILABLE = "auth_unavailable"
    # Only final deliveries carry these.
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    AGE_EXCEEDED = "age_exceeded"
    CRASHES_WORKER = "crashes_worker"
    SUBSCRIPTION_DELETED = "subscription_deleted"
    ENDPOINT_EXPIRED = "endpoint_expired"
    PAST_RETENTION = "past_retention"


NOT_THE_RECEIVERS = frozenset({Reason.INTERNAL, Reason.EGRESS_PROXY, Reason.AUTH_REFUSED, Reason.AUTH_UNAVAILABLE})
"""Faults on the way to the receiver, which are never booked against it: no attempt is used, no breaker counts them."""


class ParkReason(StrEnum):
    """Why a broker message cannot become an event; also the ``code`` of a refused publish."""

    TOO_LARGE = "too_large"
    BAD_PROPERTIES = "bad_properties"
    INVALID_UTF8 = "invalid_utf8"
    BAD_JSON = "bad_json"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_KEY = "duplicate_key"
    TOO_DEEP = "too_deep"
    NUL_CHARACTER = "nul_character"
    MISSING_ID = "missing_id"
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"
    BAD_TIMESTAMP = "bad_timestamp"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    UNKNOWN_TYPE = "unknown_type"
    RESERVED_TYPE = "reserved_type"
    UNKNOWN_ORGANIZATION = "unknown_organization"
    BAD_DATA = "bad_data"
    COSTLY = "costly"
    CONFLICT = "conflict"
    UNRECORDABLE = "unrecordable"
