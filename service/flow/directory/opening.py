"""Opening an endpoint: from what is stored to what is needed to send, with its secrets unsealed and settings parsed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.core.endpoints.auth import EndpointAuth, stored_auth
from service.core.endpoints.custom_headers import judge_headers
from service.core.endpoints.endpoint import (
    SEALED_AUTH_ID,
    SEALED_HEADERS_ID,
    Endpoint,
    FormerStyle,
    Secret,
    StoredEndpoint,
)
from service.core.endpoints.filter.filter import Filter, FilterRefused, parse_filter
from service.core.endpoints.retry_schedule import RetrySchedule, read_retry
from service.core.endpoints.signing.signing import Signing
from service.core.endpoints.url import SEALED_URL_ID, is_sealed
from service.ports.errors import SecretUnopenableError
from service.ports.secrets import SecretBox
from webhook_signature import VerificationError
from webhook_signature.styles import style_named


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens endpoints, at some 50 us each. ``schedule`` is the service's own; its age limit bounds an endpoint's."""

    secret_box: SecretBox
    schedule: RetrySchedule

    def __call__(self, organization_id: str, stored: StoredEndpoint) -> Endpoint:
        """Unseal and parse the endpoint's settings. If that fails, only this endpoint stops, with reason "internal".

        The filter of such an endpoint is ignored: unwanted deliveries can be cancelled later, missing ones are lost.
        """
        endpoint = Endpoint(
            *(stored.id, organization_id, stored.url, (), stored.is_paused, stored.is_limited, stored.order_by),
            valid_until=stored.valid_until,
        )
        try:
            style = style_named(stored.signature_style, stored.signature_header)
            current = Signing(stored.signature_style, stored.signature_header)
            secrets = self._secrets(organization_id, stored, current)
            return replace(
                endpoint,
                url=self._url(organization_id, stored),
                stored_url=stored.url,
                secrets=tuple(secrets.pop(current, ())),
                headers=self._headers(organization_id, stored),
                style=style,
                former_styles=tuple(
                    FormerStyle(style_named(each.style, each.header), tuple(older)) for each, older in secrets.items()
                ),
                filter=_filter(stored.filter),
                schedule=self._retry(stored.retry),
                timeout_seconds=stored.timeout_seconds,
                auth=self._auth(organization_id, stored),
            )
        except (SecretUnopenableError, ValueError) as error:
            return replace(endpoint, problem=f"a setting of this endpoint is unreadable: {error}")

    def _secrets(self, organization_id: str, stored: StoredEndpoint, current: Signing) -> dict[Signing, list[Secret]]:
        """The secrets by how they sign, newest first."""
        secrets: dict[Signing, list[Secret]] = {}
        for secret in stored.secrets:
            signing = current if secret.style is None else Signing(secret.style, secret.header)
            style, beside = style_named(signing.style, signing.header), secrets.setdefault(signing, [])
            try:
                text = self.secret_box.open(
                    secret.sealed, organization_id=organization_id, endpoint_id=stored.id, secret_id=secret.id
                )
                beside.append(Secret(style.decode_secret(text), secret.expires_at))
            except (SecretUnopenableError, VerificationError):
                beside.append(Secret(None, secret.expires_at))  # stops the endpoint until the secret expires
        return secrets

    def _headers(self, organization_id: str, stored: StoredEndpoint) -> Mapping[str, str]:
        if stored.sealed_headers is None:
            return {}
        text = self.secret_box.open(
            stored.sealed_headers, organization_id=organization_id, endpoint_id=stored.id, secret_id=SEALED_HEADERS_ID
        )
        headers: dict[str, str] = json.loads(text)
        problems = judge_headers(headers)
        if problems:  # they were not written through the API: send none of them
            raise ValueError(f"the headers {sorted(problems)} cannot be sent")
        return headers

    def _url(self, organization_id: str, stored: StoredEndpoint) -> str:
        if not is_sealed(stored.url):
            return stored.url
        return self.secret_box.open(
            stored.sealed_url or "", organization_id=organization_id, endpoint_id=stored.id, secret_id=SEALED_URL_ID
        )

    def _auth(self, organization_id: str, stored: StoredEndpoint) -> EndpointAuth | None:
        if stored.sealed_auth is None:
            return None
        return stored_auth(
            self.secret_box.open(
                stored.sealed_auth, organization_id=organization_id, endpoint_id=stored.id, secret_id=SEALED_AUTH_ID
            )
        )

    def _retry(self, stored: object) -> RetrySchedule | None:
        schedule = None if stored is None else read_retry(stored, self.schedule)
        if isinstance(schedule, str):
            raise ValueError(f"retry {schedule}")  # noqa: TRY004 - the stored value is invalid, not its Python type
        return schedule


def _filter(stored: object) -> Filter | None:
    parsed = None if stored is None else parse_filter(stored)
    if isinstance(parsed, FilterRefused):
        raise ValueError(f"filter {dict(parsed.problems)}")  # noqa: TRY004 - the same
    return parsed
