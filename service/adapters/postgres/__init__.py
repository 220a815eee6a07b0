"""PostgreSQL: the retry queue and the record."""

from service.adapters.postgres.deliveries import PostgresDeliveryStore
from service.adapters.postgres.engine import clock_skew_seconds, connect, in_use, is_migrated, migrate
from service.adapters.postgres.reads import AttemptView, DeliveryFilter, DeliveryReader, DeliveryView
from service.adapters.postgres.subscriptions import (
    Administration,
    ListedEndpoint,
    NewEndpoint,
    PostgresSubscriptionStore,
    StoredKey,
)

__all__ = [
    "Administration",
    "AttemptView",
    "DeliveryFilter",
    "DeliveryReader",
    "DeliveryView",
    "ListedEndpoint",
    "NewEndpoint",
    "PostgresDeliveryStore",
    "PostgresSubscriptionStore",
    "StoredKey",
    "clock_skew_seconds",
    "connect",
    "in_use",
    "is_migrated",
    "migrate",
]
