"""PostgreSQL: the retry queue and the record."""

from service.adapters.postgres.deliveries import PostgresDeliveryStore
from service.adapters.postgres.endpoint_health import EndpointHealth
from service.adapters.postgres.endpoints import EndpointStore
from service.adapters.postgres.engine import clock_skew_seconds, connect, in_use, is_migrated, migrate
from service.adapters.postgres.event_reads import EventReader
from service.adapters.postgres.event_types import EventTypeStore
from service.adapters.postgres.explain_reads import ExplainReader
from service.adapters.postgres.idempotency import IdempotencyStore
from service.adapters.postgres.keys import KeyStore, ListedKey, StoredKey
from service.adapters.postgres.rate_windows import RateWindowStore
from service.adapters.postgres.reads import AttemptView, DeliveryDetail, DeliveryFilter, DeliveryReader, DeliveryView
from service.adapters.postgres.replays import ReplayRefused, Replays
from service.adapters.postgres.resthooks import ResthookStore
from service.adapters.postgres.subscriptions import (
    Administration,
    ListedEndpoint,
    NewEndpoint,
    PostgresSubscriptionStore,
)

__all__ = [
    "Administration",
    "AttemptView",
    "DeliveryDetail",
    "DeliveryFilter",
    "DeliveryReader",
    "DeliveryView",
    "EndpointHealth",
    "EndpointStore",
    "EventReader",
    "EventTypeStore",
    "ExplainReader",
    "IdempotencyStore",
    "KeyStore",
    "ListedEndpoint",
    "ListedKey",
    "NewEndpoint",
    "PostgresDeliveryStore",
    "PostgresSubscriptionStore",
    "RateWindowStore",
    "ReplayRefused",
    "Replays",
    "ResthookStore",
    "StoredKey",
    "clock_skew_seconds",
    "connect",
    "in_use",
    "is_migrated",
    "migrate",
]
