"""Fairness of a claim: endpoints have turns, and those whose turn it is share alike."""

from collections.abc import Mapping, Sequence


def fair_shares(
    turns: Sequence[str], limit: int, *, per_endpoint_limit: int, room: Mapping[str, int]
) -> Mapping[str, int]:
    """How many deliveries each endpoint may have of a claim of ``limit``; ``turns`` are at most ``limit`` endpoints.

    ``room`` bounds single endpoints further. What an endpoint leaves of its share is not dealt again: the next claim
    comes at once while there is anything due.
    """
    if not turns:
        return {}
    share = max(1, min(per_endpoint_limit, limit // len(turns)))
    return {endpoint_id: max(0, min(share, room.get(endpoint_id, share))) for endpoint_id in turns}
