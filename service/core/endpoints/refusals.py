"""Why a change of an endpoint cannot be."""

from datetime import datetime


class NoEndpointError(Exception):
    """The organization has no such endpoint, or has it no longer."""


class GoneEndpointError(Exception):
    """The endpoint's receiver answered 410: it takes no changes any more."""


class UrlTakenError(Exception):
    """Another endpoint of the organization has this URL; ``endpoint_id`` says which."""

    def __init__(self, endpoint_id: str) -> None:
        super().__init__(endpoint_id)
        self.endpoint_id = endpoint_id


class TooManySecretsError(Exception):
    """As many secrets are valid as may be; the first of them ends at ``first_ends_at``."""

    def __init__(self, first_ends_at: datetime) -> None:
        super().__init__(first_ends_at)
        self.first_ends_at = first_ends_at


class SecretMisfitError(Exception):
    """A secret of the endpoint cannot sign in the style that is asked for."""

    def __init__(self, style: str) -> None:
        super().__init__(style)
        self.style = style
