"""How events are published by hand."""

from enum import StrEnum


class Via(StrEnum):
    """Through the broker, or through the API."""

    AMQP = "amqp"
    HTTP = "http"
