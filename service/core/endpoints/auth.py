"""How Posthorn proves itself to an endpoint, beyond the signature: read from what a caller sent, and shown again.

Secrets are shown as ``***``. Sent back, that keeps the stored secret, but only for the server it was meant for:
otherwise whoever may change an endpoint could have its secret sent to a server of their own.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from service.core.endpoints.target_policy import EgressPolicy, TargetRefused, coded
from service.core.endpoints.url import masked_url
from service.core.field_code import FieldCode, FieldSentence

HIDDEN: Final = "***"
"""Shown in place of a secret value; in a request it keeps the stored value."""
CLIENT_ID_PATTERN: Final = r"[\x20-\x7e]{1,512}"
CLIENT_SECRET_PATTERN: Final = r"[\x20-\x7e]{1,1024}"  # noqa: S105  what a secret looks like
SCOPE_PATTERN: Final = r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,1024}"  # RFC 6749, appendix A.4: no quotes or backslashes

CERTIFICATE_MAX: Final = 32 * 1024
PRIVATE_KEY_MAX: Final = 8 * 1024

_PATTERNS: Final = {
    "client_id": (re.compile(CLIENT_ID_PATTERN), "must be 1 to 512 printable ASCII characters"),
    "client_secret": (re.compile(CLIENT_SECRET_PATTERN), "must be 1 to 1024 printable ASCII characters"),
    "scope": (re.compile(SCOPE_PATTERN), "must be 1 to 1024 printable ASCII characters, without quotes or backslashes"),
}


class OAuth2(Struct, frozen=True, tag="oauth2", tag_field="type"):
    """A token of the client credentials grant (RFC 6749, 4.4), sent as ``Authorization: Bearer``."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str | None = None

    def __repr__(self) -> str:
        """Without the secret: a value may end up in a log."""
        return f"OAuth2({self.token_url!r})"


class ClientCertificate(Struct, frozen=True, tag="mtls", tag_field="type"):
    """A certificate that TLS shows to the receiver, with its key, both in PEM; it expires at ``expires_at``."""

    certificate: str
    private_key: str
    expires_at: datetime

    def __repr__(self) -> str:
        """Without the key: a value may end up in a log."""
        return f"ClientCertificate({self.expires_at:%Y-%m-%d})"


class UnreadableAuth(Struct, frozen=True):
    """What is stored cannot be decrypted: its key is missing from SECRET_KEYS. It stays until it is replaced."""


EndpointAuth = OAuth2 | ClientCertificate

_FIELDS: Final = {
    "oauth2": ({"token_url", "client_id", "client_secret"}, {"scope"}),
    "mtls": ({"certificate", "private_key"}, set[str]()),
}
TYPES: Final = tuple(_FIELDS)
_NOTHING_KEPT: Final = FieldSentence(f"{HIDDEN} keeps a stored value, but there is none; send one", FieldCode.REQUIRED)


@dataclass(frozen=True, slots=True)
class AuthRefused:
    """What is wrong, by the path of the field below ``auth``; "" is the whole."""

    problems: Mapping[str, str]


CertificateReader = Callable[[str, str], ClientCertificate | AuthRefused]
"""Reads a certificate and its private key, both in PEM, and checks that they belong together and are valid."""


def read_auth(
    given: object,
    before: EndpointAuth | UnreadableAuth | None,
    policy: EgressPolicy,
    read_certificate: CertificateReader,
) -> EndpointAuth | AuthRefused:
    """What a caller sent as ``auth``, or every problem with it. ``before`` has the values that ``***`` keeps."""
    if not isinstance(given, dict):
        return AuthRefused({"": FieldSentence("must be an object", FieldCode.WRONG_TYPE)})
    kind = given.get("type")
    if kind not in TYPES:
        sentence = f"must be one of {', '.join(map(repr, TYPES))}"
        return AuthRefused({"type": FieldSentence(sentence, FieldCode.UNKNOWN_VALUE)})
    if problems := dict(_shape_problems(given, kind)):
        return AuthRefused(problems)
    if kind == "mtls":
        return _read_mtls(given["certificate"], given["private_key"], before, read_certificate)
    if problems := dict(_oauth2_problems(given, before, policy)):
        return AuthRefused(problems)
    kept = {"client_secret": before.client_secret} if isinstance(before, OAuth2) else {}
    values = {name: kept[name] if value == HIDDEN and name in kept else value for name, value in given.items()}
    return OAuth2(values["token_url"], values["client_id"], values["client_secret"], values.get("scope"))


def write_auth(auth: EndpointAuth) -> str:
    """What is sealed."""
    return msgspec.json.encode(auth).decode()


def stored_auth(text: str) -> EndpointAuth:
    """What was sealed. Raises ValueError if it was written some other way."""
    try:
        auth: EndpointAuth = msgspec.json.decode(text, type=EndpointAuth)
    except msgspec.DecodeError:  # its text may quote a value
        raise ValueError("auth is not what this release writes") from None
    return auth


def shown_auth(auth: EndpointAuth | UnreadableAuth | None) -> dict[str, Any] | None:
    """The auth without its secrets."""
    if auth is None:
        return None
    if isinstance(auth, UnreadableAuth):
        return {"type": "unreadable"}
    if isinstance(auth, ClientCertificate):
        return {"type": "mtls", "certificate": auth.certificate, "private_key": HIDDEN}
    return {"type": "oauth2", **asdict(auth), "client_secret": HIDDEN}


def masked_auth(auth: EndpointAuth | UnreadableAuth | None) -> dict[str, Any] | None:
    """The auth without its secrets, and without the query of its URL."""
    shown = shown_auth(auth)
    return {**shown, "token_url": masked_url(shown["token_url"])} if shown and "token_url" in shown else shown


def expiry_of(auth: EndpointAuth | UnreadableAuth | None) -> datetime | None:
    """When its certificate expires; None if it has none."""
    return auth.expires_at if isinstance(auth, ClientCertificate) else None


def _read_mtls(
    certificate: str,
    private_key: str,
    before: EndpointAuth | UnreadableAuth | None,
    read_certificate: CertificateReader,
) -> ClientCertificate | AuthRefused:
    if private_key == HIDDEN:  # it goes nowhere, so another certificate for the same key may come with it
        if not isinstance(before, ClientCertificate):
            return AuthRefused({"private_key": _NOTHING_KEPT})
        private_key = before.private_key
    bounds = {"certificate": (certificate, CERTIFICATE_MAX), "private_key": (private_key, PRIVATE_KEY_MAX)}
    problems = {
        name: FieldSentence(f"must be 1 to {most} characters of PEM", FieldCode.WRONG_FORM)
        for name, (text, most) in bounds.items()
        if not (0 < len(text) <= most and text.isascii())
    }
    return AuthRefused(problems) if problems else read_certificate(certificate, private_key)


def _shape_problems(given: Mapping[Any, Any], kind: str) -> Iterator[tuple[str, str]]:
    required, optional = _FIELDS[kind]
    known = required | optional | {"type"}
    others = {name for fields in _FIELDS.values() for each in fields for name in each}
    for name in given.keys() - known:
        if given[name] is not None or name not in others:  # an answer names the fields of all types
            yield str(name)[:64], FieldSentence(f"is not a field of the type {kind!r}", FieldCode.UNKNOWN_FIELD)
    for name in sorted(required):
        if name not in given:
            yield name, FieldSentence("is required", FieldCode.REQUIRED)
    for name, value in given.items():
        if name in required | optional and not isinstance(value, str) and not (name in optional and value is None):
            yield name, FieldSentence("must be a text", FieldCode.WRONG_TYPE)


def _oauth2_problems(
    given: Mapping[str, Any], before: EndpointAuth | UnreadableAuth | None, policy: EgressPolicy
) -> Iterator[tuple[str, str]]:
    judged = policy.judge_url(given["token_url"])
    if isinstance(judged, TargetRefused):
        yield "token_url", coded(judged)
    for name, (pattern, why) in _PATTERNS.items():
        if given.get(name) is not None and not pattern.fullmatch(given[name]):
            yield name, FieldSentence(why, FieldCode.WRONG_FORM)
    if given["client_secret"] == HIDDEN:
        if not isinstance(before, OAuth2):
            yield "client_secret", _NOTHING_KEPT
        elif before.token_url != given["token_url"]:
            yield "client_secret", FieldSentence("send it again: the token_url changes", FieldCode.REQUIRED)
