"""The table, the operator's rules, and the URLs that must never be registered."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from service.core.endpoints.target_policy import (
    ADDRESS_REFUSED,
    EgressPolicy,
    Target,
    TargetRefused,
    Verdict,
    parse_cidr_rule,
)

SHIPPED = EgressPolicy()
DEMO = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"), parse_cidr_rule("::1/128")), allow_http=True)

NETWORKS = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24
203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
""".split()  # noqa: SIM905  a table reads better
REFUSED_NETWORKS = [IPv4Network(each) for each in NETWORKS]
EDGES = [str(edge) for each in REFUSED_NETWORKS for edge in (each[0], each[-1])]
NEIGHBOURS = [
    str(beside)
    for each in REFUSED_NETWORKS
    for beside in (
        *([each[0] - 1] if int(each[0]) else []),
        *([each[-1] + 1] if each[-1] != IPv4Address("255.255.255.255") else []),
    )
    if not any(beside in other for other in REFUSED_NETWORKS)
]
REFUSED = [
    *dict.fromkeys(EDGES),
    *(f"::ffff:{each}" for each in dict.fromkeys(EDGES)),
    *"""
0.1.2.3 10.0.0.1 127.0.0.1 169.254.169.254 ::ffff:a9fe:aa02 ::ffff:c000:c0 239.255.255.250
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:a9fe:a9fe 64:ff9b::169.254.169.254
64:ff9b::7f00:1 64:ff9b:1::1 100::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 fe80::1%eth0 2606:4700::1%1 fec0::1 ff02::1
2001::1 2001:1ff::1 2001:10::1 2001:db8::1 2002:7f00:1:: 2002:a9fe:a9fe::1 2620:4f:8000::1 3fff::1 4000::1 8000::1
""".split(),  # noqa: SIM905  a table reads better
]
ALLOWED = [
    *dict.fromkeys(NEIGHBOURS),
    *"""
1.1.1.1 8.8.8.8 ::ffff:8.8.8.8 2001:200::1 2001:4860:4860::8888 2003::1 2606:4700::1111 2a00:1450::1 3ffe::1
""".split(),  # noqa: SIM905
]


@pytest.mark.parametrize("address", REFUSED)
def test_the_table_refuses(address: str) -> None:
    assert not SHIPPED.judge_address(address, 443).is_allowed


@pytest.mark.parametrize("address", ALLOWED)
def test_the_table_allows_what_is_public(address: str) -> None:
    assert SHIPPED.judge_address(address, 443) is Verdict.ALLOWED


def test_the_table_has_at_least_55_refused_addresses() -> None:
    assert len(set(REFUSED)) >= 55


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f000001", "0177.0.0.1", "1.2.3.4.5", "①②⑦.⓪.⓪.①"])
def test_what_is_not_an_address_is_refused(text: str) -> None:
    assert SHIPPED.judge_address(text, 443) is Verdict.NOT_AN_ADDRESS


@pytest.mark.parametrize("port", [80, 443, 1024, 3000, 8080, 8443, 65535])
def test_open_ports(port: int) -> None:
    assert SHIPPED.judge_address("1.1.1.1", port) is Verdict.ALLOWED


@pytest.mark.parametrize("port", [-1, 0, 22, 25, 1023, 3306, 5432, 5672, 6379, 9200, 11211, 27017, 65536])
def test_closed_ports(port: int) -> None:
    assert SHIPPED.judge_address("1.1.1.1", port) is Verdict.DENIED_PORT


def test_the_operators_word_comes_before_the_table_and_a_denial_before_a_permission() -> None:
    policy = EgressPolicy(
        deny=(parse_cidr_rule("10.0.1.0/24"), parse_cidr_rule("8.8.8.8:443")),
        allow=(parse_cidr_rule("10.0.0.0/8"), parse_cidr_rule("[fd00::/8]:443"), parse_cidr_rule("192.168.0.5:5432")),
    )
    assert policy.judge_address("10.0.0.1", 443) is Verdict.ALLOWED_BY_OPERATOR
    assert policy.judge_address("::ffff:10.0.0.1", 443) is Verdict.ALLOWED_BY_OPERATOR
    assert policy.judge_address("10.0.1.5", 443) is Verdict.DENIED_BY_OPERATOR
    assert policy.judge_address("::ffff:10.0.1.5", 443) is Verdict.DENIED_BY_OPERATOR
    assert policy.judge_address("8.8.8.8", 443) is Verdict.DENIED_BY_OPERATOR
    assert policy.judge_address("8.8.8.8", 80) is Verdict.ALLOWED
    assert policy.judge_address("fd12:3456::1", 443) is Verdict.ALLOWED_BY_OPERATOR
    assert policy.judge_address("fd12:3456::1", 80) is Verdict.DENIED_NOT_GLOBAL
    assert policy.judge_address("10.0.0.1", 5432) is Verdict.DENIED_PORT  # a rule without a port opens no port
    assert policy.judge_address("192.168.0.5", 5432) is Verdict.ALLOWED_BY_OPERATOR
    assert policy.judge_address("192.168.0.5", 443) is Verdict.DENIED_SPECIAL_RANGE


def test_no_permission_can_switch_the_table_off() -> None:
    for everything in ("0.0.0.0/0", "0.0.0.0/1", "::/0", "2000::/3"):
        with pytest.raises(ValueError, match="too wide"):
            EgressPolicy(allow=(parse_cidr_rule(everything),))


def test_rules_are_read() -> None:
    assert str(parse_cidr_rule("127.0.0.0/8:8080").network) == "127.0.0.0/8"
    assert parse_cidr_rule("127.0.0.0/8:8080").port == 8080
    assert parse_cidr_rule(" ::1/128 ").port is None
    assert parse_cidr_rule("[fd00::/8]:443").port == 443
    assert str(parse_cidr_rule("10.0.0.1").network) == "10.0.0.1/32"
    assert str(parse_cidr_rule("[::1]").network) == "::1/128"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/8:",
        "10.0.0.0/8:0",
        "10.0.0.0/8:65536",
        "10.0.0.0/8:x",
        "10.0.0.0/8:\uff18\uff10",
        "[fd00::/8]:",
        "[fd00::/8]443",
        "[]:443",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
    ],
)
def test_a_bad_rule_says_why(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        parse_cidr_rule(text)


@pytest.mark.parametrize(
    ("raw", "host", "port"),
    [
        ("https://example.com", "example.com", 443),
        ("HTTPS://Example.COM/Path?q=1&x=%20", "example.com", 443),
        ("https://example.com:8443/a", "example.com", 8443),
        ("https://example.com?x=1", "example.com", 443),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443),
        ("https://my_service.example/", "my_service.example", 443),
        ("https://1.1.1.1/", "1.1.1.1", 443),
        ("https://[2606:4700::1111]:8080/", "2606:4700::1111", 8080),
        ("https://example.com/a@b?to=c:d@e", "example.com", 443),
        ("https://1and1.example/", "1and1.example", 443),
    ],
)
def test_urls_that_may_be_registered(raw: str, host: str, port: int) -> None:
    assert SHIPPED.judge_url(raw) == Target(raw, "https", host, port)


BAD_URLS = [
    "",
    "example.com",
    "//example.com/",
    "https:/example.com/",
    "https://",
    "https:///path",
    "https://:443/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "http://example.com/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https://example.com/#fragment",
    "https://exam ple.com/",
    " https://example.com/",
    "https://example.com/\n",
    "https://example.com/\r\nX-Injected: 1",
    "https://127.0.0\r\n.1/",
    "https://example.com/\x00",
    "https://example.com/\x7f",
    "https://example.com/caf\u00e9",
    "https://b\u00fccher.example/",
    "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://127\u30020\u30020\u30021/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://127.0.0.0x1/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://1.2.3.4.5/",
    "https://256.1.1.1/",
    "https://example.0x/",
    "https://%31%32%37.0.0.1/",
    "https://example.com./",
    "https://127.0.0.1./",
    "https://example..com/",
    "https://-example.com/",
    "https://" + "a" * 64 + ".com/",
    "https://" + "a." * 130 + "com/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[::1/",
    "https://::1/",
    "https://[1.2.3.4]/",
    "https://[::g]/",
    "https://example.com:/",
    "https://example.com:0/",
    "https://example.com:0443/",
    "https://example.com:65536/",
    "https://example.com:99999/",
    "https://example.com:5432/",
    "https://example.com:22/",
    "https://example.com:\uff18\uff10/",
    "https://example.com/" + "a" * 2048,
]


@pytest.mark.parametrize("raw", BAD_URLS)
def test_urls_that_may_not_be_registered(raw: str) -> None:
    judged = SHIPPED.judge_url(raw)
    assert isinstance(judged, TargetRefused)
    assert judged.sentence


@pytest.mark.parametrize("address", [a for a in REFUSED if "%" not in a])
def test_every_refused_address_reads_the_same_to_the_customer(address: str) -> None:
    judged = SHIPPED.judge_url(f"https://[{address}]/" if ":" in address else f"https://{address}/")
    assert isinstance(judged, TargetRefused)
    assert judged.sentence == ADDRESS_REFUSED
    assert judged.verdict is not None


def test_localhost_is_a_literal_by_name() -> None:
    for host in ("localhost", "LOCALHOST", "a.localhost"):
        judged = SHIPPED.judge_url(f"https://{host}:8080/")
        assert isinstance(judged, TargetRefused)
        assert judged.sentence == ADDRESS_REFUSED
        assert isinstance(DEMO.judge_url(f"http://{host}:8080/"), Target)


def test_the_operator_opens_http_and_ports() -> None:
    assert isinstance(DEMO.judge_url("http://example.com/"), Target)
    assert isinstance(DEMO.judge_url("http://127.0.0.1:8080/hook"), Target)
    assert isinstance(DEMO.judge_url("ftp://127.0.0.1:8080/hook"), TargetRefused)
    opened = EgressPolicy(allow=(parse_cidr_rule("10.0.0.1:5432"),))
    assert isinstance(opened.judge_url("https://10.0.0.1:5432/"), Target)
    assert isinstance(opened.judge_url("https://db.example:5432/"), Target)  # a name is judged at dial
    assert isinstance(opened.judge_url("https://10.0.0.2:5432/"), TargetRefused)


@pytest.mark.parametrize(
    ("raw", "sentence", "is_policy"),
    [
        ("hooks.example.com", "the URL has no scheme; write https:// in front of it", False),
        ("hooks.example.com:8443/x", "the URL has no scheme; write https:// in front of it", False),
        ("https://user:pw@example.com/", "the URL must not contain a user name or password", False),
        ("ftp://example.com/", "the URL must start with https://", False),
        ("http://example.com/", "the URL must start with https://", True),
        ("https://10.0.0.1/", ADDRESS_REFUSED, True),
        ("https://example.com:22/", "port 22 is not allowed", True),
    ],
)
def test_what_is_wrong_with_the_url_itself_is_no_matter_of_policy(raw: str, sentence: str, is_policy: bool) -> None:  # noqa: FBT001
    judged = SHIPPED.judge_url(raw)
    assert isinstance(judged, TargetRefused)
    assert (judged.sentence, judged.is_policy) == (sentence, is_policy)
