"""An event's scope: which brand, campaign and project it belongs to (``data.scope``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class ScopeName(StrEnum):
    """What a scope names, as in ``data.scope``; a column of ``events`` has the same name."""

    BRAND = "brand_id"
    CAMPAIGN = "campaign_id"
    PROJECT = "project_id"


@dataclass(frozen=True, slots=True)
class ScopeWanted:
    """Only events that belong to one of these brands, campaigns or projects."""

    name: ScopeName
    ids: Sequence[str]
