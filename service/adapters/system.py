"""What the operating system provides: time, randomness and ids."""

import os
import pwd
import random
import secrets
import socket
import time
from datetime import UTC, datetime
from uuid import UUID

import uuid_utils.compat

from service.core.audit.actor import Actor, ActorKind
from service.core.keys.api_key import RANDOM_BYTES, NewKey, generate_key


class SystemClock:
    """Implements ``Clock``."""

    def now(self) -> datetime:
        """An aware UTC instant."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()


def draw() -> float:
    """The jitter: a number in [-1, 1)."""
    return random.random() * 2 - 1  # noqa: S311 - spreads load, keeps no secret


def new_uid() -> UUID:
    """A UUIDv7: its first 48 bits are the time, so a day's events are stored together."""
    return uuid_utils.compat.uuid7()


def new_key() -> NewKey:
    """An API key."""
    return generate_key(secrets.token_bytes(RANDOM_BYTES))


def command_actor() -> Actor:
    """Who runs this process: the operating system's user and host. The environment's names could be anybody's."""
    user_id = os.geteuid()
    try:
        user = pwd.getpwuid(user_id).pw_name
    except KeyError:  # in a container a user may have no name
        user = str(user_id)
    return Actor(ActorKind.CLI, f"{user}@{socket.gethostname()}")
