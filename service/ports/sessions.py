"""Who is signed in to the pages."""

from datetime import datetime, timedelta
from typing import Protocol

from service.core.audit.actor import Actor
from service.core.session import Guest, NewToken, Session


class SessionDesk(Protocol):
    """Sessions and the links that open them. Every verb may raise ``UnavailableError``."""

    async def open(self, token: NewToken, guest: Guest, lasts: timedelta) -> None:
        """Begin a session that lasts no longer than this."""

    async def find(self, digest: bytes) -> Session | None:
        """The session, which is in use from now on; None if it has ended, or the key it depends on."""

    async def close(self, digest: bytes) -> None:
        """End a session. Repeating this changes nothing."""

    async def make_link(self, token: NewToken, guest: Guest, lasts: timedelta, *, by: Actor) -> datetime:
        """Store a link to a session that lasts no longer than this; returns until when it opens one."""

    async def follow(self, link_digest: bytes, token: NewToken) -> Guest | None:
        """Open the link's session, for once; None if it was used, is too old, or its key has ended."""

    async def revoke_made_by_command(self, organization_id: str | None) -> int:
        """End the sessions whose links a command made, and such links; returns how many there were.

        Those of the organization; None: the operator's.
        """
