"""The types of settings: parsing and error messages. No message quotes a secret."""

import re
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field

from service.adapters.exit.tunnel import read_proxy
from service.adapters.secret_box import SecretKey, parse_secret_keys
from service.core.endpoints.target_policy import CidrRule, parse_cidr_rule

DAY_SECONDS: Final = 86_400

UNENCODED: Final = (
    "cannot be parsed; percent-encode special characters in the user and password "
    "(@ is %40, / is %2F, # is %23, ? is %3F, % is %25)"
)
_DATABASE_PARAMETERS: Final = {
    *("host", "port", "user", "password", "passfile", "krbsrvname", "ssl", "sslmode"),
    *("target_session_attrs", "prepared_statement_cache_size"),
}


def _database_url(url: str) -> str:
    address = re.fullmatch(r"postgres(?:ql)?(?:\+asyncpg)?(://.+)", url)
    if address is None:
        raise ValueError("must be postgresql://user:password@host:port/database")
    parts = urlsplit(_well_formed("postgresql" + address[1]))
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := query.keys() - _DATABASE_PARAMETERS:
        known = ", ".join(sorted(_DATABASE_PARAMETERS))
        raise ValueError(f"{len(unknown)} of {len(query)} query parameters are unknown; known: {known}")
    return urlunsplit(parts._replace(query=re.sub(r"(^|&)sslmode=", r"\1ssl=", parts.query)))


def _amqp_url(url: str) -> str:
    if not re.match(r"amqps?://[^/]", url):
        raise ValueError("must be amqp://user:password@host:port/vhost, or amqps:// for TLS")
    return _well_formed(url)


def _well_formed(url: str) -> str:
    """Refuse URLs that libraries parse differently, often with part of a password taken for the host."""
    authority, slash, rest = url.partition("://")[2].partition("/")
    is_split = "@" in slash + rest or authority.count("@") > 1 or "?" in authority.rpartition("@")[0]
    if is_split or "#" in url or re.search(r"%(?![0-9A-Fa-f]{2})", url):
        raise ValueError(UNENCODED)
    try:
        urlsplit(url).port  # noqa: B018 - reading it is the check
    except ValueError:
        raise ValueError(f"the port is not a number, or the URL {UNENCODED}") from None
    return url


def _own_addresses(value: object) -> object:
    if not isinstance(value, str):
        return value
    texts = [part.strip() for part in value.split(",") if part.strip()]
    addresses = []
    for text in texts:
        try:
            address = ip_address(text)
        except ValueError:
            raise ValueError(f"{text!r} is not an address; write IPv4 or IPv6 addresses of this host") from None
        is_specific = not address.is_unspecified and not address.is_multicast
        if not is_specific or (isinstance(address, IPv6Address) and (address.scope_id or address.ipv4_mapped)):
            raise ValueError(f"{text!r} cannot be the source of a connection")
        addresses.append(str(address))
    if len(addresses) != len(set(addresses)):
        raise ValueError("names an address twice")
    return tuple(addresses)


def _proxy_url(url: str) -> str:
    read_proxy(_well_formed(url))
    return url


def _public_url(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?", url):
        raise ValueError("must be https://host or https://host/prefix, without user, query or fragment")
    return _well_formed(url).rstrip("/")


def _named(origins: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in origins:
        raise ValueError("must name each origin: with * every site could show the pages in a frame of its own")
    return origins


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    origins = tuple(_origin(part.strip().lower()) for part in value.split(",") if part.strip())
    if "*" in origins and len(origins) > 1:
        raise ValueError("* is every origin; write it alone, or list origins")
    return origins


def _origin(text: str) -> str:
    """An origin as browsers send it: in lower case, and without the port that is the scheme's anyway."""
    if text != "*" and not re.fullmatch(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", text):
        raise ValueError(f"{text[:80]!r} is not an origin; write https://host or https://host:port, or only *")
    return text.removesuffix(":443" if text.startswith("https:") else ":80")


def _secret_keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_secret_keys(value)
    except ValueError as error:
        raise ValueError(str(error).removeprefix("SECRET_KEYS, ")) from None


def _cidr_rules(value: object) -> object:
    if not isinstance(value, str):
        return value
    rules, complaints = [], []
    for text in filter(None, map(str.strip, value.split(","))):
        try:
            rules.append(parse_cidr_rule(text))
        except ValueError as error:
            complaints.append(str(error))
    if complaints:
        raise ValueError("; ".join(complaints))
    return tuple(rules)


def _existing_file(path: str) -> str:
    if not Path(path).is_file():
        raise ValueError("no such file; must be the path of a PEM file")
    return path


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,255}", text):
        raise ValueError("must be an address or a host name, without a port or brackets")
    return text


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _amqp_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes or underscores")
    return text


def _amqp_patterns(value: object) -> object:
    if not isinstance(value, str):
        return value
    patterns = tuple(part.strip() for part in value.split(",") if part.strip())
    wrong = [pattern for pattern in patterns if not re.fullmatch(r"(\*|#|[a-z0-9_]+)(\.(\*|#|[a-z0-9_]+))*", pattern)]
    if wrong or not patterns:
        raise ValueError("must be binding keys, such as message.*,link.clicked")
    return patterns


Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Cap = Annotated[int, Field(ge=0, le=1_000_000_000)]
"""0: no cap."""
Batch = Annotated[int, Field(gt=0, le=10_000)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=365 * DAY_SECONDS, allow_inf_nan=False)]
AmqpName = Annotated[str, AfterValidator(_amqp_name)]
AmqpPatterns = Annotated[tuple[str, ...], BeforeValidator(_amqp_patterns)]
CidrRules = Annotated[tuple[CidrRule, ...], BeforeValidator(_cidr_rules)]
Host = Annotated[str, AfterValidator(_host)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
AmqpUrl = Annotated[str, AfterValidator(_amqp_url)]
OwnAddresses = Annotated[tuple[str, ...], BeforeValidator(_own_addresses), Field(max_length=64)]
ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_origins), Field(max_length=100)]
NamedOrigins = Annotated[Origins, AfterValidator(_named)]
SecretKeys = Annotated[tuple[SecretKey, ...], BeforeValidator(_secret_keys)]
ExistingFile = Annotated[str, AfterValidator(_existing_file)]
Lowered = BeforeValidator(_lower)


def masked(url: str) -> str:
    """Return a URL without its password and its query, which may contain one too."""
    parts = urlsplit(url)
    credentials, at, place = parts.netloc.rpartition("@")
    user, colon, _ = credentials.partition(":")
    query = "***" if parts.query else ""
    return urlunsplit(parts._replace(netloc=f"{user}{colon and ':***'}{at}{place}", query=query, fragment=""))


def written(rule: CidrRule) -> str:
    """Return a rule as an operator writes it."""
    if rule.port is None:
        return str(rule.network)
    return f"[{rule.network}]:{rule.port}" if isinstance(rule.network, IPv6Network) else f"{rule.network}:{rule.port}"
