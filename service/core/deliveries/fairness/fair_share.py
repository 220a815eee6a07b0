"""Fair claims: organizations get equal shares, and within each its endpoints do."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Turn(NamedTuple):
    """An endpoint that has deliveries due. ``is_limited``: it asks for limits of its own.

    ``organization_id`` and ``url`` are empty where they are not known.
    """

    endpoint_id: str
    organization_id: str = ""
    url: str = ""
    is_limited: bool = False


def fair_shares(turns: Sequence[Turn], *, limit: int, per_endpoint_limit: int) -> Mapping[str, int]:
    """How many of the ``limit`` deliveries of a claim each endpoint may have; the first ones if not all can have one.

    An unused share is not redistributed: while anything is due, the next claim follows at once.
    """
    organizations: dict[str, list[str]] = {}
    for turn in turns:
        organizations.setdefault(turn.organization_id, []).append(turn.endpoint_id)
    shares: dict[str, int] = {}
    of_each = max(1, limit // max(1, len(organizations)))
    for endpoint_ids in list(organizations.values())[: max(0, limit)]:
        share = max(1, min(per_endpoint_limit, of_each // len(endpoint_ids)))
        shares |= dict.fromkeys(endpoint_ids[:of_each], share)
    return shares
