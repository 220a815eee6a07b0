"""What a new secret does to those that an endpoint has."""

from collections.abc import Sequence
from datetime import timedelta

from service.core.endpoints.refusals import TooManySecrets
from service.core.endpoints.view import EndpointView, SecretHint
from webhook_signature.sign import KEYS_MAX


def too_many_secrets(endpoint: EndpointView) -> TooManySecrets | None:
    """Why it cannot have another secret beside those that it has; None when it can."""
    if len(endpoint.secrets) < KEYS_MAX:
        return None
    return TooManySecrets(min(each.expires_at for each in endpoint.secrets if each.expires_at is not None))


def more_secrets(endpoint: EndpointView, overlap: timedelta) -> int:
    """How many more it has after a rotation: one, but without an overlap the others end."""
    return 1 if overlap else 1 - len(endpoint.secrets)


def outgoing(endpoint: EndpointView) -> Sequence[SecretHint]:
    """Its secrets that a rotation has replaced, and that sign beside the newest until their overlap ends."""
    return [each for each in endpoint.secrets if each.expires_at is not None]
