"""What is done to an endpoint beside its settings: it is paused, resumed or rehearsed, or gets another secret."""

from datetime import timedelta
from typing import Final

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.endpoints.caps import cap_reached
from service.adapters.postgres.endpoints.gates.gates import set_paused
from service.adapters.postgres.endpoints.secrets import end_overlap, end_secrets, has_secret, insert_secret
from service.adapters.postgres.endpoints.store.work import EndpointWork
from service.adapters.postgres.endpoints.version import bump_directory
from service.adapters.postgres.engine import driver
from service.core.audit.actor import Actor
from service.core.audit.entry import AuditOperation
from service.core.endpoints.audited import gates_state, secrets_state
from service.core.endpoints.caps import Capped
from service.core.endpoints.refusals import CapReached, Ended, InvalidWish, NoSuchEndpoint, TooManySecrets
from service.core.endpoints.signing.rotation import more_secrets, outgoing, too_many_secrets
from service.core.endpoints.signing.secret import secret_problem
from service.core.endpoints.view import EndpointView, Rotated

SIGNS_IN_ANOTHER_STYLE: Final = (
    "this secret still signs in the style that the endpoint has left; two styles must not share one"
)


class Switching(EndpointWork):
    """What is done to an endpoint beside its settings: it is paused, resumed or rehearsed, or gets another secret."""

    async def begin_rehearsal(
        self, organization_id: str, endpoint_id: str, *, by: Actor
    ) -> EndpointView | NoSuchEndpoint | Ended:
        """Enter in the audit log that the endpoint's receiver is about to be rehearsed."""
        async with driver(self._engine) as connection, connection.transaction():
            endpoint = await self._read(connection, organization_id, endpoint_id)
            if endpoint is None:
                return NoSuchEndpoint(endpoint_id)
            if over := endpoint.ended:
                return over
            await audit(connection, by, "endpoint.rehearse", organization_id, endpoint_id)
            return endpoint

    async def set_paused(
        self, organization_id: str, endpoint_id: str, *, is_paused: bool, by: Actor
    ) -> EndpointView | NoSuchEndpoint | Ended:
        """Pause the endpoint, or resume it from being paused or disabled."""
        async with self._changing(organization_id) as connection:
            endpoint = await self._read(connection, organization_id, endpoint_id)
            if endpoint is None:
                return NoSuchEndpoint(endpoint_id)
            if over := endpoint.ended:
                return over
            await bump_directory(connection, [organization_id])
            await set_paused(connection, organization_id, endpoint_id, is_paused=is_paused)
            after = await self._require(connection, organization_id, endpoint_id)
            operation: AuditOperation = "endpoint.pause" if is_paused else "endpoint.resume"
            states = gates_state(endpoint), gates_state(after)
            await audit(connection, by, operation, organization_id, endpoint_id, *states)
            return after

    async def rotate_secret(
        self, organization_id: str, endpoint_id: str, secret: str | None, overlap: timedelta, *, by: Actor
    ) -> Rotated | NoSuchEndpoint | Ended | TooManySecrets | InvalidWish | CapReached:
        """Add a new secret (None: a random one). Older secrets expire after ``overlap``, or sooner if already due."""
        async with self._changing(organization_id) as connection:
            endpoint = await self._read(connection, organization_id, endpoint_id)
            if endpoint is None:
                return NoSuchEndpoint(endpoint_id)
            if over := endpoint.ended:
                return over
            if secret is not None and (why := secret_problem(secret, endpoint.settings.signature_style)):
                return InvalidWish({"secret": [why]})
            if secret and await has_secret(
                connection, self._secret_box, organization_id, endpoint_id, secret, is_former=True
            ):
                return InvalidWish({"secret": [SIGNS_IN_ANOTHER_STYLE]})
            excess = too_many_secrets(endpoint) if overlap else None
            more: dict[Capped, int] = {"secrets": more_secrets(endpoint, overlap)}
            if refused := excess or await cap_reached(connection, organization_id, self._rules.caps, more):
                return refused
            await bump_directory(connection, [organization_id])
            overlap_ends_at = await end_secrets(connection, organization_id, endpoint_id, overlap)
            style = endpoint.settings.signature_style
            shown = await insert_secret(connection, self._secret_box, organization_id, endpoint_id, style, secret)
            after = await self._require(connection, organization_id, endpoint_id)
            states = secrets_state(endpoint), secrets_state(after)
            await audit(connection, by, "endpoint.rotate_secret", organization_id, endpoint_id, *states)
            return Rotated(shown, overlap_ends_at)

    async def end_overlap(self, organization_id: str, endpoint_id: str, *, by: Actor) -> int | NoSuchEndpoint | Ended:
        """End the older secrets of a rotation now; returns how many. Without an overlap nothing changes."""
        async with self._changing(organization_id) as connection:
            endpoint = await self._read(connection, organization_id, endpoint_id)
            if endpoint is None:
                return NoSuchEndpoint(endpoint_id)
            if over := endpoint.ended:
                return over
            ended_count = len(outgoing(endpoint))
            if not ended_count:
                return 0
            await bump_directory(connection, [organization_id])
            await end_overlap(connection, organization_id, endpoint_id)
            after = await self._require(connection, organization_id, endpoint_id)
            states = secrets_state(endpoint), secrets_state(after)
            await audit(connection, by, "endpoint.end_overlap", organization_id, endpoint_id, *states)
            return ended_count
