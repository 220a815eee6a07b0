"""Timestamps in answers: UTC, always with six fractional digits."""

from datetime import datetime
from typing import Annotated

from pydantic import PlainSerializer, WithJsonSchema

from service.core.timestamp import format_timestamp

Instant = Annotated[
    datetime,
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-20T18:25:35.123456Z"]}),
]
"""An aware datetime, serialised as ``YYYY-MM-DDThh:mm:ss.ssssssZ``."""
