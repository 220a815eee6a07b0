"""Fair claims: endpoints take turns, and those whose turn it is get equal shares."""

from collections.abc import Mapping, Sequence


def fair_shares(
    turns: Sequence[str], limit: int, *, per_endpoint_limit: int, room: Mapping[str, int]
) -> Mapping[str, int]:
    """How many of the ``limit`` deliveries of a claim each endpoint may have; ``turns`` lists at most ``limit`` ids.

    ``room`` bounds single endpoints further. An unused share is not redistributed: while anything is due, the next
    claim follows at once.
    """
    if not turns:
        return {}
    share = max(1, min(per_endpoint_limit, limit // len(turns)))
    return {endpoint_id: max(0, min(share, room.get(endpoint_id, share))) for endpoint_id in turns}
