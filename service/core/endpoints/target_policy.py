"""Where Posthorn may connect: a pure judgement of addresses, ports and URLs. Nothing here uses DNS or the network.

The address table is Posthorn's own, because ``ipaddress.is_global`` calls NAT64 of 169.254.169.254, ``::127.0.0.1``
and multicast global, and its answers differ between Python versions.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from service.core.endpoints.url import is_masked
from service.core.field_code import FieldCode, FieldSentence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_MAX_CHARACTERS = 2048
HOST_MAX_CHARACTERS = 253
ALLOW_PREFIX_BITS_MIN = 7  # fc00::/7 is the widest private range; anything wider would be an off switch

ADDRESS_REFUSED = "this address is not allowed"
"""The same sentence for every refused address, so that nobody can map the network by its error messages."""

HTTPS_ONLY = "the URL must start with https://"

_IPV4_DENIED = tuple(
    IPv4Network(cidr)
    for cidr in (
        "0.0.0.0/8",  # "this" network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared (carrier-grade NAT)
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host services, on a public address
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_IPV6_GLOBAL = IPv6Network("2000::/3")
_IPV6_DENIED = tuple(
    IPv6Network(cidr)
    for cidr in (
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 wraps any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

_PORTS_ALWAYS_OPEN = frozenset({80, 443})
_PORT_UNPRIVILEGED_MIN = 1024
_DATABASE_PORTS = {1433, 1434, 1521, 3306, 5432, 5984, 6379, 6380, 6432, 7000, 7687, 8086, 9042, 9200, 9300}
_DATABASE_PORTS |= {11211, 26379, 27017, 27018, 27019, 28015, 33060, 50000}
_BROKER_PORTS = {1883, 2181, 2379, 2380, 4222, 4369, 5671, 5672, 8883, 9092, 15671, 15672, 25672, 61613, 61616}
_PORTS_CLOSED = frozenset(_DATABASE_PORTS | _BROKER_PORTS)


class Verdict(StrEnum):
    """The policy's decision on an address and port. Every dial gets exactly one of these."""

    ALLOWED = "allowed"
    ALLOWED_BY_OPERATOR = "allowed_by_operator"
    DENIED_BY_OPERATOR = "denied_by_operator"
    DENIED_PORT = "denied_port"
    DENIED_SCOPE = "denied_scope"
    DENIED_SPECIAL_RANGE = "denied_special_range"
    DENIED_NOT_GLOBAL = "denied_not_global"
    NOT_AN_ADDRESS = "not_an_address"

    @property
    def is_allowed(self) -> bool:
        """Whether Posthorn may connect."""
        return self in {Verdict.ALLOWED, Verdict.ALLOWED_BY_OPERATOR}


@dataclass(frozen=True, slots=True)
class CidrRule:
    """An operator's rule: a network, and the one port it applies to (None: every port)."""

    network: Network
    port: int | None = None

    def covers(self, address: Address, port: int) -> bool:
        """Whether the rule applies to this address and port."""
        return self.port in {None, port} and address in self.network


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be registered. ``host`` is lower case, without brackets. Names are judged again on each dial."""

    url: str
    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TargetRefused:
    """A URL that may not be registered: ``sentence`` is for the customer; ``host`` and ``verdict`` for the log."""

    sentence: str
    host: str = ""
    verdict: Verdict | None = None
    is_policy: bool = False  # refused by the operator's settings; otherwise the URL itself is invalid


def coded(refused: TargetRefused) -> FieldSentence:
    """The sentence with its code: the operator's settings do not allow the URL, or it is none."""
    return FieldSentence(refused.sentence, FieldCode.NOT_ALLOWED if refused.is_policy else FieldCode.WRONG_FORM)


_RULE = re.compile(
    r"\[(?P<ipv6>[^]]*)](?::(?P<ipv6_port>.*))?|(?P<ipv4>[0-9]+[.][0-9./]+)(?::(?P<ipv4_port>.*))?|(?P<bare>.+)"
)
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PORT_MAX = 65535


def parse_cidr_rule(text: str) -> CidrRule:
    """Read ``10.0.0.0/8``, ``127.0.0.0/8:8080``, ``::1/128`` or ``[fd00::/8]:443``. Raises ValueError."""
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise ValueError("the rule is empty; write a network, such as 10.0.0.0/8 or [fd00::/8]:443")
    cidr = match["ipv6"] or match["ipv4"] or match["bare"] or ""
    port_text = match["ipv6_port"] if match["ipv6"] is not None else match["ipv4_port"]
    try:
        network = ip_network(cidr)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network with an optional port: {error}") from None
    if isinstance(network, IPv6Network) and (network.network_address.scope_id or network.network_address.ipv4_mapped):
        raise ValueError(f"{text!r}: write an IPv4 network as IPv4, and leave out the scope id")
    if port_text is not None and (not _PORT.fullmatch(port_text) or int(port_text) > _PORT_MAX):
        raise ValueError(f"{text!r}: the port must be a number from 1 to {_PORT_MAX}")
    return CidrRule(network, None if port_text is None else int(port_text))


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """The operator's deny rules, then the operator's allow rules, then the table. It cannot be switched off."""

    deny: tuple[CidrRule, ...] = ()
    allow: tuple[CidrRule, ...] = ()
    allow_http: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for an allow rule so wide that it would switch the table off."""
        for rule in self.allow:
            if rule.network.prefixlen < ALLOW_PREFIX_BITS_MIN:
                raise ValueError(f"{rule.network} is too wide to allow; the widest is /{ALLOW_PREFIX_BITS_MIN}")

    def judge_address(self, address: str | Address, port: int) -> Verdict:
        """Judge the final address of a dial. Never raises: text that is not an address gets NOT_AN_ADDRESS."""
        try:
            ip = ip_address(address)
        except ValueError:
            return Verdict.NOT_AN_ADDRESS
        if isinstance(ip, IPv6Address):
            if ip.scope_id is not None:
                return Verdict.DENIED_SCOPE
            ip = ip.ipv4_mapped or ip
        if any(rule.covers(ip, port) for rule in self.deny):
            return Verdict.DENIED_BY_OPERATOR
        permits = [rule for rule in self.allow if rule.covers(ip, port)]
        if any(rule.port == port for rule in permits):  # naming the port opens it, whatever the port is known for
            return Verdict.ALLOWED_BY_OPERATOR
        if not _is_open(port):
            return Verdict.DENIED_PORT
        return Verdict.ALLOWED_BY_OPERATOR if permits else _look_up(ip)

    def judge_url(self, raw: str) -> Target | TargetRefused:
        """Judge a URL for registration, on its raw text: a lenient parser would hide what was sent."""
        if complaint := _complaint_about_text(raw) or self._complaint_about_scheme(raw):
            return TargetRefused(complaint, is_policy=complaint == HTTPS_ONLY and raw.lower().startswith("http://"))
        match = _URL.fullmatch(raw.lower())
        if match is None:
            return TargetRefused("the host of the URL is not valid")
        scheme = match["scheme"]
        port = int(match["port"] or (443 if scheme == "https" else 80))
        host = match["ipv6"] or match["name"]
        if not _is_open(port) and all(rule.port != port for rule in self.allow):
            return TargetRefused(f"port {port} is not allowed", host, Verdict.DENIED_PORT, is_policy=True)
        refusal = self._judge_host(host, port, is_bracketed=match["ipv6"] is not None)
        return refusal or Target(raw, scheme, host, port)

    def _complaint_about_scheme(self, raw: str) -> str:
        scheme, separator, rest = raw.partition("://")
        if not separator:
            return "the URL has no scheme; write https:// in front of it"
        if "@" in _AUTHORITY_END.split(rest, 1)[0]:
            return "the URL must not contain a user name or password"
        if self.allow_http:
            return "" if scheme.lower() in {"http", "https"} else "the URL must start with https:// or http://"
        return "" if scheme.lower() == "https" else HTTPS_ONLY

    def _judge_host(self, host: str, port: int, *, is_bracketed: bool) -> TargetRefused | None:
        last_label = host.rpartition(".")[2]
        literal: Address | None = None
        try:
            if is_bracketed:
                literal = IPv6Address(host)
            elif _NUMBER.fullmatch(last_label):  # WHATWG's rule: such a host is read as an IPv4 address, 127.1 too
                literal = IPv4Address(host)
        except AddressValueError:
            return TargetRefused("write the address in full: four decimal numbers, or IPv6 in brackets")
        if last_label == "localhost":
            literal = IPv4Address("127.0.0.1")
        if literal is None:
            is_name = len(host) <= HOST_MAX_CHARACTERS and all(map(_LABEL.fullmatch, host.split(".")))
            return None if is_name else TargetRefused("the host of the URL is not valid")
        verdict = self.judge_address(literal, port)
        return None if verdict.is_allowed else TargetRefused(ADDRESS_REFUSED, host, verdict, is_policy=True)


def _is_open(port: int) -> bool:
    return port in _PORTS_ALWAYS_OPEN or (_PORT_UNPRIVILEGED_MIN <= port <= _PORT_MAX and port not in _PORTS_CLOSED)


def _look_up(ip: Address) -> Verdict:
    if isinstance(ip, IPv6Address) and ip not in _IPV6_GLOBAL:
        return Verdict.DENIED_NOT_GLOBAL
    table: tuple[Network, ...] = _IPV4_DENIED if isinstance(ip, IPv4Address) else _IPV6_DENIED
    return Verdict.DENIED_SPECIAL_RANGE if any(ip in network for network in table) else Verdict.ALLOWED


_AUTHORITY_END = re.compile(r"[/?]")
_URL = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<ipv6>[0-9a-f:.]+)]|(?P<name>[a-z0-9._-]+))(?::(?P<port>[1-9][0-9]{0,4}))?(?:[/?].*)?"
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def _complaint_about_text(raw: str) -> str:
    if not 0 < len(raw) <= URL_MAX_CHARACTERS:
        return f"the URL must have between 1 and {URL_MAX_CHARACTERS} characters"
    if not raw.isascii():
        return "the URL must be ASCII: write the host in its xn-- form and percent-encode the rest"
    if not all("!" <= character <= "~" for character in raw):
        return "the URL must not contain spaces or control characters"
    if "\\" in raw or "#" in raw:
        return "the URL must not contain a backslash or a fragment (#)"
    if is_masked(raw):
        return "*** stands for a query that is not shown; write the URL in full"
    return ""
