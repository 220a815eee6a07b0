"""Who calls, as the audit log names them."""

from service.core.audit.actor import Actor, ActorKind
from service.core.keys.api_key import StoredKey


def actor_of(remote: str | None, key: StoredKey) -> Actor:
    """The key of a request, and the address that it came from: the last proxy's, if there is one.

    Headers that name another address are not read: anybody can send them.
    """
    return Actor(ActorKind.API_KEY, key.key_id, remote)
